//! The lane of a worker: a ring of tickets in shared memory, guarded by three named semaphores.
//!
//! The master puts tickets in, and the worker takes them out. There is one ring per worker, so that a worker's death can block
//! only its own lane, which the master, then its only user, can reset ([`Producer::reset`]).
//!
//! - `slots` counts free places: a producer takes one before it writes.
//! - `items` counts tickets: a consumer takes one before it reads.
//! - `lock` (0 or 1) guards the ring and its positions.
//!
//! Neither side ever waits on them, because both have event loops that serve others too. A semaphore that is not free is an
//! answer: full, empty, or in use by the other side. The wake-up comes with the descriptor over the socketpair beside the lane.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ipc::error::IpcError;
use crate::ipc::semaphore::{self, NamedSemaphore};
use crate::shared_struct;

/// Tickets that the memory of a ring can hold; how many it may hold is the initial value of `slots`.
pub const RING_PLACES: usize = 256;

/// What is handed over: which connection slot, in which of its lives, and when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The connection slot.
    pub slot: u32,
    /// The life of that slot, so that a late message about an earlier one is known as such.
    pub generation: u32,
    /// When the connection was accepted, nanoseconds of the monotonic clock.
    pub accepted_ns: u64,
}

impl Ticket {
    /// Bytes of a ticket in a message.
    pub const BYTES: usize = 16;

    fn words(self) -> [u64; 2] {
        [u64::from(self.slot) | u64::from(self.generation) << 32, self.accepted_ns]
    }

    #[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
    fn from_words([place, accepted_ns]: [u64; 2]) -> Self {
        Ticket { slot: place as u32, generation: (place >> 32) as u32, accepted_ns }
    }

    /// The ticket as it is sent beside its descriptor, in the machine's own byte order: it never leaves the machine.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [place, accepted] = self.words();
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&place.to_ne_bytes());
        bytes[8..].copy_from_slice(&accepted.to_ne_bytes());
        bytes
    }

    /// Reads what [`Ticket::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |from: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[from + i]));
        Self::from_words([word(0), word(8)])
    }
}

shared_struct! {
    /// The shared part of a lane. Writers: `head` the worker, `tail` and `places` the master, both under `lock`.
    pub struct LaneRing, align 64, size 64 * 66; {
        head: AtomicU32,
        head_line: [AtomicU32; 15],
        tail: AtomicU32,
        tail_line: [AtomicU32; 15],
        places: [[AtomicU64; 2]; RING_PLACES],
    }
}

impl LaneRing {
    /// Tickets that are in the ring, at some moment of the call.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.tail.load(Ordering::Relaxed).wrapping_sub(self.head.load(Ordering::Relaxed))
    }

    fn place(&self, position: u32) -> &[AtomicU64; 2] {
        &self.places[position as usize % RING_PLACES]
    }
}

/// The three semaphores of a lane.
#[derive(Clone)]
pub struct LaneSemaphores {
    /// Free places.
    pub slots: NamedSemaphore,
    /// Tickets in the ring.
    pub items: NamedSemaphore,
    /// One while neither side uses the ring.
    pub lock: NamedSemaphore,
}

/// The last parts of the three semaphores' names, for lane `lane`.
#[must_use]
pub fn semaphore_names(lane: usize) -> [String; 3] {
    ["slots", "items", "lock"].map(|which| format!("lane{lane}.{which}"))
}

impl LaneSemaphores {
    /// Makes them for a ring that may hold `depth` tickets; `names` as of [`semaphore_names`], in full.
    ///
    /// # Errors
    /// One of the names is taken or cannot be made; those made before it are removed again.
    pub fn create(names: &[String; 3], depth: u32) -> Result<Self, IpcError> {
        assert!(depth as usize <= RING_PLACES, "deeper than the ring's memory");
        let made = NamedSemaphore::create(&names[0], depth).and_then(|slots| {
            let items = NamedSemaphore::create(&names[1], 0)?;
            let lock = NamedSemaphore::create(&names[2], 1)?;
            Ok(LaneSemaphores { slots, items, lock })
        });
        if made.is_err() {
            for name in names {
                semaphore::unlink(name)?;
            }
        }
        made
    }

    /// Opens existing ones, to look at.
    pub fn open(names: &[String; 3]) -> Result<Self, IpcError> {
        Ok(LaneSemaphores {
            slots: NamedSemaphore::open(&names[0])?,
            items: NamedSemaphore::open(&names[1])?,
            lock: NamedSemaphore::open(&names[2])?,
        })
    }
}

/// The lane cannot take a ticket now: its places are taken, or the worker is using the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The master's end. There is one, and it is used by `&mut`, so there is a single producer.
pub struct Producer<'a> {
    ring: &'a LaneRing,
    semaphores: LaneSemaphores,
    depth: u32,
    /// The last ticket is to be taken back as soon as the worker does not use the ring.
    owes_retraction: bool,
}

impl<'a> Producer<'a> {
    /// The end of a lane that may hold `depth` tickets.
    #[must_use]
    pub fn new(ring: &'a LaneRing, semaphores: LaneSemaphores, depth: u32) -> Self {
        Producer { ring, semaphores, depth, owes_retraction: false }
    }

    /// The end of a lane that is in use, taken over from the program before an upgrade.
    #[must_use]
    pub fn adopt(ring: &'a LaneRing, semaphores: LaneSemaphores, depth: u32, owes_retraction: bool) -> Self {
        Producer { ring, semaphores, depth, owes_retraction }
    }

    /// Whether the last ticket is still to be taken back.
    #[must_use]
    pub fn owes_retraction(&self) -> bool {
        self.owes_retraction
    }

    /// Puts a ticket in.
    ///
    /// # Errors
    /// [`Full`]; try another lane.
    pub fn push(&mut self, ticket: Ticket) -> Result<(), Full> {
        if self.owes_retraction {
            self.retract();
        }
        if self.owes_retraction || !self.semaphores.slots.try_wait() {
            return Err(Full);
        }
        if !self.semaphores.lock.try_wait() {
            // The worker is taking a ticket, or was stopped or killed while it did. The master does not wait.
            self.semaphores.slots.post();
            return Err(Full);
        }
        let tail = self.ring.tail.load(Ordering::Relaxed);
        for (word, value) in self.ring.place(tail).iter().zip(ticket.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.ring.tail.store(tail.wrapping_add(1), Ordering::Relaxed);
        // HAND-OVER: release; the post orders the ticket's words before it (sem_post(3) synchronises memory).
        self.semaphores.lock.post();
        self.semaphores.items.post();
        Ok(())
    }

    /// Takes back the ticket that was pushed last, when its descriptor could not be sent. The worker has not taken it: it takes a
    /// ticket only after its descriptor. If the worker is using the ring, the lane counts as full until the ticket is taken back.
    pub fn retract(&mut self) {
        self.owes_retraction = !self.semaphores.lock.try_wait();
        if self.owes_retraction {
            return;
        }
        if self.semaphores.items.try_wait() {
            self.ring.tail.store(self.ring.tail.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
            self.semaphores.slots.post();
        }
        self.semaphores.lock.post();
    }

    /// Empties the lane of a dead worker, whatever state it was left in. Only when no process but the master uses it.
    pub fn reset(&mut self) {
        self.owes_retraction = false;
        self.ring.head.store(0, Ordering::Relaxed);
        self.ring.tail.store(0, Ordering::Relaxed);
        self.semaphores.items.reset(0);
        self.semaphores.slots.reset(self.depth);
        self.semaphores.lock.reset(1);
    }

    /// Tickets that the worker has not taken yet.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.ring.depth()
    }
}

/// What the worker gets from its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The oldest ticket.
    Ticket(Ticket),
    /// There is none.
    Empty,
    /// There is one, but the master is using the ring: try again on the next turn.
    Contended,
}

/// The worker's end.
pub struct Consumer<'a> {
    ring: &'a LaneRing,
    semaphores: LaneSemaphores,
}

impl<'a> Consumer<'a> {
    /// The other end of a lane.
    #[must_use]
    pub fn new(ring: &'a LaneRing, semaphores: LaneSemaphores) -> Self {
        Consumer { ring, semaphores }
    }

    /// Takes the oldest ticket out, if that needs no waiting.
    pub fn take(&mut self) -> Taken {
        if !self.semaphores.items.try_wait() {
            return Taken::Empty;
        }
        // HAND-OVER: acquire.
        if !self.semaphores.lock.try_wait() {
            self.semaphores.items.post();
            return Taken::Contended;
        }
        let head = self.ring.head.load(Ordering::Relaxed);
        let [place, accepted] = self.ring.place(head);
        let ticket = Ticket::from_words([place.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed)]);
        self.ring.head.store(head.wrapping_add(1), Ordering::Relaxed);
        self.semaphores.lock.post();
        self.semaphores.slots.post();
        Taken::Ticket(ticket)
    }
}
