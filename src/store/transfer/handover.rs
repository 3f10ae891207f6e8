//! How chunks go from the writer to the worker: what each side does, but for the copying. No lock is held over a copy.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::defect::{self, Defect};
use crate::ipc::cells::{Ordering, fence};
use crate::store::transfer::header::{State, TransferHeader};
use crate::store::transfer::shape::CHUNKS;
use crate::store::transfer::tickets::Wake;

/// Bit of `outcome`: the length is known.
const BEGUN: u32 = 1;
/// Bit of `outcome`: there is nothing, or nothing more.
const FAILED: u32 = 2;
/// Bit of `outcome`: the contents come by another way, whole, and none of them through the segment.
const ELSEWHERE: u32 = 4;

/// Which chunk the filling of that number goes to.
#[allow(clippy::cast_possible_truncation, reason = "below CHUNKS")]
fn place(sequence: u64) -> usize {
    (sequence % CHUNKS as u64) as usize
}

/// What a chunk's word says: the number of its filling, and its bytes.
#[allow(clippy::cast_possible_truncation, reason = "the low half is enough to tell neighbours apart")]
fn chunk_word(sequence: u64, length: u32) -> u64 {
    u64::from(sequence as u32) << 32 | u64::from(length)
}

/// Whether there is room for the writer to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// This chunk is empty.
    Chunk(usize),
    /// None is; the writer will be woken.
    None,
    /// Nobody wants the contents any more.
    Gone,
}

/// The writer's side of one use of a segment.
pub(super) struct Filling<'a> {
    header: &'a TransferHeader,
    generation: u32,
    worker: usize,
    sequence: u64,
    /// Whether the next chunk is taken off `empty`.
    has_chunk: bool,
}

impl<'a> Filling<'a> {
    /// Picks an offered segment up; `None` where this use of it is over, or somebody has it already.
    pub(super) fn pick_up(header: &'a TransferHeader, generation: u32, pid: u32) -> Option<Self> {
        if !header.pick_up(generation, pid) {
            return None;
        }
        crash_point(CrashPoint::TransferPickedUp);
        let worker = usize::from(header.claim().owner);
        Some(Filling { header, generation, worker, sequence: 0, has_chunk: false })
    }

    /// Says how long the contents are. The worker is woken by the first chunk of them, since before that it has nothing to send.
    pub(super) fn announce(&mut self, total: u64, detail: u32, wake: &dyn Wake) {
        self.begin(BEGUN, total, detail);
        if total == 0 {
            self.wake_reader(wake);
        }
        crash_point(CrashPoint::TransferAnnounced);
    }

    /// Says how long the contents are, and that they come by another way.
    pub(super) fn announce_elsewhere(&mut self, total: u64, detail: u32, wake: &dyn Wake) {
        self.begin(BEGUN | ELSEWHERE, total, detail);
        self.wake_reader(wake);
        crash_point(CrashPoint::TransferAnnounced);
    }

    fn begin(&mut self, bits: u32, total: u64, detail: u32) {
        self.header.total.store(total, Ordering::Relaxed);
        self.header.detail.store(detail, Ordering::Relaxed);
        self.say(bits);
    }

    /// Says that there is nothing, or nothing more.
    pub(super) fn fail(&mut self, status: u32, wake: &dyn Wake) {
        self.header.status.store(status, Ordering::Relaxed);
        self.say(FAILED);
        self.wake_reader(wake);
    }

    fn say(&self, bits: u32) {
        let said = self.header.outcome.load(Ordering::Relaxed);
        // ANNOUNCE-OUTCOME: release.
        self.header.outcome.store(said | bits, Ordering::Release);
    }

    /// Where the next bytes go.
    pub(super) fn room(&mut self) -> Room {
        if !self.header.is_wanted(self.generation) {
            return Room::Gone;
        }
        if self.take_empty() {
            self.header.writer_waits.store(0, Ordering::Relaxed);
            return Room::Chunk(place(self.sequence));
        }
        self.header.writer_waits.store(1, Ordering::Relaxed);
        // RETURNED-OR-AWAITED: the worker posts, fences, and looks whether it is awaited.
        fence(Ordering::SeqCst);
        if !self.take_empty() {
            return Room::None;
        }
        self.header.writer_waits.store(0, Ordering::Relaxed);
        Room::Chunk(place(self.sequence))
    }

    fn take_empty(&mut self) -> bool {
        // RETURN-CHUNK: acquire; the worker has done with the chunk.
        self.has_chunk = self.has_chunk || self.header.empty.try_wait();
        self.has_chunk
    }

    /// Hands over the chunk that [`Filling::room`] gave, with so many bytes in it.
    pub(super) fn hand_over(&mut self, length: u32, wake: &dyn Wake) {
        debug_assert!(self.has_chunk, "no chunk was asked for");
        self.header.chunks[place(self.sequence)].store(chunk_word(self.sequence, length), Ordering::Relaxed);
        self.has_chunk = false;
        self.sequence += 1;
        self.header.filled.store(self.sequence, Ordering::Relaxed);
        crash_point(CrashPoint::TransferFilled);
        // FILL-CHUNK: release; sem_post(3) orders the bytes and the chunk's word before it.
        self.header.full.post();
        crash_point(CrashPoint::TransferHandedOver);
        self.wake_reader(wake);
    }

    fn wake_reader(&self, wake: &dyn Wake) {
        // FILLED-OR-AWAITED: what is new stands there already.
        fence(Ordering::SeqCst);
        if self.header.reader_waits.load(Ordering::Relaxed) != 0 {
            // Once is enough: it looks for all there is when it is awake, and says anew that it waits.
            self.header.reader_waits.store(0, Ordering::Relaxed);
            wake.worker(self.worker);
        }
    }
}

/// What the writer has said of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Their bytes.
    pub total: u64,
    /// What the writer told beside it: what it means is up to both.
    pub detail: u32,
}

/// What there is for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing new; the worker will be woken.
    Pending,
    /// A chunk, until it is given back. It is known how long the whole is.
    Chunk,
    /// It is known how long the whole is, and all of it comes by another way.
    Elsewhere,
    /// All bytes have been taken and given back.
    End,
    /// The writer has said that there is nothing, or nothing more, and why.
    Failed(u32),
    /// The writer is dead, or has not kept to the protocol: nothing more comes.
    Broken,
}

/// A chunk that the worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Which one.
    pub index: usize,
    /// Its bytes; not more than fit, and not more than are missing.
    pub length: usize,
}

/// The worker's side of one use of a segment.
pub(super) struct Taking<'a> {
    header: &'a TransferHeader,
    /// Bytes that fit into a chunk.
    capacity: usize,
    sequence: u64,
    bytes: u64,
    begun: Option<Begun>,
    held: Option<Held>,
    is_broken: bool,
}

impl<'a> Taking<'a> {
    pub(super) fn new(header: &'a TransferHeader, capacity: usize) -> Self {
        Taking { header, capacity, sequence: 0, bytes: 0, begun: None, held: None, is_broken: false }
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        self.begun
    }

    pub(super) fn held(&self) -> Option<Held> {
        self.held
    }

    /// Bytes of the chunks that were given back.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Looks what there is.
    pub(super) fn poll(&mut self) -> Next {
        let mut next = self.look();
        if next.is_none() {
            self.header.reader_waits.store(1, Ordering::Relaxed);
            // FILLED-OR-AWAITED: the writer hands over, fences, and looks whether it is awaited.
            fence(Ordering::SeqCst);
            next = if defect::is(Defect::NoSecondLook) { None } else { self.look() };
        }
        if next.is_some() {
            self.header.reader_waits.store(0, Ordering::Relaxed);
        }
        next.unwrap_or(Next::Pending)
    }

    fn look(&mut self) -> Option<Next> {
        if self.is_broken {
            return Some(Next::Broken);
        }
        if self.held.is_some() {
            return Some(Next::Chunk);
        }
        // The master says so when the writer has ended, so all that it ever handed over is found below.
        let is_dead = self.header.claim().state == State::Broken;
        let outcome = self.read_outcome();
        if outcome & FAILED != 0 {
            return Some(Next::Failed(self.header.status.load(Ordering::Relaxed)));
        }
        if outcome & ELSEWHERE != 0 {
            return Some(Next::Elsewhere);
        }
        if self.begun.is_some_and(|begun| begun.total == self.bytes) {
            return Some(Next::End);
        }
        // FILL-CHUNK: acquire; sem_trywait(3) orders the bytes and the chunk's word after it.
        if self.header.full.try_wait() {
            return Some(self.take());
        }
        is_dead.then_some(Next::Broken)
    }

    /// What has been said of the contents. The length is read once: what it says later does not count.
    fn read_outcome(&mut self) -> u32 {
        // ANNOUNCE-OUTCOME: acquire.
        let outcome = self.header.outcome.load(Ordering::Acquire);
        if outcome & BEGUN != 0 && self.begun.is_none() {
            let (total, detail) = (&self.header.total, &self.header.detail);
            self.begun = Some(Begun { total: total.load(Ordering::Relaxed), detail: detail.load(Ordering::Relaxed) });
        }
        outcome
    }

    /// Takes the chunk that was handed over. Its word is copied once, checked, and then used.
    #[allow(clippy::cast_possible_truncation, reason = "the low half is the length")]
    fn take(&mut self) -> Next {
        // It may have been said after the last look.
        self.read_outcome();
        let index = place(self.sequence);
        let word = self.header.chunks[index].load(Ordering::Relaxed);
        let length = word as u32;
        let missing = self.begun.map_or(0, |begun| begun.total - self.bytes);
        let fits = (1..=self.capacity as u64).contains(&u64::from(length)) && u64::from(length) <= missing;
        if !fits || word != chunk_word(self.sequence, length) {
            self.is_broken = true;
            return Next::Broken;
        }
        self.held = Some(Held { index, length: length as usize });
        crash_point(CrashPoint::TransferTaken);
        Next::Chunk
    }

    /// Gives the chunk back that is held.
    pub(super) fn give_back(&mut self, wake: &dyn Wake) {
        let Some(held) = self.held.take() else { return };
        self.sequence += 1;
        self.bytes += held.length as u64;
        self.header.taken.store(self.sequence, Ordering::Relaxed);
        // RETURN-CHUNK: release.
        self.header.empty.post();
        crash_point(CrashPoint::TransferReturned);
        // RETURNED-OR-AWAITED: the chunk is back already.
        fence(Ordering::SeqCst);
        if self.header.writer_waits.load(Ordering::Relaxed) != 0 {
            self.header.writer_waits.store(0, Ordering::Relaxed);
            wake.cache();
        }
    }
}
