//! What a replica process begins with: the log by index, from the records on disk, and DATA/raft.

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::process::replica::core::{HardState, Loaded, Log};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::message::{EntryKind, EntryRange};
use crate::store::cluster::{Change, State};
use crate::store::journal::record::{Content, Place, RecordBytes, lsn_of, place_of};
use crate::store::journal::{Reader, Record};
use crate::store::ledger::{GateState, Sequencer, Table};

/// Records that are read at once.
const LOADED_AT_ONCE: u64 = 1 << 14;
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

/// The log from its first record on disk to `end`.
///
/// # Errors
/// A segment cannot be read, or the records are not those of a log.
pub fn load_log(segments: &mut Reader, end: Lsn) -> Result<Log, ReplicaError> {
    let oldest = segments.oldest()?.unwrap_or(Lsn(1));
    let mut builder = LogBuilder { log: None, first: oldest };
    let mut next = oldest;
    while next <= end {
        let last = Lsn(end.0.min(next.0 + LOADED_AT_ONCE - 1));
        let records = segments.records(next, last)?;
        if records.is_empty() {
            return Err(ReplicaError::Missing(next));
        }
        for bytes in &records {
            builder.push(bytes)?;
        }
        next = Lsn(next.0 + records.len() as u64);
    }
    Ok(builder.log.unwrap_or_else(|| Log::new(0, 0, end)))
}

struct LogBuilder {
    log: Option<Log>,
    /// The first record of the entry that is being read.
    first: Lsn,
}

impl LogBuilder {
    fn push(&mut self, bytes: &RecordBytes) -> Result<(), ReplicaError> {
        let Place { lsn, term, index, ends_entry } = place_of(bytes);
        if index == 0 {
            // From before this instance had peers.
            self.log = Some(Log::new(0, 0, lsn));
            self.first = Lsn(lsn.0 + 1);
            return Ok(());
        }
        if !ends_entry {
            return Ok(());
        }
        let first = std::mem::replace(&mut self.first, Lsn(lsn.0 + 1));
        match &mut self.log {
            // Where older records are gone, the first entry may be a part of one: it is the last that is not known.
            None if index > 1 => self.log = Some(Log::new(index, term, lsn)),
            log => {
                let log = log.get_or_insert_with(|| Log::new(0, 0, Lsn(0)));
                log.push(EntryRange { index, term, first, last: lsn, kind: kind_of(bytes)? })?;
            }
        }
        Ok(())
    }
}

/// What an entry is whose last record this is.
fn kind_of(last: &RecordBytes) -> Result<EntryKind, ReplicaError> {
    let lsn = lsn_of(last);
    let record = Record::decode(last).map_err(|source| ReplicaError::Record { lsn, source })?;
    Ok(match &record.content {
        Content::Operation(_) => EntryKind::Operations,
        Content::Term(_) => EntryKind::Term,
        Content::Membership(membership) => {
            Change::from_bytes(membership.payload.bytes()).map_or(EntryKind::Operations, EntryKind::Change)
        }
    })
}

/// What the core is loaded with.
#[must_use]
pub fn loaded(table: &Table, state: &State, log: Log) -> Loaded {
    let sequencer = table.sequencer();
    Loaded {
        state: HardState { term: state.term, vote: state.vote, commit: state.commit.index },
        membership: state.membership.clone(),
        membership_index: state.membership_index,
        log,
        generation: sequencer.truncation().generation,
        committed: sequencer.committed().0,
        executed: table.order().now().lsn,
        gate_is_open: sequencer.gate().state == GateState::Open,
    }
}
