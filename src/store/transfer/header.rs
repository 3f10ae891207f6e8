//! The header of a segment, and who has the segment.

use crate::base::defect::{self, Defect};
use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, SharedSemaphore, shared_struct};
use crate::store::transfer::shape::CHUNKS;

/// What `empty` begins with: all of them.
#[allow(clippy::cast_possible_truncation, reason = "they are two")]
const EMPTY_CHUNKS: u32 = CHUNKS as u32;

shared_struct! {
    /// The header of a segment. Orderings are at the places of use, by name.
    ///
    /// "The worker" is the one that has claimed the segment, "the writer" is the cache process once it has picked it up.
    pub struct TransferHeader, align 64, size crate::store::transfer::shape::HEADER_BYTES; {
        /// Who has the segment: a [`Claim`]. Writers: workers, the cache process and the master, each by compare-and-swap only.
        claim: AtomicU64,
        /// Its number in the pool, for who looks at memory. Writer: the master, once.
        pub(super) number: AtomicU32,
        /// The worker's process id. Writer: the worker, before it offers.
        pub(super) owner_pid: AtomicU32,
        /// The writer's process id; 0 until it has picked up. Writers: the worker, before it offers; then the writer.
        pub(super) writer_pid: AtomicU32,
        /// What has been said of the contents, in bits. Writers: the worker (0), before it offers; then the writer. ANNOUNCE-OUTCOME.
        pub(super) outcome: AtomicU32,
        /// Bytes of the contents. Writer: the writer, before `outcome` says that it has begun.
        pub(super) total: AtomicU64,
        /// What the writer tells beside the length. Writer: as of `total`.
        pub(super) detail: AtomicU32,
        /// Why there are no contents, or no more. Writer: the writer, before `outcome` says that it has failed.
        pub(super) status: AtomicU32,
        rest: [AtomicU64; 3],

        /// Chunks ever filled in this generation. Writers: as of `writer_pid`.
        pub(super) filled: AtomicU64,
        /// Of each chunk the number of its filling (32 bits), and its bytes. Writer: the writer, which has it by `empty`. FILL-CHUNK.
        pub(super) chunks: [AtomicU64; CHUNKS],
        /// 1 while the writer sleeps for want of an empty chunk, until it is woken. Writers: as of `writer_pid`; who wakes it. RETURNED-OR-AWAITED.
        pub(super) writer_waits: AtomicU32,
        writer_line: [AtomicU32; 9],

        /// Chunks ever given back in this generation. Writer: the worker.
        pub(super) taken: AtomicU64,
        /// 1 while the worker sleeps for want of a full chunk, until it is woken. Writers: the worker; who wakes it. FILLED-OR-AWAITED.
        pub(super) reader_waits: AtomicU32,
        reader_line: [AtomicU32; 13],

        /// Chunks that are filled and not taken. Made by the worker before it offers, posted by the writer, taken by the worker.
        pub(super) full: SharedSemaphore,
        /// Chunks that may be filled. The other way round.
        pub(super) empty: SharedSemaphore,
    }
}

/// Who has a segment, as it stands in one word: generation (32 bits), owner (16), state (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which of its uses this is: one more with each claim.
    pub generation: u32,
    /// The number of the worker that claimed it last.
    pub owner: u16,
    /// Which sides have it.
    pub state: State,
}

/// Which sides have a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nobody.
    Free = 0,
    /// The worker, which prepares it.
    Claimed = 1,
    /// The worker; the cache process may pick it up.
    Offered = 2,
    /// Worker and writer.
    Writing = 3,
    /// The worker; the writer has done with it.
    Written = 4,
    /// The writer; the worker has given up, or is dead.
    Abandoned = 5,
    /// The worker; the writer is dead.
    Broken = 6,
}

impl State {
    /// The word that tools show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Claimed => "claimed",
            State::Offered => "offered",
            State::Writing => "writing",
            State::Written => "written",
            State::Abandoned => "abandoned",
            State::Broken => "broken",
        }
    }
}

impl Claim {
    fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.owner) << 16 | self.state as u64
    }

    #[allow(clippy::cast_possible_truncation, reason = "parts of a word")]
    fn from_word(word: u64) -> Self {
        let state = match word as u8 {
            0 => State::Free,
            1 => State::Claimed,
            2 => State::Offered,
            3 => State::Writing,
            4 => State::Written,
            5 => State::Abandoned,
            // No other is ever written; if one is there, its owner can only give it up.
            _ => State::Broken,
        };
        Claim { generation: (word >> 32) as u32, owner: (word >> 16) as u16, state }
    }
}

/// A use of a segment: what a request names, and what comes late is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentId {
    /// Its number in the pool.
    pub number: u32,
    /// Which of its uses.
    pub generation: u32,
}

impl SegmentId {
    /// Bytes of one in a message.
    pub const BYTES: usize = 8;

    /// As it stands in a message, little endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        (u64::from(self.number) | u64::from(self.generation) << 32).to_le_bytes()
    }

    /// Reads what [`SegmentId::to_bytes`] wrote. The pool checks the number when it is used.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_le_bytes(bytes);
        SegmentId { number: word as u32, generation: (word >> 32) as u32 }
    }
}

/// What became of a segment that one side has let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// It is free: who waits longest is to be woken.
    Freed,
    /// The other side still has it, and is to be woken.
    OtherSide,
    /// This side did not have it.
    NotHeld,
}

impl TransferHeader {
    /// Who has the segment now.
    #[must_use]
    pub fn claim(&self) -> Claim {
        // END-OF-USE: acquire, for who finds that the writer has ended.
        Claim::from_word(self.claim.load(Ordering::Acquire))
    }

    /// Changes the state to what `next` says of the claim that stands there; what it was, and is. `None` where `next` gives `None`.
    fn change(&self, next: impl Fn(Claim) -> Option<State>) -> Option<(State, State)> {
        let mut seen = self.claim.load(Ordering::Acquire);
        loop {
            let claim = Claim::from_word(seen);
            let state = next(claim)?;
            let word = Claim { state, ..claim }.word();
            // OFFER-SEGMENT and END-OF-USE: who comes next sees all that this side has done, and has seen.
            match self.claim.compare_exchange(seen, word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((claim.state, state)),
                Err(now) => seen = now,
            }
        }
    }

    /// Claims the segment for a worker if it is free; its new generation.
    pub(super) fn take(&self, worker: u16) -> Option<u32> {
        let seen = Claim::from_word(self.claim.load(Ordering::Relaxed));
        let free = seen.state == State::Free;
        let claim = Claim { generation: seen.generation.wrapping_add(1), owner: worker, state: State::Claimed };
        // END-OF-USE: acquire; both sides of its last use have ended.
        let taken = free
            && self.claim.compare_exchange(seen.word(), claim.word(), Ordering::Acquire, Ordering::Relaxed).is_ok();
        taken.then_some(claim.generation)
    }

    /// Prepares a segment that was just claimed, and lets the cache process pick it up.
    pub(super) fn offer(&self, generation: u32, pid: u32) {
        self.owner_pid.store(pid, Ordering::Relaxed);
        for word in [&self.writer_pid, &self.outcome, &self.writer_waits, &self.reader_waits] {
            word.store(0, Ordering::Relaxed);
        }
        for word in self.chunks.iter().chain([&self.filled, &self.taken]) {
            word.store(0, Ordering::Relaxed);
        }
        self.total.store(0, Ordering::Relaxed);
        self.full.init(0);
        self.empty.init(EMPTY_CHUNKS);
        let may = |claim: Claim| claim.generation == generation && claim.state == State::Claimed;
        self.change(|claim| may(claim).then_some(State::Offered));
    }

    /// Takes the writer's side of an offered segment; whether this use of it is still wanted, and nobody has it already.
    pub(super) fn pick_up(&self, generation: u32, pid: u32) -> bool {
        let may = |claim: Claim| claim.generation == generation && claim.state == State::Offered;
        let picked_up = self.change(|claim| may(claim).then_some(State::Writing)).is_some();
        if picked_up {
            self.writer_pid.store(pid, Ordering::Relaxed);
        }
        picked_up
    }

    /// Whether the writer's side is held in this use, and the worker still wants it.
    pub(super) fn is_wanted(&self, generation: u32) -> bool {
        let claim = self.claim();
        claim.generation == generation && claim.state == State::Writing
    }

    /// Ends the worker's side.
    pub(super) fn end_reading(&self, generation: u32, worker: u16) -> LetGo {
        let next = |claim: Claim| match claim.state {
            _ if claim.generation != generation || claim.owner != worker => None,
            State::Free | State::Abandoned => None,
            State::Writing if defect::is(Defect::EarlyFree) => Some(State::Free),
            State::Writing => Some(State::Abandoned),
            State::Claimed | State::Offered | State::Written | State::Broken => Some(State::Free),
        };
        self.let_go(next)
    }

    /// Ends the writer's side.
    pub(super) fn end_writing(&self, generation: u32) -> LetGo {
        let next = |claim: Claim| match claim.state {
            _ if claim.generation != generation => None,
            State::Writing => Some(State::Written),
            State::Abandoned => Some(State::Free),
            _ => None,
        };
        self.let_go(next)
    }

    /// Ends the side of a writer that is dead.
    pub(super) fn end_dead_writing(&self) -> LetGo {
        let next = |claim: Claim| match claim.state {
            State::Writing => Some(State::Broken),
            State::Abandoned => Some(State::Free),
            _ => None,
        };
        self.let_go(next)
    }

    fn let_go(&self, next: impl Fn(Claim) -> Option<State>) -> LetGo {
        match self.change(next) {
            None => LetGo::NotHeld,
            Some((_, State::Free)) => LetGo::Freed,
            Some(_) => LetGo::OtherSide,
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_one_word() {
        let states = [
            State::Free,
            State::Claimed,
            State::Offered,
            State::Writing,
            State::Written,
            State::Abandoned,
            State::Broken,
        ];
        for state in states {
            let claim = Claim { generation: 0xFEDC_BA98, owner: 0xABCD, state };
            assert_eq!(Claim::from_word(claim.word()), claim);
        }
        assert_eq!(
            Claim::from_word(0),
            Claim { generation: 0, owner: 0, state: State::Free },
            "as fresh memory has it"
        );
        assert_eq!(Claim::from_word(77).state, State::Broken);
        let id = SegmentId { number: 7, generation: 0x0102_0304 };
        assert_eq!(id.to_bytes(), [7, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(SegmentId::from_bytes(id.to_bytes()), id);
    }
}
