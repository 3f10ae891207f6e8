//! What surrounds the core: it turns what happened in memory, on disk and on sockets into events, and carries out actions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::ENTRY_RECORDS;
use crate::base::vocab::{Committed, Lsn, OnDisk};
use crate::ipc::event::EventFd;
use crate::process::replica::core::{Action, Control, Core, Event, Refusal};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::message::{EntryRange, Message, SnapshotRef};
use crate::process::replica::peers::{Peers, SnapshotFrame};
use crate::process::replica::records::LogRecords;
use crate::process::replica::snapshots::Snapshots;
use crate::store::cluster::{Commit, NodeId, State, StateFile};
use crate::store::instance::Instance;
use crate::store::journal::Record;
use crate::store::journal::record::{
    MAX_WRITE_RECORDS, MembershipRecord, Payload, RecordBytes, TermRecord, is_piece, lsn_of, stamp,
};
use crate::store::kv::LogApplier;
use crate::store::ledger::{GateState, Sequencer, Table};

/// Records that are applied before the core is asked again; no operation has as many.
const APPLIED_PER_TURN: u64 = 2048;
/// Records whose memory is being fetched while earlier ones are applied: some hundred nanoseconds of work.
const FETCHED_AHEAD: usize = 8;

const _: () = {
    assert!(APPLIED_PER_TURN > MAX_WRITE_RECORDS, "a turn applies an operation at least");
    assert!(ENTRY_RECORDS > MAX_WRITE_RECORDS, "an entry has an operation at least, and so is never longer than that");
};

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    GoOn,
    /// The books are to be remade by whoever started this process.
    Remake,
}

/// The core of a member, and what it acts on.
pub struct Shell {
    pub(super) instance: &'static Instance,
    pub(super) table: &'static Table,
    pub(super) sequencer: &'static Sequencer,
    pub(super) core: Core,
    pub(super) file: StateFile,
    pub(super) records: LogRecords,
    pub(super) applier: LogApplier<'static>,
    pub(super) journal: Arc<EventFd>,
    pub(super) workers: Vec<Arc<EventFd>>,
    /// The snapshots that are under way.
    pub(super) snapshots: Snapshots,
    /// The records of the last message with entries, until the core is done with it.
    pub(super) arrived: Vec<RecordBytes>,
    /// What is committed, and to be applied while the gate is closed.
    pub(super) committed: Lsn,
    pub(super) gate_is_open: bool,
    /// Whether the gate, the leader or the term is another than was published: whoever asks is to be told at once.
    pub(super) has_changed: bool,
    /// The truncation that is being carried out, and the last record that it keeps.
    pub(super) truncation: Option<u64>,
    /// What was told to the core last.
    pub(super) told: Told,
    /// Why the last change that was asked for is refused, if it is.
    pub(super) refused: Option<Refusal>,
    /// To whom leadership could not be handed over.
    pub(super) transfer_failed: Option<NodeId>,
    pub(super) outcome: Outcome,
}

/// What the core was told last, so that it is told of changes only.
#[derive(Debug, Default)]
pub struct Told {
    pub on_disk: Option<(u64, OnDisk)>,
    pub executed: Lsn,
    pub applied: Lsn,
    /// Up to where it was told of ends of operations.
    pub ends: Lsn,
}

impl Shell {
    /// Tells the core of an event, and carries out what follows from it.
    pub fn handle(&mut self, event: Event, peers: &mut Peers) -> Result<(), ReplicaError> {
        if self.core.has_ended() {
            return Ok(());
        }
        self.core.handle(event);
        self.act(peers)
    }

    /// Carries out all actions that there are.
    pub fn act(&mut self, peers: &mut Peers) -> Result<(), ReplicaError> {
        while let Some(action) = self.core.next_action() {
            if let Some(answer) = self.perform(action, peers)? {
                self.core.handle(answer);
            }
        }
        if self.core.is_done_with_message() {
            self.arrived.clear();
        }
        Ok(())
    }

    /// Carries out one action; the answer, where it has one.
    fn perform(&mut self, action: Action, peers: &mut Peers) -> Result<Option<Event>, ReplicaError> {
        match action {
            Action::Save { state, sync } => {
                let lsn = self.core.last_of(state.commit).unwrap_or_default();
                self.save(sync, |kept| {
                    (kept.term, kept.vote) = (state.term, state.vote);
                    kept.commit = kept.commit.max(Commit { index: state.commit, lsn });
                })?;
            }
            Action::SaveMembership { membership, index } => {
                log::info!("as of entry {index}, the members are {membership}");
                peers.set_members(membership.clone());
                let commit = self.core.last_of(index).map(|lsn| Commit { index, lsn });
                self.save(true, |kept| {
                    (kept.membership, kept.membership_index) = (membership, index);
                    kept.commit = kept.commit.max(commit.unwrap_or_default());
                })?;
            }
            Action::Truncate { after, generation } => self.truncate(after, generation)?,
            Action::AppendControl(control) => {
                let lsn = self.append_control(&control)?;
                if self.gate_is_open {
                    self.note_ends(Lsn(lsn.0 - 1));
                }
                return Ok(Some(Event::Appended { lsn }));
            }
            Action::Append(entries) => self.append(&entries)?,
            Action::Send(message) if message.snapshot.is_some() => self.snapshots.begin(message),
            Action::Send(message) => self.send(&message, peers),
            Action::Commit(lsn) => self.commit(lsn),
            Action::OpenGate { term } => self.open_gate(term),
            Action::CloseGate => {
                let executed = self.table.set_gate(GateState::Closed);
                self.note_ends(executed);
                (self.gate_is_open, self.has_changed) = (false, true);
                // So that they close their clients.
                self.workers.iter().for_each(|worker| worker.send());
                return Ok(Some(Event::GateClosed { executed }));
            }
            Action::Remake { keep } => {
                log::warn!(
                    "operations after record {keep} were carried out here and are not of the log: the books are made again"
                );
                self.save(true, |kept| kept.keep = Some(keep))?;
                self.outcome = Outcome::Remake;
            }
            Action::Install(snapshot) => self.install(snapshot)?,
            Action::ConfirmReads(round) => {
                self.sequencer.confirm_round(round);
                self.wake_workers();
            }
            Action::Leader { node, term } => self.note_leader(node, term),
            Action::ChangeRefused { why, .. } => self.refused = Some(why),
            Action::TransferFailed(node) => {
                log::warn!("leadership could not be handed over to node {node}");
                self.transfer_failed = Some(node);
            }
            Action::Malformed { from, what } => {
                log::error!("node {from} has said what cannot be: {what}; its connection is closed");
                peers.disconnect(from);
            }
            Action::Left => self.handed_over(),
        }
        Ok(None)
    }

    /// Writes DATA/raft, changed.
    fn save(&mut self, sync: bool, change: impl FnOnce(&mut State)) -> Result<(), ReplicaError> {
        let mut state = self.file.state().clone();
        change(&mut state);
        Ok(self.file.save(&state, sync)?)
    }

    fn truncate(&mut self, after: Lsn, generation: u64) -> Result<(), ReplicaError> {
        self.save(true, |kept| kept.keep = Some(after))?;
        let ordered = self.sequencer.order_truncation(after);
        debug_assert_eq!(ordered, generation, "both count from the same beginning");
        self.truncation = Some(generation);
        self.journal.send();
        Ok(())
    }

    /// Has the snapshot that has come take the place of books and log: whoever remakes the books does it.
    fn install(&mut self, snapshot: SnapshotRef) -> Result<(), ReplicaError> {
        let SnapshotRef { index, last, membership, .. } = snapshot;
        log::warn!("the snapshot with the records up to {last} takes the place of the books and the journal");
        self.save(true, |kept| {
            kept.commit = Commit { index, lsn: last };
            (kept.membership, kept.membership_index) = (membership, index);
            (kept.keep, kept.install) = (None, true);
        })?;
        crash_point(CrashPoint::InstallOrdered);
        self.instance.control().cluster.snapshots_installed.add(1);
        self.outcome = Outcome::Remake;
        Ok(())
    }

    fn open_gate(&mut self, term: u64) {
        log::info!("this instance is the primary in term {term}");
        // All that is executed so far is in the log, and what was noted before may have been cut.
        self.told.ends = self.sequencer.log_end().unwrap_or_default();
        self.table.set_gate(GateState::Open);
        (self.gate_is_open, self.has_changed) = (true, true);
    }

    fn note_leader(&mut self, node: Option<NodeId>, term: u64) {
        self.has_changed = true;
        match node {
            Some(node) => log::info!("node {node} leads in term {term}"),
            None => log::info!("nobody leads in term {term}, as far as is known here"),
        }
        if node != Some(self.file.state().node) {
            self.snapshots.stop_sending();
        }
    }

    /// Takes a piece of a snapshot, or an answer about one, that a peer has sent.
    pub fn take_snapshot_frame(&mut self, from: NodeId, frame: SnapshotFrame, peers: &mut Peers) {
        self.snapshots.take(from, frame, self.committed, peers);
    }

    /// Says how much of the journal may be removed, once snapshots do not need it.
    pub fn publish_trimming(&self) {
        let may_trim_to = self.core.may_trim_to();
        let keep_from = self.snapshots.needs_from().map_or(may_trim_to, |needed| needed.min(may_trim_to));
        self.instance.replica_row().set_trim_to(keep_from);
    }

    /// Says that leadership is handed over, as far as it could be.
    pub fn handed_over(&self) {
        let row = self.instance.replica_row();
        if let Some(number) = row.hand_over_wanted() {
            row.set_handed_over(number);
        }
    }

    /// Whether the truncation that is under way has been carried out; then the intent is cleared.
    pub fn note_truncated(&mut self) -> Result<Option<u64>, ReplicaError> {
        let Some(generation) = self.truncation.filter(|&generation| self.sequencer.truncated() == generation) else {
            return Ok(None);
        };
        self.truncation = None;
        self.save(true, |kept| kept.keep = None)?;
        Ok(Some(generation))
    }

    fn append_control(&self, control: &Control) -> Result<Lsn, ReplicaError> {
        // While the gate is open, the sequencer knows the time of the last record.
        let last_ns = if self.gate_is_open { 0 } else { self.records.last_time_ns()? };
        Ok(self.table.append_control(wall_clock_ns().max(last_ns), |lsn, time_ns| match control {
            Control::Term(_) => TermRecord { lsn, time_ns }.encode(),
            Control::Change(change) => {
                // A change has its bounds, and they are those of a payload.
                let payload = Payload::new(&change.to_bytes()).unwrap_or_else(|| unreachable!("a change fits"));
                MembershipRecord { lsn, time_ns, payload }.encode()
            }
        }))
    }

    /// Tells the core of some ends of operations up to `executed`, which is one: at least one for each entry that it will make of them.
    pub fn note_ends(&mut self, executed: Lsn) {
        let mut from = self.told.ends.max(self.sequencer.log_end().unwrap_or_default());
        while executed.0 > from.0 + ENTRY_RECORDS {
            let ends = |lsn: &u64| !is_piece(&self.sequencer.record(Lsn(lsn + 1)));
            let Some(end) = (from.0 + 1..=from.0 + ENTRY_RECORDS).rev().find(ends) else { break };
            from = Lsn(end);
            self.core.note_end(from);
        }
        self.core.note_end(executed);
        self.told.ends = executed;
    }

    /// Puts the records of these entries where the journal process finds them, stamped, and moves the end of the log.
    fn append(&mut self, entries: &[EntryRange]) -> Result<(), ReplicaError> {
        let Some(end) = entries.last().map(|entry| entry.last) else { return Ok(()) };
        let arrived = self.arrived.first().map(lsn_of);
        for entry in entries {
            for lsn in (entry.first.0..=entry.last.0).map(Lsn) {
                let at = arrived.and_then(|first| usize::try_from(lsn.0.checked_sub(first.0)?).ok());
                let mut bytes = match at.and_then(|at| self.arrived.get(at)) {
                    Some(bytes) => *bytes,
                    None => self.sequencer.record(lsn),
                };
                if lsn_of(&bytes) != lsn {
                    return Err(ReplicaError::Missing(lsn));
                }
                stamp(&mut bytes, entry.term, entry.index, lsn == entry.last);
                self.sequencer.put_entry_record(lsn, &bytes);
            }
        }
        self.sequencer.set_log_end(end);
        if self.sequencer.must_wake_journal() {
            self.journal.send();
        }
        Ok(())
    }

    fn send(&mut self, message: &Message, peers: &mut Peers) {
        // A message that is dropped is said again, or the peer is asked how far it is: raft expects both. The peer's end is told when its
        // connection ends.
        let _dropped = peers.send(message);
    }

    /// Says that all up to `lsn` may be shown.
    fn commit(&mut self, lsn: Lsn) {
        self.committed = lsn;
        self.sequencer.set_committed(Committed(lsn));
        self.wake_workers();
    }

    /// Wakes the workers that wait for what may be shown now.
    pub(super) fn wake_workers(&self) {
        let visible = self.sequencer.visible();
        for (row, worker) in self.instance.workers().iter().zip(&self.workers) {
            if row.must_be_woken(visible) {
                crash_point(CrashPoint::WorkerNoteTaken);
                worker.send();
            }
        }
    }

    /// Applies what is committed while the gate is closed, as much as one turn takes; whether there is more.
    pub fn apply_committed(&mut self) -> Result<bool, ReplicaError> {
        let applied = self.table.order().now().lsn;
        if self.gate_is_open || applied >= self.committed {
            return Ok(false);
        }
        let last = Lsn(self.committed.0.min(applied.0 + APPLIED_PER_TURN));
        let mut batch = Vec::with_capacity(usize::try_from(last.0 - applied.0).unwrap_or(0));
        if !self.records.read_all(Lsn(applied.0 + 1), last, &mut batch)? {
            return Err(ReplicaError::Missing(Lsn(applied.0 + 1)));
        }
        if last < self.committed {
            // What is applied stands still inside an operation, so a turn ends with one.
            batch.truncate(batch.iter().rposition(|bytes| !is_piece(bytes)).unwrap_or(0));
        }
        let mut coming = VecDeque::with_capacity(FETCHED_AHEAD);
        for bytes in &batch {
            let lsn = lsn_of(bytes);
            let record = Record::decode(bytes).map_err(|source| ReplicaError::Record { lsn, source })?;
            self.applier.prefetch(&record);
            if coming.len() == FETCHED_AHEAD
                && let Some(next) = coming.pop_front()
            {
                self.applier.apply(&next)?;
            }
            coming.push_back(record);
        }
        coming.iter().try_for_each(|record| self.applier.apply(record))?;
        // Those that wait until a record is applied here.
        self.wake_workers();
        Ok(last < self.committed)
    }

    /// Takes a peer's message: the records of its entries are kept until the core is done with it. Entries for whose records there is no room in
    /// the ring are cut off; they will be sent again. The rest is heard, since only by its answer a leader learns that it begins too far ahead.
    pub fn take_message(
        &mut self,
        mut message: Message,
        mut records: Vec<RecordBytes>,
        peers: &mut Peers,
    ) -> Result<(), ReplicaError> {
        if !self.core.is_done_with_message() && !records.is_empty() {
            peers.note_untaken(false);
            return Ok(());
        }
        let room = Lsn(self.sequencer.on_disk().0.0 + self.sequencer.capacity());
        if message.entries.last().is_some_and(|entry| entry.last > room) {
            peers.note_untaken(true);
            message.entries.retain(|entry| entry.last <= room);
            let last = message.entries.last().map_or(Lsn(0), |entry| entry.last);
            records.retain(|bytes| lsn_of(bytes) <= last);
        }
        // A snapshot is taken over only when all of it is here.
        if message.snapshot.as_ref().is_some_and(|snapshot| !self.snapshots.has(snapshot)) {
            return Ok(());
        }
        if !records.is_empty() {
            self.arrived = records;
        }
        self.handle(Event::Message(message), peers)
    }
}

/// Nanoseconds since 1970.
fn wall_clock_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
