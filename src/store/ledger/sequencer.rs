//! The sequencer: the journal ring, the known keys, and the lock under which operations enter both.
//!
//! Taking the next number from the order word gives an operation its place in the order of all operations, its record a place in the
//! journal ring, and its key a place among the known ones, all at once. [`commit`](super::commit) does it, [`lock`](super::lock)
//! repairs it.
//!
//! Without a journal the ring has no places.

use crate::base::defect::{self, Defect};
use crate::base::vocab::{Committed, Lsn, OnDisk};
use crate::ipc::IpcError;
use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, RobustMutex, Segment, fence, shared_struct};
use crate::ipc::segment::Access;
use crate::store::journal::record::{RECORD_BYTES, RecordBytes};
use crate::store::ledger::keys::Keys;
use crate::store::ledger::order::Order;
use crate::store::ledger::visibility::Shows;

/// Version of the ring's layout.
pub const LAYOUT_VERSION: u32 = 4;
/// Places of the ring that operations leave to the records of terms and members.
const CONTROL_RESERVE: u64 = 16;
const WORDS: usize = RECORD_BYTES / 8;

shared_struct! {
    /// What precedes the records.
    pub(super) struct RingHeader, align 64, size 448; {
        pub(super) lock: RobustMutex,
        /// See [`GateState`](super::replication::GateState). Writer: the replica process, holding the lock.
        pub(super) gate: AtomicU64,
        /// No later record bears an earlier time, nanoseconds since 1970. Writer: the lock's holder; the master, before the first worker.
        last_time_ns: AtomicU64,
        /// See [`Sequencer::counts`]. Writer: the lock's holder; the master, before the first worker.
        counts: AtomicU64,
        /// See [`OnDisk`]. Writer: the journal process.
        pub(super) on_disk: AtomicU64,
        /// The last number that may be given out. Writer: the journal process.
        limit: AtomicU64,
        /// See [`JournalState`]. Writer: the journal process.
        state: AtomicU32,
        /// 1: replies wait until what they show is committed. Writer: the master, before the first worker.
        replies_wait: AtomicU32,
        /// The last truncation that was carried out. Writer: the journal process.
        pub(super) truncated: AtomicU64,
        /// 1: this instance has peers. Writer: the master, before the first worker.
        pub(super) replicated: AtomicU32,
        /// 1: numbers are taken under the lock only. Writer: the master, before the first worker.
        ordered: AtomicU32,
        journal_line: [AtomicU64; 3],
        /// See [`Committed`]. Writer: the replica process; without peers the journal process.
        committed: AtomicU64,
        /// The last round of reads that confirmed that this instance was the primary when it began. Writer: the replica process.
        pub(super) rounds_confirmed: AtomicU64,
        commit_line: [AtomicU64; 6],
        /// With peers, the last record that the journal may write. Writer: the replica process.
        pub(super) log_end: AtomicU64,
        /// Truncations that were ordered so far. Writer: the replica process.
        pub(super) generation: AtomicU64,
        /// The last record that the last truncation keeps. Writer: the replica process.
        pub(super) keep: AtomicU64,
        /// Rounds of reads that were begun. Writer: the replica process.
        pub(super) rounds_begun: AtomicU64,
        replica_line: [AtomicU64; 4],
        /// The last round of reads that anybody waits for. Writers: workers, by atomic maximum.
        pub(super) rounds_wanted: AtomicU64,
        wanted_line: [AtomicU64; 7],
        /// While the process that takes records from the ring sleeps, the number that it is to be woken for; its waker clears it. That
        /// process is the replica process; without peers the journal process.
        pub(super) wake_at: AtomicU64,
        wake_line: [AtomicU64; 7],
        /// With peers, the same of the journal process, for `log_end`.
        pub(super) journal_wake_at: AtomicU64,
        journal_wake_line: [AtomicU64; 7],
    }
}

shared_struct! {
    /// One record, as `journal::record` encodes it, without its checksum. Writer: the lock's holder.
    struct RecordPlace, align 64, size 128; {
        words: [AtomicU64; WORDS],
    }
}

/// The state of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum JournalState {
    /// There is none.
    Absent = 0,
    /// It takes records.
    Open = 1,
    /// The disk is full: what was appended gets to the disk, nothing new is taken until there is space.
    NoSpace = 2,
    /// The disk failed: nothing more gets to it.
    Failed = 3,
}

impl JournalState {
    /// The word that tools show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JournalState::Absent => "absent",
            JournalState::Open => "open",
            JournalState::NoSpace => "no space",
            JournalState::Failed => "failed",
        }
    }
}

/// What a table of accounts is made for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of accounts.
    pub accounts: u32,
    /// What each account holds at the beginning.
    pub initial_balance: crate::base::vocab::Cents,
    /// Places of the journal ring; 0 for no journal.
    pub ring: u32,
    /// How many idempotency keys are remembered.
    pub key_window: u32,
    /// Whether replies wait until what they show is committed.
    pub replies_wait: bool,
    /// Whether the instance has peers.
    pub replicated: bool,
    /// Whether there are operations of several records, or that count something under the lock.
    pub key_values: bool,
}

/// The ring and the keys.
pub struct Sequencer {
    ring: Segment<RingHeader, RecordPlace>,
    keys: Keys,
    /// What the header says of it, which never changes: each operation asks, and the header's line is one that the journal process writes.
    is_ordered: bool,
}

impl Sequencer {
    pub(super) fn create([ring, keys, index]: [&str; 3], boot: u32, shape: &Shape) -> Result<Self, IpcError> {
        let places = shape.ring as usize;
        let made = Segment::create(ring, LAYOUT_VERSION, boot, places, |header, _| Self::prepare(ring, shape, header))?;
        Ok(Sequencer::over(made, Keys::create([keys, index], boot, shape.key_window)?))
    }

    /// Fills the header, which is zero.
    fn prepare(name: &str, shape: &Shape, header: &RingHeader) -> Result<(), IpcError> {
        let state = if shape.ring == 0 { JournalState::Absent } else { JournalState::Open };
        header.state.store(state as u32, Ordering::Relaxed);
        header.replies_wait.store(u32::from(shape.replies_wait), Ordering::Relaxed);
        header.ordered.store(u32::from(shape.ring > 0 || shape.key_values), Ordering::Relaxed);
        header.limit.store(u64::from(shape.ring), Ordering::Relaxed);
        header.wake_at.store(u64::MAX, Ordering::Relaxed);
        header.begin_replication(shape.replicated);
        header.lock.init(name)
    }

    /// Makes it what [`Sequencer::create`] makes, in place; see [`Table::reset`](super::Table::reset).
    #[cfg(not(feature = "model"))]
    pub(super) fn reset(&self, shape: &Shape) -> Result<(), IpcError> {
        self.ring.refill(|header, _| Self::prepare(self.ring.name(), shape, header))?;
        self.keys.reset(shape.key_window)
    }

    /// Bytes of the three segments.
    pub(super) fn bytes_for(shape: &Shape) -> [usize; 3] {
        let [keys, index] = Keys::bytes_for(shape.key_window);
        [Segment::<RingHeader, RecordPlace>::bytes_for(shape.ring as usize), keys, index]
    }

    pub(super) fn open([ring, keys, index]: [&str; 3], access: Access) -> Result<Self, IpcError> {
        Ok(Sequencer::over(Segment::open(ring, LAYOUT_VERSION, access)?, Keys::open([keys, index], access)?))
    }

    fn over(ring: Segment<RingHeader, RecordPlace>, keys: Keys) -> Self {
        let is_ordered = ring.root().ordered.load(Ordering::Relaxed) != 0;
        Sequencer { ring, keys, is_ordered }
    }

    /// The segments' names and sizes in bytes.
    #[must_use]
    pub fn segments(&self) -> [(&str, usize); 3] {
        let [keys, index] = self.keys.segments();
        [(self.ring.name(), self.ring.bytes()), keys, index]
    }

    /// The known keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn header(&self) -> &RingHeader {
        self.ring.root()
    }

    pub(super) fn lock(&self) -> &RobustMutex {
        &self.header().lock
    }

    /// Places of the ring; 0 without a journal.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ring.elements().len() as u64
    }

    /// Whether operations are journaled.
    #[inline]
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.capacity() > 0
    }

    /// Whether numbers are taken under the lock only: then the next one is known there.
    #[inline]
    #[must_use]
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// A word that operations change as they commit, which is to be the same on all members: what the key-value store counts.
    #[must_use]
    pub fn counts(&self) -> u64 {
        self.header().counts.load(Ordering::Relaxed)
    }

    /// Sets that word. The caller holds the lock, or there is no worker yet.
    pub(in crate::store) fn set_counts(&self, counts: u64) {
        self.header().counts.store(counts, Ordering::Relaxed);
    }

    /// Whether a reply that shows this may leave.
    #[inline]
    #[must_use]
    pub fn may_be_shown(&self, shows: Shows) -> bool {
        !self.replies_wait() || defect::is(Defect::AckEarly) || self.visible().includes(shows)
    }

    /// Whether replies wait until what they show is committed.
    #[inline]
    #[must_use]
    pub fn replies_wait(&self) -> bool {
        self.header().replies_wait.load(Ordering::Relaxed) != 0
    }

    /// How far the journal is on disk.
    #[inline]
    #[must_use]
    pub fn on_disk(&self) -> OnDisk {
        OnDisk(Lsn(self.header().on_disk.load(Ordering::Acquire)))
    }

    /// How far operations may be shown.
    #[inline]
    #[must_use]
    pub fn committed(&self) -> Committed {
        Committed(Lsn(self.header().committed.load(Ordering::SeqCst)))
    }

    /// The last operation that is applied here and whose result may be shown: all up to it may. `order` is this ledger's. A follower applies
    /// what is committed already.
    #[inline]
    #[must_use]
    pub fn shown(&self, order: &Order<'_>) -> Lsn {
        let applied = order.now().lsn;
        if self.replies_wait() { self.committed().0.min(applied) } else { applied }
    }

    /// The last number that may be given out: the ring and the prepared segments have room up to there.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> Lsn {
        // RING-PLACE: acquire.
        Lsn(self.header().limit.load(Ordering::Acquire))
    }

    /// The state of the journal.
    #[must_use]
    pub fn state(&self) -> JournalState {
        match self.header().state.load(Ordering::Acquire) {
            0 => JournalState::Absent,
            1 => JournalState::Open,
            2 => JournalState::NoSpace,
            _ => JournalState::Failed,
        }
    }

    /// Sets the state of the journal. Called by the journal process only.
    pub fn set_state(&self, state: JournalState) {
        self.header().state.store(state as u32, Ordering::Release);
    }

    /// Says how far the journal is on disk, so that places of the ring may be used again, and that segments are prepared up to
    /// `prepared_to`. Called by the journal process only.
    pub fn set_on_disk(&self, OnDisk(lsn): OnDisk, prepared_to: Lsn) {
        // With peers, some places are left for records of the log itself, which cannot wait for room.
        let reserve = if self.is_replicated() { CONTROL_RESERVE } else { 0 };
        // RING-PLACE: release; a place is used again only after it was read.
        self.header().limit.store((lsn.0 + self.capacity() - reserve).min(prepared_to.0), Ordering::Release);
        self.header().on_disk.store(lsn.0, Ordering::Release);
    }

    /// [`Sequencer::set_on_disk`] of an instance without peers, where what is on its disk is committed.
    pub fn set_on_disk_alone(&self, on_disk: OnDisk, prepared_to: Lsn) -> Committed {
        let committed = Committed::alone(on_disk);
        self.set_on_disk(on_disk, prepared_to);
        self.set_committed(committed);
        committed
    }

    /// Says how far operations may be shown. Called by the replica process, or by the journal process of an instance without peers.
    pub fn set_committed(&self, Committed(lsn): Committed) {
        // COMMITTED-OR-AWAITED.
        self.header().committed.store(lsn.0, Ordering::SeqCst);
    }

    /// Copies the record of operation `lsn`, which has its number and is not yet on disk, out of the ring.
    #[must_use]
    pub fn record(&self, lsn: Lsn) -> RecordBytes {
        let mut bytes = [0; RECORD_BYTES];
        for (part, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&self.place(lsn).words) {
            *part = word.load(Ordering::Relaxed).to_le_bytes();
        }
        bytes
    }

    fn place(&self, lsn: Lsn) -> &RecordPlace {
        &self.ring.elements()[usize::try_from((lsn.0 - 1) % self.capacity()).unwrap_or(0)]
    }

    /// The time that no record bears an earlier one than from now on, nanoseconds since 1970; 0 for none.
    #[must_use]
    pub fn last_time_ns(&self) -> u64 {
        self.header().last_time_ns.load(Ordering::Relaxed)
    }

    /// The time of the next record where the clock says `clock_ns`: that, or the time of the last record where the clock is behind it. So
    /// times never go back along LSNs, although workers read the clock once a turn and clocks differ between members. The caller holds the
    /// lock, whose cache line this word is in, or there is no worker yet.
    #[inline]
    pub(super) fn next_time_ns(&self, clock_ns: u64) -> u64 {
        let last = &self.header().last_time_ns;
        let time_ns = last.load(Ordering::Relaxed).max(clock_ns);
        // Before the record has its number: who dies here leaves a time that no record has, which only holds the next one back.
        last.store(time_ns, Ordering::Relaxed);
        time_ns
    }

    /// Says that a record bears this time, so that no later one bears an earlier time; before the first worker.
    pub fn begin_after_time(&self, time_ns: u64) {
        let _same_or_later = self.next_time_ns(time_ns);
    }

    /// Writes a record into its place in the ring.
    pub(in crate::store) fn put_bytes(&self, lsn: Lsn, bytes: &RecordBytes) {
        for (word, part) in self.place(lsn).words.iter().zip(bytes.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*part), Ordering::Relaxed);
        }
    }

    /// Says that the process that takes records from the ring is about to sleep and is to be woken for operation `lsn`. Afterwards it
    /// must check once more whether that operation has come, or a round of reads is wanted.
    pub fn wake_at(&self, lsn: Lsn) {
        self.header().wake_at.store(lsn.0, Ordering::SeqCst);
        // APPEND-OR-SLEEP: either this process sees the number taken, or its taker sees that this process sleeps.
        fence(Ordering::SeqCst);
    }

    /// Whether the process that takes records from the ring sleeps, is to be woken by now, and the caller, who has just appended, is the
    /// one to do it.
    #[inline]
    #[must_use]
    pub fn must_be_woken(&self, order: &Order<'_>) -> bool {
        // APPEND-OR-SLEEP.
        fence(Ordering::SeqCst);
        let header = self.header();
        let wake_at = &header.wake_at;
        let wanted = wake_at.load(Ordering::SeqCst);
        let has_work = wanted <= order.now().lsn.0 || wanted != u64::MAX && self.is_round_due();
        has_work && wake_at.compare_exchange(wanted, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Goes on after `lsn`, where all is on disk and committed; before the first worker. No number is given out before the journal process has said
    /// how much room there is: on a full disk an operation would wait for ever instead of being refused.
    pub(super) fn begin_after(&self, lsn: Lsn) {
        self.set_on_disk_alone(OnDisk(lsn), lsn);
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::base::vocab::Cents;
    use crate::store::ledger::Teller;
    use crate::store::ledger::test_support::{A, deposit, operate, table};

    #[test]
    fn the_journal_process_is_woken_once_and_not_before_what_it_waits_for() {
        let table = table(1, Cents(0), 8);
        let sequencer = table.sequencer();
        let mut teller = Teller::new(&table, 0, || ());
        let mut after_one_more = || {
            operate(&mut teller, deposit(A, 1)).unwrap();
            sequencer.must_be_woken(&table.order())
        };
        assert!(!after_one_more(), "it does not sleep");
        sequencer.wake_at(Lsn(3));
        assert_eq!([after_one_more(), after_one_more(), after_one_more()], [false, true, false]);
        sequencer.wake_at(Lsn(2));
        assert!(sequencer.must_be_woken(&table.order()), "that has come already");
        assert!(!sequencer.must_be_woken(&table.order()));
    }

    #[test]
    fn the_journal_s_state_is_that_which_was_set_last() {
        let [without, with] = [0, 8].map(|ring| table(1, Cents(0), ring));
        assert_eq!([&without, &with].map(|table| table.sequencer().is_journaled()), [false, true]);
        assert_eq!([&without, &with].map(|table| table.sequencer().capacity()), [0, 8]);
        assert_eq!(without.sequencer().state(), JournalState::Absent);
        assert_eq!(with.sequencer().state(), JournalState::Open);
        for (state, name) in [
            (JournalState::NoSpace, "no space"),
            (JournalState::Failed, "failed"),
            (JournalState::Absent, "absent"),
            (JournalState::Open, "open"),
        ] {
            with.sequencer().set_state(state);
            assert_eq!((with.sequencer().state(), state.name()), (state, name));
        }
    }
}
