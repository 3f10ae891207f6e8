//! `vaultctl crash-points`: the places where a process can be made to die, to see a repair.

use std::fmt::Display;

use super::failure::{Failure, say};
use super::table::Table;
use crate::base::crash_point::{CrashPoint, VARIABLE};

/// Lists every crash point with what has just happened there.
pub(super) fn run() -> Result<(), Failure> {
    let mut table = Table::new(["<name", "<what has happened there"]);
    for point in CrashPoint::ALL {
        table.row([&point.name() as &dyn Display, &point.description()]);
    }
    say(&format!(
        "A process dies, as by kill -9, where its master's environment says so:\n\n  {VARIABLE}=WHO:NAME[#HIT][,…] \
         master …\n\nWORKER is the worker's number, HIT how often it must come by (default 1); it holds for the worker's first \
         life.\n\n{table}"
    ))
}
