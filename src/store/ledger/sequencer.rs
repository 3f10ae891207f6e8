//! The sequencer: gives an operation its place in the order of all, its record a place in the journal ring, and its key a
//! place among the known ones, all at once: taking the next number is the commit point.
//!
//! Under one robust lock an operation writes its record behind the ring's end, where it does not count yet, and claims the
//! next number in its intent; then it takes that number from the order word, which is the ring's tail as well. So there are
//! no holes in the ring, and whoever looks after a death knows by one comparison whether the operation happened. A holder
//! that dies leaves at most one claim that was not reached; whoever inherits the lock withdraws it before the number goes to
//! another.
//!
//! Without a journal the ring has no places. Operations without a key then take their number without the lock.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::defect::{self, Defect};
use crate::base::vocab::Lsn;
use crate::ipc::IpcError;
use crate::ipc::cells::{
    Acquired, AtomicU32, AtomicU64, Busy, Held, Ordering, RobustMutex, Segment, fence, shared_struct,
};
use crate::ipc::segment::Access;
use crate::store::journal::record::{RECORD_BYTES, Record, RecordBytes};
use crate::store::ledger::intent::{Intent, Phase};
use crate::store::ledger::keys::{Found, Keys, Remembered, Spot};
use crate::store::ledger::order::{Order, Stamp};
use crate::store::ledger::table::{PATIENCE, Table};

/// Version of the ring's layout.
pub const LAYOUT_VERSION: u32 = 1;
const WORDS: usize = RECORD_BYTES / 8;

shared_struct! {
    /// What stands before the records.
    struct RingHeader, align 64, size 192; {
        lock: RobustMutex,
        lock_line: [AtomicU64; 3],
        /// The last operation that is on disk for good. Writer: the journal process.
        durable: AtomicU64,
        /// The last number that may be given out. Writer: the journal process.
        limit: AtomicU64,
        /// See [`JournalState`]. Writer: the journal process.
        state: AtomicU32,
        /// 1: replies wait until what they show is durable. Writer: the master, before the first worker.
        replies_wait: AtomicU32,
        journal_line: [AtomicU64; 5],
        /// While the journal process sleeps, the number that it is to be woken for; whoever wakes it takes it away.
        wake_at: AtomicU64,
        wake_line: [AtomicU64; 7],
    }
}

shared_struct! {
    /// One record, as `journal::record` encodes it, unsealed. Writer: the lock's holder.
    struct RecordPlace, align 64, size 128; {
        words: [AtomicU64; WORDS],
    }
}

/// How the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum JournalState {
    /// There is none.
    Absent = 0,
    /// It takes records.
    Open = 1,
    /// The disk is full: what was appended becomes durable, nothing new is taken until there is space.
    NoSpace = 2,
    /// The disk failed: nothing more becomes durable.
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
    /// How many accounts.
    pub accounts: u32,
    /// What each holds at the beginning.
    pub initial_balance: crate::base::vocab::Cents,
    /// Places of the journal ring; 0 for no journal.
    pub ring: u32,
    /// How many idempotency keys are remembered.
    pub key_window: u32,
    /// Whether replies wait until what they show is durable.
    pub replies_wait: bool,
}

/// Why an operation was not committed; nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncommitted {
    /// Its key is known with the same request, and this became of it.
    Repeated(Remembered),
    /// Its key is known with another request, which is operation so-and-so: to say so shows that this has happened.
    Conflict(Lsn),
    /// The ring is full: ask again when more is durable.
    Later,
    /// The disk is full; ask again much later.
    NoSpace,
}

impl Uncommitted {
    /// The operation whose having happened shows in an answer that says this; 0 for none.
    #[must_use]
    pub fn shows(&self) -> Lsn {
        match self {
            Uncommitted::Repeated(first) => first.lsn,
            Uncommitted::Conflict(first) => *first,
            Uncommitted::Later | Uncommitted::NoSpace => Lsn(0),
        }
    }
}

/// The ring and the keys.
pub struct Sequencer {
    ring: Segment<RingHeader, RecordPlace>,
    keys: Keys,
}

impl Sequencer {
    pub(super) fn create([ring, keys, index]: [&str; 3], boot: u32, shape: &Shape) -> Result<Self, IpcError> {
        let places = shape.ring as usize;
        let made = Segment::create(ring, LAYOUT_VERSION, boot, places, |header: &RingHeader, _| {
            let state = if shape.ring == 0 { JournalState::Absent } else { JournalState::Open };
            header.state.store(state as u32, Ordering::Relaxed);
            header.replies_wait.store(u32::from(shape.replies_wait), Ordering::Relaxed);
            header.limit.store(u64::from(shape.ring), Ordering::Relaxed);
            header.wake_at.store(u64::MAX, Ordering::Relaxed);
            header.lock.init(ring)
        })?;
        Ok(Sequencer { ring: made, keys: Keys::create([keys, index], boot, shape.key_window)? })
    }

    /// Bytes of the three segments.
    pub(super) fn bytes_for(shape: &Shape) -> [usize; 3] {
        let [keys, index] = Keys::bytes_for(shape.key_window);
        [Segment::<RingHeader, RecordPlace>::bytes_for(shape.ring as usize), keys, index]
    }

    pub(super) fn open([ring, keys, index]: [&str; 3], access: Access) -> Result<Self, IpcError> {
        Ok(Sequencer { ring: Segment::open(ring, LAYOUT_VERSION, access)?, keys: Keys::open([keys, index], access)? })
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

    fn header(&self) -> &RingHeader {
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

    /// Whether a reply that shows the result of operation `lsn` may leave.
    #[inline]
    #[must_use]
    pub fn may_be_shown(&self, lsn: Lsn) -> bool {
        let waits = self.header().replies_wait.load(Ordering::Relaxed) != 0 && !defect::is(Defect::AckEarly);
        !waits || lsn <= self.durable()
    }

    /// Whether replies wait until what they show is durable.
    #[must_use]
    pub fn replies_wait(&self) -> bool {
        self.header().replies_wait.load(Ordering::Relaxed) != 0
    }

    /// The last operation that is on disk for good.
    #[inline]
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.header().durable.load(Ordering::SeqCst))
    }

    /// The last number that may be given out: as far as the ring goes, and the room on the disk.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> Lsn {
        // RING-PLACE: acquire.
        Lsn(self.header().limit.load(Ordering::Acquire))
    }

    /// How the journal is.
    #[must_use]
    pub fn state(&self) -> JournalState {
        match self.header().state.load(Ordering::Acquire) {
            0 => JournalState::Absent,
            1 => JournalState::Open,
            2 => JournalState::NoSpace,
            _ => JournalState::Failed,
        }
    }

    /// Says how the journal is. Only the journal process.
    pub fn set_state(&self, state: JournalState) {
        self.header().state.store(state as u32, Ordering::Release);
    }

    /// Says that all up to `lsn` is on disk for good, so that its places in the ring may be used again, and that the disk has
    /// room up to `room`. Only the journal process.
    pub fn set_durable(&self, lsn: Lsn, room: Lsn) {
        // RING-PLACE: release; a place is used again only after it was read.
        self.header().limit.store((lsn.0 + self.capacity()).min(room.0), Ordering::Release);
        // DURABLE-OR-AWAITED.
        self.header().durable.store(lsn.0, Ordering::SeqCst);
    }

    /// Copies the record of operation `lsn` out of the ring; of one that was committed and is not yet written.
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

    fn put(&self, record: &Record) {
        let bytes = record.encode();
        for (word, part) in self.place(record.lsn).words.iter().zip(bytes.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*part), Ordering::Relaxed);
        }
    }

    /// The journal process is about to sleep, and is to be woken for operation `lsn`; afterwards it must look once more whether
    /// that has come.
    pub fn wake_at(&self, lsn: Lsn) {
        self.header().wake_at.store(lsn.0, Ordering::SeqCst);
        // APPEND-OR-SLEEP: either this process sees the number taken, or whoever took it sees that this process sleeps.
        fence(Ordering::SeqCst);
    }

    /// Whether the journal process sleeps, is to be woken by now, and this caller is the one to do it; after appending.
    #[inline]
    #[must_use]
    pub fn must_be_woken(&self, order: &Order<'_>) -> bool {
        // APPEND-OR-SLEEP.
        fence(Ordering::SeqCst);
        let wake_at = &self.header().wake_at;
        let wanted = wake_at.load(Ordering::SeqCst);
        wanted <= order.now().lsn.0
            && wake_at.compare_exchange(wanted, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Goes on after `lsn`, all of which is on disk; before the first worker. Nothing is taken before the journal process has
    /// said how much room there is: on a full disk it would wait for ever, instead of being refused.
    pub(super) fn begin_after(&self, lsn: Lsn) {
        self.set_durable(lsn, lsn);
    }
}

impl Table {
    /// Commits the operation of `intent`, whose accounts are all locked: gives it its number, which goes into `record`. `spot` is
    /// that of the record's key.
    ///
    /// # Errors
    /// [`Uncommitted`]; the intent is still to be cleared then.
    #[inline]
    pub(super) fn commit(
        &self,
        intent: &Intent,
        record: &mut Record,
        spot: Option<&Spot<'_>>,
        still_waiting: impl FnMut(),
    ) -> Result<Stamp, Uncommitted> {
        if !self.sequencer().is_journaled() && spot.is_none() {
            let stamp = self.order().take_next();
            intent.commit(stamp.lsn);
            crash_point(CrashPoint::Committed);
            return Ok(stamp);
        }
        self.commit_in_turn(intent, record, spot, still_waiting)
    }

    fn commit_in_turn(
        &self,
        intent: &Intent,
        record: &mut Record,
        spot: Option<&Spot<'_>>,
        still_waiting: impl FnMut(),
    ) -> Result<Stamp, Uncommitted> {
        let sequencer = self.sequencer();
        let keys = sequencer.keys();
        let _held = self.sequence(still_waiting);
        crash_point(CrashPoint::SequencerLocked);
        record.lsn = Lsn(self.order().now().lsn.0 + 1);
        let slot = match spot.map(|spot| keys.find(spot)) {
            Some(Found::Known(known)) if known.is_same_request(record) => return Err(Uncommitted::Repeated(known)),
            Some(Found::Known(known)) => return Err(Uncommitted::Conflict(known.lsn)),
            Some(Found::Crowded) => return Err(Uncommitted::NoSpace),
            Some(Found::Free(slot)) => Some(slot),
            None => None,
        };
        if sequencer.is_journaled() {
            if record.lsn > sequencer.limit() {
                let no_space = sequencer.state() == JournalState::NoSpace;
                return Err(if no_space { Uncommitted::NoSpace } else { Uncommitted::Later });
            }
            sequencer.put(record);
        }
        let number = spot.zip(slot).map(|(spot, slot)| keys.write_down(spot, record, slot));
        crash_point(CrashPoint::RecordWritten);
        intent.set_key_number(number.unwrap_or(0));
        let stamp = if sequencer.is_journaled() {
            intent.claim(record.lsn);
            crash_point(CrashPoint::Claimed);
            self.order().take_next()
        } else {
            // Others without a key take numbers without the lock: it is known only now.
            let stamp = self.order().take_next();
            intent.commit(stamp.lsn);
            stamp
        };
        record.lsn = stamp.lsn;
        crash_point(CrashPoint::Committed);
        if let Some(number) = number {
            keys.make_known(number, stamp.lsn);
        }
        crash_point(CrashPoint::KeyKnown);
        Ok(stamp)
    }

    /// The record of operation `lsn`, if that is durable and its place in the ring is not another's yet. For who only looks: the
    /// place may be written while it is read, so what was read is believed only if nobody can have begun to.
    #[must_use]
    pub fn recent_record(&self, lsn: Lsn) -> Option<Record> {
        let sequencer = self.sequencer();
        if !sequencer.is_journaled() || lsn == Lsn(0) || lsn > sequencer.durable() {
            return None;
        }
        let bytes = sequencer.record(lsn);
        // The record that takes this place next is written only after the number before its own was taken.
        fence(Ordering::Acquire);
        if self.order().now().lsn.0 + 1 >= lsn.0 + sequencer.capacity() {
            return None;
        }
        // A ring begins empty, also where the numbers go on from what was on disk.
        Record::decode(&bytes).ok().filter(|record| record.lsn == lsn)
    }

    /// Takes the sequencer's lock, and sees to what its last holder left when that died.
    #[inline]
    fn sequence(&self, still_waiting: impl FnMut()) -> Held<'_> {
        self.sequenced(self.sequencer().lock().lock(PATIENCE, still_waiting))
    }

    /// The same, if that needs no waiting.
    ///
    /// # Errors
    /// [`Busy`]: somebody else holds it.
    pub(super) fn try_sequence(&self) -> Result<Held<'_>, Busy> {
        Ok(self.sequenced(self.sequencer().lock().try_lock()?))
    }

    #[inline]
    fn sequenced<'a>(&'a self, acquired: Acquired<'a>) -> Held<'a> {
        match acquired {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                self.mend_sequence();
                inherited.into_consistent()
            }
        }
    }

    /// The sequencer's last holder died. If it had claimed a number that was not reached, the claim is void; if it had reached
    /// it, its key becomes known. Both can be done again.
    #[cold]
    fn mend_sequence(&self) {
        let last = self.order().now().lsn;
        let keys = self.sequencer().keys();
        for row in self.rows() {
            if matches!(row.intent.phase(), Phase::Claimed(lsn) if lsn > last) {
                if defect::is(Defect::StaleClaim) {
                    continue;
                }
                row.intent.withdraw_claim();
                crash_point(CrashPoint::RepairWithdrawn);
            } else if let Some(lsn) = self.order().happened(&row.intent)
                && row.intent.key_number() == keys.known() + 1
                && !defect::is(Defect::LostKey)
            {
                keys.make_known(row.intent.key_number(), lsn);
                crash_point(CrashPoint::RepairKeyKnown);
            }
        }
    }
}
