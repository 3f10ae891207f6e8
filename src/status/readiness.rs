//! Whether requests should be sent to this instance now.

use std::fmt;
use std::time::Duration;

use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::instance::control::{Orders, WorkerState};
use crate::store::ledger::sequencer::JournalState;

/// If the last heartbeat of the journal process is older, then it hangs, or its disk does. At rest it beats four times a second.
const FRESH: Duration = Duration::from_secs(5);

/// Why an instance is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is stopping.
    Stopping,
    /// No worker is in its event loop.
    NoWorker,
    /// The disk is full: requests that move money are refused.
    NoSpace,
    /// The disk failed: nothing becomes durable.
    JournalFailed,
    /// The journal process died, and is not restarted yet.
    NoJournalProcess,
    /// The last heartbeat of the journal process is too old.
    JournalSilent,
}

/// An instance is ready if it is not stopping, a worker serves, and the journal, if there is one, is open and its process alive.
///
/// # Errors
/// Every reason why it is not.
pub fn readiness(instance: &Instance) -> Result<(), Vec<Unready>> {
    let journal = instance.journal_row();
    let journaled = instance.table().sequencer().is_journaled();
    let state = instance.table().sequencer().state();
    let silence = Duration::from_nanos(monotonic_ns().saturating_sub(journal.life.heartbeat_ns.get()));
    let serving = instance.workers().iter().any(|row| row.life.pid.get() != 0 && row.state() == WorkerState::Serving);
    let reasons = [
        (instance.control().orders() != Orders::Serve, Unready::Stopping),
        (!serving, Unready::NoWorker),
        (state == JournalState::NoSpace, Unready::NoSpace),
        (state == JournalState::Failed, Unready::JournalFailed),
        (journaled && journal.life.pid.get() == 0, Unready::NoJournalProcess),
        (journaled && journal.life.pid.get() != 0 && silence > FRESH, Unready::JournalSilent),
    ];
    let against: Vec<_> = reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect();
    if against.is_empty() { Ok(()) } else { Err(against) }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unready::Stopping => "the instance is stopping",
            Unready::NoWorker => "no worker is serving",
            Unready::NoSpace => "the disk of the journal is full",
            Unready::JournalFailed => "the disk of the journal failed",
            Unready::NoJournalProcess => "the journal process is being replaced",
            Unready::JournalSilent => "the journal process is silent",
        })
    }
}
