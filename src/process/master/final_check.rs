//! The check when all workers are gone: the accounts hold what came in, less what went out.

use crate::base::logging;
use crate::ipc::process;
use crate::process::master::error::MasterError;
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::stats::WorkerStats;
use crate::store::ledger::{Totals, cut};

/// Sums up, and says what happened.
///
/// # Errors
/// Money was lost or made.
pub fn check(instance: &Instance) -> Result<(), MasterError> {
    let rows = instance.workers();
    let sum = |counter: fn(&WorkerStats) -> u64| -> u64 { rows.iter().map(|row| counter(&row.stats)).sum() };
    let requests = sum(|stats| stats.requests.iter().map(|counter| counter.get()).sum());
    let seconds = (process::monotonic_ns() - instance.control().started_ns()) / 1_000_000_000;
    // Without workers nothing changes meanwhile.
    let Some(totals) = cut::take(instance.table()) else { return Ok(()) };
    let Totals { accounts, sum: held, deposited, withdrawn, lsn } = totals;
    let line = format!(
        "stopped: after {seconds} s, {} connections, {requests} requests, {lsn} operations; {accounts} accounts hold \
         {held}, deposited {deposited}, withdrawn {withdrawn}",
        sum(|stats| stats.services[ServiceId::FIRST.index()].accepted.get()),
    );
    // Only where the disk was full: what was not written is lost.
    let sequencer = instance.table().sequencer();
    let lost = match lsn.0.saturating_sub(sequencer.durable().0) {
        lost if lost > 0 && sequencer.is_journaled() => {
            format!("; the last {lost} operations are not on disk, and gone")
        }
        _ => String::new(),
    };
    // The standard output may be closed.
    logging::announce(&format!("{line}{lost}"));
    let (expected, found) = (instance.table().opening(), totals.opening());
    if expected == found { Ok(()) } else { Err(MasterError::Unbalanced { expected, found }) }
}
