//! What a replica process begins with: the end of the log, DATA/raft, and what the instance's memory says.

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use crate::ipc::event::EventFd;
use crate::process::replica::core::{HardState, Loaded, Log};
use crate::process::replica::error::ReplicaError;
use crate::store::cluster::{State, read_state};
use crate::store::journal::{Directory, is_incoming};
use crate::store::ledger::{GateState, Sequencer, Table};

/// How often the journal process is looked after while this process waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the journal process has done what it was told: all up to the end of the log is on disk, and the last truncation is carried
/// out. Then nothing changes the log but this process.
///
/// # Errors
/// Waiting fails.
pub fn wait_for_journal(
    sequencer: &Sequencer,
    wakeup: &EventFd,
    journal: &EventFd,
    still_waiting: impl Fn() -> bool,
) -> Result<(), ReplicaError> {
    let is_done = || {
        sequencer.truncation().generation == sequencer.truncated()
            && sequencer.log_end().is_none_or(|end| sequencer.on_disk().0 >= end)
    };
    while !is_done() && still_waiting() {
        journal.send();
        let mut fds = [PollFd::new(wakeup.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX);
        if let Err(errno) = poll(&mut fds, timeout)
            && errno != nix::errno::Errno::EINTR
        {
            return Err(ReplicaError::Io { step: "wait for the journal process", source: errno.into() });
        }
        let _ = wakeup.take();
    }
    Ok(())
}

/// Whether a snapshot is to take the place of the books, and that was not done: a predecessor died after it had written the order.
///
/// # Errors
/// DATA/raft or the data directory cannot be read.
pub fn is_install_due(directory: &Directory) -> Result<bool, ReplicaError> {
    let is_ordered = read_state(directory)?.is_some_and(|state| state.install);
    Ok(is_ordered && is_incoming(directory)?)
}

/// What the core is loaded with: beside others, the end of the log, and whether there is more before it.
#[must_use]
pub fn loaded(table: &Table, state: &State, (log, are_older_to_come): (Log, bool)) -> Loaded {
    let sequencer = table.sequencer();
    Loaded {
        state: HardState { term: state.term, vote: state.vote, commit: state.commit.index },
        membership: state.membership.clone(),
        membership_index: state.membership_index,
        log,
        are_older_to_come,
        generation: sequencer.truncation().generation,
        committed: sequencer.committed().0,
        executed: table.order().now().lsn,
        gate_is_open: sequencer.gate().state == GateState::Open,
    }
}
