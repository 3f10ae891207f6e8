//! A connection's slot in shared memory: its owner, its session, and the positions of its two byte rings.
//!
//! What stands here outlives the worker that serves the connection; so do the rings (`slots.rs`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ipc::bytes::SharedBytes;
use crate::shared_struct;

shared_struct! {
    /// One connection. Writer of all but `claim`: the worker that owns it; after that worker's death, the master.
    pub struct ConnectionSlot, align 64, size 384; {
        /// Its owner, see [`Claim`]. Writers: the owner, and a process that claims a free slot.
        claim: AtomicU64,
        /// See [`Progress`]: "this request is consumed and its reply is queued" is one store.
        progress: AtomicU64,
        /// Bytes received into the ring so far, modulo 2^32.
        received: AtomicU32,
        /// Bytes sent from the ring so far, modulo 2^32.
        sent: AtomicU32,
        /// See [`Framing`]: the newer of the two that is not ahead of the bytes consumed holds.
        framing: [AtomicU64; 2],
        opened_ns: AtomicU64,
        /// 0 until LOGIN.
        session: AtomicU32,
        xor_key: AtomicU32,
        role: AtomicU64,
        /// The user's number.
        principal: AtomicU32,
        /// How often the gate had been closed when the bank began to serve it; 0 before, and without peers.
        gate_closings: AtomicU32,
        spare: [AtomicU32; 14],
        user: SharedBytes<256>,
    }
}

/// The worker's number in a claim while the master still looks for a worker that has room.
pub const NOBODY_YET: u16 = u16::MAX;

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Free,
    /// The master gave it to this worker, which has not looked at it yet: no byte was read.
    Handed(u16),
    /// This worker serves it.
    Served(u16),
    /// This worker has closed it; the master still has its duplicate.
    Closed(u16),
    /// This worker has given it back, for another to go on with.
    Returned(u16),
    /// The master gave it to this worker, after another had served it: what the kernel has moved and nobody has written down
    /// is to be found out first.
    Resumed(u16),
}

/// Who has a slot, and in which of its lives: a number that goes up with every new connection in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who has it.
    pub holder: Holder,
    /// Which life.
    pub generation: u32,
}

impl Claim {
    fn to_word(self) -> u64 {
        let (state, worker) = match self.holder {
            Holder::Free => (0u64, 0),
            Holder::Handed(worker) => (1, worker),
            Holder::Served(worker) => (2, worker),
            Holder::Closed(worker) => (3, worker),
            Holder::Returned(worker) => (4, worker),
            Holder::Resumed(worker) => (5, worker),
        };
        u64::from(self.generation) << 32 | state << 16 | u64::from(worker)
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    fn from_word(word: u64) -> Self {
        let worker = word as u16;
        let holder = match (word >> 16) as u16 {
            1 => Holder::Handed(worker),
            2 => Holder::Served(worker),
            3 => Holder::Closed(worker),
            4 => Holder::Returned(worker),
            5 => Holder::Resumed(worker),
            _ => Holder::Free,
        };
        Claim { holder, generation: (word >> 32) as u32 }
    }
}

impl Holder {
    /// The worker that has it, in whatever state.
    #[must_use]
    pub fn worker(self) -> Option<u16> {
        match self {
            Holder::Free => None,
            Holder::Handed(worker)
            | Holder::Served(worker)
            | Holder::Closed(worker)
            | Holder::Returned(worker)
            | Holder::Resumed(worker) => Some(worker),
        }
    }
}

/// How far a connection got: bytes of requests consumed and bytes of replies queued, both modulo 2^32, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken out of the receive ring.
    pub consumed: u32,
    /// Bytes put into the transmit ring.
    pub queued: u32,
}

impl Progress {
    /// The word.
    #[inline]
    #[must_use]
    pub fn to_word(self) -> u64 {
        u64::from(self.consumed) << 32 | u64::from(self.queued)
    }

    /// The word's meaning.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "cut into its halves")]
    pub fn from_word(word: u64) -> Self {
        Progress { consumed: (word >> 32) as u32, queued: word as u32 }
    }
}

/// The state of framing: of the bank what `wire::Decoder` gives, and the bad frames so far; of the web how much of a body is to be
/// thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// As `wire::Decoder` gives it, or bytes of a body; of [`Framing::DECODER_BITS`].
    pub decoder: u32,
    /// Bad frames so far.
    pub strikes: u8,
}

impl Framing {
    /// Bits of the decoder's state that are kept.
    pub const DECODER_BITS: u32 = 24;

    /// With the number of consumed bytes from which on it holds.
    fn to_word(self, from: u32) -> u64 {
        u64::from(from) << 32 | u64::from(self.decoder) << 8 & 0xffff_ff00 | u64::from(self.strikes)
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    fn from_word(word: u64) -> (u32, Self) {
        ((word >> 32) as u32, Framing { decoder: word as u32 >> 8, strikes: word as u8 })
    }
}

/// A session as it stands in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWords {
    /// The number that LOGIN gave out; never zero.
    pub session: u32,
    /// The key of XOR bodies.
    pub xor_key: u32,
    /// The role.
    pub role: u64,
    /// The user's number.
    pub principal: u32,
}

impl ConnectionSlot {
    /// Who has it.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim::from_word(self.claim.load(Ordering::Acquire))
    }

    /// Passes the slot from one holder to the next, in the same life; `false` when it is not `from`'s in that life.
    pub fn pass(&self, from: Claim, to: Holder) -> bool {
        let next = Claim { holder: to, generation: from.generation };
        self.claim.compare_exchange(from.to_word(), next.to_word(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the slot for `holder` and begins a new life in it, if it is free.
    pub fn begin(&self, holder: Holder, opened_ns: u64) -> Option<Claim> {
        let before = self.claim();
        if before.holder != Holder::Free {
            return None;
        }
        let claim = Claim { holder, generation: before.generation.wrapping_add(1) };
        self.claim.compare_exchange(before.to_word(), claim.to_word(), Ordering::AcqRel, Ordering::Acquire).ok()?;
        for word in [&self.received, &self.sent, &self.session, &self.xor_key, &self.gate_closings] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.framing[0], &self.framing[1], &self.role] {
            word.store(0, Ordering::Relaxed);
        }
        self.user.store_text("");
        self.opened_ns.store(opened_ns, Ordering::Relaxed);
        self.progress.store(0, Ordering::Release);
        Some(claim)
    }

    /// Frees the slot, whoever its owner was.
    pub fn free(&self) {
        let claim = Claim { holder: Holder::Free, generation: self.claim().generation };
        self.claim.store(claim.to_word(), Ordering::Release);
    }

    /// The word that says how far the connection got.
    #[inline]
    #[must_use]
    pub fn progress_word(&self) -> &AtomicU64 {
        &self.progress
    }

    /// How far the connection got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // MOVE-PROGRESS: acquire.
        Progress::from_word(self.progress.load(Ordering::Acquire))
    }

    /// Bytes received and bytes sent so far.
    #[must_use]
    pub fn moved(&self) -> (u32, u32) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn set_received(&self, received: u32) {
        self.received.store(received, Ordering::Release);
    }

    #[inline]
    pub(super) fn set_sent(&self, sent: u32) {
        self.sent.store(sent, Ordering::Release);
    }

    /// Keeps the state of framing that holds from `from` consumed bytes on; before the progress that consumes them. Until
    /// that progress is made, the other state goes on to hold.
    pub(super) fn set_framing(&self, from: u32, framing: Framing) {
        let (holds, _) = self.framing_at(self.progress().consumed);
        self.framing[1 - holds].store(framing.to_word(from), Ordering::Release);
    }

    /// The state of framing.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing_at(self.progress().consumed).1
    }

    /// Which of the two states holds after `consumed` bytes, and what it says. A state that is more than 2^31 bytes old is
    /// not told from one that is ahead: then the fresh one of a new connection holds, which forgives a strike.
    fn framing_at(&self, consumed: u32) -> (usize, Framing) {
        let states = [0, 1].map(|which| (which, Framing::from_word(self.framing[which].load(Ordering::Acquire))));
        let age = |from: u32| consumed.wrapping_sub(from);
        let holding = states.into_iter().filter(|(_, (from, _))| age(*from) < 1 << 31);
        holding
            .min_by_key(|(_, (from, _))| age(*from))
            .map_or((0, Framing::default()), |(which, (_, framing))| (which, framing))
    }

    /// Keeps the session that LOGIN began.
    pub fn set_session(&self, words: SessionWords, user: &str) {
        self.user.store_text(user);
        self.xor_key.store(words.xor_key, Ordering::Relaxed);
        self.role.store(words.role, Ordering::Relaxed);
        self.principal.store(words.principal, Ordering::Relaxed);
        self.session.store(words.session, Ordering::Release);
    }

    /// The session, if there was a LOGIN.
    #[must_use]
    pub fn session(&self) -> Option<SessionWords> {
        let session = self.session.load(Ordering::Acquire);
        (session != 0).then(|| SessionWords {
            session,
            xor_key: self.xor_key.load(Ordering::Relaxed),
            role: self.role.load(Ordering::Relaxed),
            principal: self.principal.load(Ordering::Relaxed),
        })
    }

    /// The user that logged in; empty before.
    #[must_use]
    pub fn user(&self) -> String {
        self.user.load_text()
    }

    /// How often the gate had been closed when the bank began to serve it; 0 before, and without peers. Replies that are queued here are of
    /// that time.
    #[must_use]
    pub fn gate_closings(&self) -> u32 {
        self.gate_closings.load(Ordering::Relaxed)
    }

    /// Says how often the gate has been closed by now.
    pub fn set_gate_closings(&self, closings: u32) {
        self.gate_closings.store(closings, Ordering::Relaxed);
    }

    /// When the connection was accepted, nanoseconds of the monotonic clock.
    #[must_use]
    pub fn opened_ns(&self) -> u64 {
        self.opened_ns.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
