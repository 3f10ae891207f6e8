//! Whether requests should be sent to this instance now.

use std::time::Duration;

use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::instance::control::{Orders, WorkerState};
use crate::store::ledger::sequencer::JournalState;

/// If the last heartbeat of the journal process is older, then it hangs, or its disk does. At rest it beats four times a second.
const FRESH: Duration = Duration::from_secs(5);

/// Why an instance is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum Unready {
    #[error("the instance is stopping")]
    Stopping,
    #[error("no worker is serving")]
    NoWorker,
    /// Requests that move money are refused.
    #[error("the disk of the journal is full")]
    NoSpace,
    /// Nothing becomes durable.
    #[error("the disk of the journal failed")]
    JournalFailed,
    #[error("the journal process is being replaced")]
    NoJournalProcess,
    #[error("the journal process is silent")]
    JournalSilent,
}

/// An instance is ready if it is not stopping, a worker serves, and the journal, if there is one, is open and its process alive; else
/// every reason why it is not.
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
