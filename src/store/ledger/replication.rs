//! What the sequencer's memory has for replication: the gate, the end of the log, truncations, and rounds of reads.
//!
//! An instance without peers uses none of it: its gate is open, all that has a number may be written, and reads need no round.

use crate::base::vocab::{Committed, Lsn, OnDisk};
use crate::ipc::cells::{Ordering, fence};
use crate::store::journal::record::RecordBytes;
use crate::store::ledger::sequencer::{RingHeader, Sequencer};
use crate::store::ledger::table::Table;
use crate::store::ledger::visibility::Visible;

/// Bits of the gate's word that are its state; the others count how often it was closed.
const GATE_BITS: u32 = 1;

/// Whether operations may be carried out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum GateState {
    /// They may: this instance is the primary, and everything before is applied.
    Open = 0,
    /// They may not: another instance is the primary, or none is, or leadership is being handed over.
    Closed = 1,
}

/// The gate, and how often it was closed so far.
///
/// What was carried out before it was closed, and has not been answered, is never answered: whether it happened is for the next primary
/// to say. So who holds replies back compares the number before anything leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its state.
    pub state: GateState,
    /// How often it was closed.
    pub closings: u32,
}

impl Gate {
    fn from_word(word: u64) -> Gate {
        let state = if word & 1 == 0 { GateState::Open } else { GateState::Closed };
        #[allow(clippy::cast_possible_truncation, reason = "what was put in")]
        let closings = (word >> GATE_BITS) as u32;
        Gate { state, closings }
    }

    fn to_word(self) -> u64 {
        u64::from(self.closings) << GATE_BITS | self.state as u64
    }
}

/// A truncation of the log that the replica process has ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Its number; the first is 1.
    pub generation: u64,
    /// The last record that stays.
    pub keep: Lsn,
}

impl RingHeader {
    /// Sets what the fields begin with.
    pub(super) fn begin_replication(&self, replicated: bool) {
        let closed = Gate { state: GateState::Closed, closings: 1 };
        self.gate.store(if replicated { closed.to_word() } else { 0 }, Ordering::Relaxed);
        self.replicated.store(u32::from(replicated), Ordering::Relaxed);
        self.journal_wake_at.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Sequencer {
    /// Whether this instance has peers.
    #[inline]
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.header().replicated.load(Ordering::Relaxed) != 0
    }

    /// The gate. Whoever is to carry out an operation asks under the lock.
    #[inline]
    #[must_use]
    pub fn gate(&self) -> Gate {
        // GATE: acquire; who sees that it was closed sees nothing of what is published later as if it were from before.
        Gate::from_word(self.header().gate.load(Ordering::Acquire))
    }

    /// What may be shown now.
    #[inline]
    #[must_use]
    pub fn visible(&self) -> Visible {
        Visible { committed: self.committed(), rounds: self.header().rounds_confirmed.load(Ordering::SeqCst) }
    }

    /// The last record that the journal process may write; `None` without peers, where it is the last one that has a number.
    #[inline]
    #[must_use]
    pub fn log_end(&self) -> Option<Lsn> {
        // LOG-END: acquire; who sees the end sees the records up to there.
        self.is_replicated().then(|| Lsn(self.header().log_end.load(Ordering::Acquire)))
    }

    /// Says up to where the journal process may write. Called by the replica process only.
    pub fn set_log_end(&self, lsn: Lsn) {
        // LOG-END: release. SeqCst, for the journal process that may be about to sleep.
        self.header().log_end.store(lsn.0, Ordering::SeqCst);
    }

    /// Goes on behind record `end`, which is on disk, and of which everything up to `applied` is carried out; before the first worker.
    pub fn begin_log(&self, end: Lsn, applied: Lsn) {
        self.set_log_end(end);
        self.set_on_disk(OnDisk(end), end);
        self.set_committed(Committed(applied));
    }

    /// Stamps the record of operation `lsn` with its entry, or puts a record of another node into its place. Called by the replica process
    /// only, before it moves the log's end there.
    pub fn put_entry_record(&self, lsn: Lsn, bytes: &RecordBytes) {
        self.put_bytes(lsn, bytes);
    }

    /// The last truncation that was ordered.
    #[must_use]
    pub fn truncation(&self) -> Truncation {
        let header = self.header();
        // TRUNCATE: acquire; who sees the number sees what is to be kept.
        let generation = header.generation.load(Ordering::Acquire);
        Truncation { generation, keep: Lsn(header.keep.load(Ordering::Relaxed)) }
    }

    /// Orders that the log be cut behind record `keep`, which becomes its end; gives the number of this truncation. Called by the replica
    /// process only, and not before the truncation of before was carried out.
    pub fn order_truncation(&self, keep: Lsn) -> u64 {
        let header = self.header();
        let generation = header.generation.load(Ordering::Relaxed) + 1;
        header.keep.store(keep.0, Ordering::Relaxed);
        self.set_log_end(keep);
        // TRUNCATE: release.
        header.generation.store(generation, Ordering::SeqCst);
        generation
    }

    /// The number of the last truncation that was carried out.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        // TRUNCATED: acquire; who sees the number sees how far the journal was on disk then, or later.
        self.header().truncated.load(Ordering::Acquire)
    }

    /// Says that truncation `generation` was carried out. Called by the journal process only.
    pub fn set_truncated(&self, generation: u64) {
        // TRUNCATED: release.
        self.header().truncated.store(generation, Ordering::Release);
    }

    /// A round of reads that begins after this call; what was read before may be shown once it is confirmed. Wake the replica process
    /// afterwards, as after an operation.
    #[must_use]
    pub fn want_round(&self) -> u64 {
        let header = self.header();
        // ROUND: what the caller has read, it read before this load.
        fence(Ordering::SeqCst);
        let round = header.rounds_begun.load(Ordering::SeqCst) + 1;
        header.rounds_wanted.fetch_max(round, Ordering::SeqCst);
        round
    }

    /// Whether a round of reads is wanted that has not begun.
    #[inline]
    #[must_use]
    pub fn is_round_due(&self) -> bool {
        let header = self.header();
        header.rounds_wanted.load(Ordering::SeqCst) > header.rounds_begun.load(Ordering::SeqCst)
    }

    /// Begins the next round of reads; its number. Called by the replica process only.
    pub fn begin_round(&self) -> u64 {
        // ROUND: whoever wants a round later gets the next one.
        self.header().rounds_begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Says that round `round` confirmed that this instance was the primary after it had begun. Called by the replica process only.
    pub fn confirm_round(&self, round: u64) {
        // COMMITTED-OR-AWAITED.
        self.header().rounds_confirmed.fetch_max(round, Ordering::SeqCst);
    }

    /// Whether the replica process sleeps, or is about to; then it is to be woken for what it cannot see by the ring.
    #[must_use]
    pub fn replica_sleeps(&self) -> bool {
        // APPEND-OR-SLEEP.
        fence(Ordering::SeqCst);
        self.header().wake_at.load(Ordering::SeqCst) != u64::MAX
    }

    /// Says that the journal process is about to sleep until the log ends behind record `end`. Afterwards it must look once more.
    pub fn sleep_at_log_end(&self, end: Lsn) {
        self.header().journal_wake_at.store(end.0 + 1, Ordering::SeqCst);
        // LOG-END-OR-SLEEP: either the journal process sees the new end, or who has moved it sees that it sleeps.
        fence(Ordering::SeqCst);
    }

    /// Says that the journal process does not sleep.
    pub fn wake_from_log_end(&self) {
        self.header().journal_wake_at.store(u64::MAX, Ordering::SeqCst);
    }

    /// Whether the journal process sleeps although there is something for it, and the caller is the one to wake it.
    #[must_use]
    pub fn must_wake_journal(&self) -> bool {
        // LOG-END-OR-SLEEP.
        fence(Ordering::SeqCst);
        let header = self.header();
        let wake_at = header.journal_wake_at.load(Ordering::SeqCst);
        let has_work =
            wake_at <= header.log_end.load(Ordering::SeqCst) || self.truncation().generation != self.truncated();
        wake_at != u64::MAX
            && has_work
            && header.journal_wake_at.compare_exchange(wake_at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Table {
    /// Opens or closes the gate; gives the last operation that has a number then. Called by the replica process only.
    pub fn set_gate(&self, state: GateState) -> Lsn {
        let _held = self.lock_sequencer(|| ());
        let sequencer = self.sequencer();
        let before = sequencer.gate();
        let closings = before.closings + u32::from(state == GateState::Closed && before.state != GateState::Closed);
        // GATE: release.
        sequencer.header().gate.store(Gate { state, closings }.to_word(), Ordering::SeqCst);
        self.order().now().lsn
    }
}
