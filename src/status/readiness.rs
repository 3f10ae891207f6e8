//! Whether requests should be sent to this instance now.

use std::fmt;
use std::time::Duration;

use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::instance::control::{Orders, WorkerState};
use crate::store::ledger::sequencer::JournalState;

/// A journal process whose heartbeat is older hangs, or its disk does; at rest it beats four times a second.
const FRESH: Duration = Duration::from_secs(5);

/// Why an instance is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is on its way out.
    Stopping,
    /// No worker is in its loop.
    NoWorker,
    /// The disk is full: nothing that moves money is taken.
    NoSpace,
    /// The disk failed: nothing becomes durable any more.
    JournalFailed,
    /// The journal process died and its successor is not there yet.
    NoJournalProcess,
    /// The journal process has had no heartbeat for too long.
    JournalSilent,
}

/// Ready means: a worker serves, the journal, if there is one, is open and its process alive, and the instance is not stopping.
///
/// # Errors
/// Everything that stands against it.
pub fn readiness(instance: &Instance) -> Result<(), Vec<Unready>> {
    let journal = instance.journal_row();
    let journaled = instance.table().sequencer().is_journaled();
    let state = instance.table().sequencer().state();
    let silence = Duration::from_nanos(monotonic_ns().saturating_sub(journal.life.heartbeat_ns()));
    let serving = instance.workers().iter().any(|row| row.life.pid() != 0 && row.state() == WorkerState::Serving);
    let reasons = [
        (instance.control().orders() != Orders::Serve, Unready::Stopping),
        (!serving, Unready::NoWorker),
        (state == JournalState::NoSpace, Unready::NoSpace),
        (state == JournalState::Failed, Unready::JournalFailed),
        (journaled && journal.life.pid() == 0, Unready::NoJournalProcess),
        (journaled && journal.life.pid() != 0 && silence > FRESH, Unready::JournalSilent),
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
