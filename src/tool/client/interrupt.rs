//! Ctrl-C in a load run: the first one ends the run as its `--duration` would, the second one ends the program.
//!
//! A signal concerns the whole process, so its state is global. Nothing here is set in a program that does not call [`watch`].

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::tool::client::clock::{monotonic, nanoseconds};
use crate::tool::signals::{Signals, die_of};

/// How long the run waits for replies that are still due after the first signal.
const GRACE: Duration = Duration::from_secs(2);

/// Whether a run has begun; its result would be lost.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// When the first signal came, nanoseconds of CLOCK_MONOTONIC; 0 for none.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// Its number.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Handles SIGINT, SIGTERM and SIGHUP from here on. Until [`begin_run`] they end the program at once.
pub fn watch() -> io::Result<()> {
    let mut signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
    let body = move || {
        while let Ok(signal) = signals.wait() {
            if !RUNNING.load(Ordering::Acquire) || interrupted_at().is_some() {
                die_of(signal);
            }
            SIGNAL.store(signal as i32, Ordering::Relaxed);
            SINCE.store(monotonic().max(1), Ordering::Relaxed);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(body).map(drop)
}

/// From here on a first signal ends the run, and not the program.
pub fn begin_run() {
    RUNNING.store(true, Ordering::Release);
}

/// When the run was interrupted, nanoseconds of CLOCK_MONOTONIC.
#[inline]
pub fn interrupted_at() -> Option<u64> {
    Some(SINCE.load(Ordering::Relaxed)).filter(|&since| since > 0)
}

/// The signal that interrupted the run.
pub fn signal() -> Option<Signal> {
    Signal::try_from(SIGNAL.load(Ordering::Relaxed)).ok()
}

/// Whether the run was interrupted and has waited long enough for replies.
pub fn grace_is_over() -> bool {
    interrupted_at().is_some_and(|since| monotonic().saturating_sub(since) > nanoseconds(GRACE))
}
