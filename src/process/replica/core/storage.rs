//! The log as the crate `raft` reads it.

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::log::Log;
use crate::base::vocab::Lsn;
use crate::store::cluster::{Member, Membership};

/// What raft reads: the log, and what it was begun with.
pub(super) struct Entries {
    pub log: Log,
    /// What raft is begun with; it is not read later.
    pub begun: (HardState, ConfState),
    /// What a snapshot can be of now: an entry up to which the books are, and the members at it.
    pub snapshot: Option<(u64, ConfState)>,
    /// Whether entries before the base are still to come, from this node's journal.
    pub are_older_to_come: bool,
}

/// The members, as raft has them.
pub(super) fn conf_state(membership: &Membership) -> ConfState {
    let number = |member: &Member| member.node.number();
    ConfState {
        voters: membership.voters.iter().map(number).collect(),
        learners: membership.learners.iter().map(number).collect(),
        ..ConfState::default()
    }
}

/// The type of the entry of a change. Its data are empty: what it changes is in the log.
pub(super) const CHANGE: EntryType = EntryType::EntryConfChangeV2;

impl Entries {
    fn entry(&self, index: u64) -> Option<Entry> {
        let mut entry = Entry::default();
        (entry.index, entry.term) = (index, self.log.term_of(index)?);
        if self.log.change_of(index).is_some() {
            entry.set_entry_type(CHANGE);
        }
        Some(entry)
    }

    /// How many entries from `low` have no more than `records` records together, but one at least.
    fn fitting(&self, low: u64, high: u64, records: u64) -> u64 {
        let before = self.log.last_of(low - 1).map_or(0, |lsn| lsn.0);
        let end = self.log.index_at(Lsn(before.saturating_add(records))) + 1;
        end.clamp(low + 1, high)
    }
}

impl Storage for Entries {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.begun.0.clone(), conf_state: self.begun.1.clone() })
    }

    /// `max_size` is in records.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        // To be sent. Whoever has no entry lacks the records of before, too, which are none: as an earlier version founded clusters.
        let lacks_more = context.can_async() && low == 1 && self.log.base_last() > Lsn(0);
        if low <= self.log.base() || lacks_more {
            return Err(StorageError::Compacted.into());
        }
        let high = match max_size.into() {
            Some(records) if records != raft::NO_LIMIT && low < high => self.fitting(low, high, records),
            _ => high,
        };
        (low..high).map(|index| self.entry(index).ok_or_else(|| StorageError::Unavailable.into())).collect()
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let error = if index < self.log.base() { StorageError::Compacted } else { StorageError::Unavailable };
        self.log.term_of(index).ok_or_else(|| error.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.base() + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    /// While older entries are still to come, a peer that is a little behind waits for them: raft asks again with each answer to a heartbeat.
    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        if self.are_older_to_come {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        let known = self.snapshot.as_ref().filter(|(index, _)| *index >= request_index && *index > 0);
        let at = known.and_then(|(index, members)| Some((*index, self.log.term_of(*index)?, members.clone())));
        let (index, term, members) = at.ok_or(StorageError::SnapshotTemporarilyUnavailable)?;
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (index, term);
        metadata.set_conf_state(members);
        Ok(snapshot)
    }
}
