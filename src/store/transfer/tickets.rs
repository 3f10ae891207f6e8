//! Who waits for a free segment, in which order.
//!
//! A ticket is a number that only grows. Each worker keeps its own tickets and shows its oldest in a word of its own, so that a
//! death leaves one word, which the master clears. Nobody holds a lock, and nobody's death holds anybody up.

use crate::base::limits::MAX_WORKERS;
use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, fence, shared_struct};
use crate::store::transfer::header::{State, TransferHeader};

/// Workers; a model has fewer.
const ROWS: usize = if cfg!(feature = "model") { 3 } else { MAX_WORKERS };

shared_struct! {
    /// What stands before the segments.
    pub struct Tickets, align 64, size 64 + 8 * ROWS; {
        /// Segments of the pool. Writer: the master, once.
        pub(super) segments: AtomicU32,
        /// Bytes of one. Writer: the master, once.
        pub(super) segment_bytes: AtomicU32,
        /// The number of the ticket that was drawn last. Writers: all workers, by addition.
        last: AtomicU64,
        last_line: [AtomicU64; 6],
        /// The oldest ticket of each worker; 0 where it has none. Writers: the worker; when it is dead, the master.
        oldest: [AtomicU64; ROWS],
    }
}

/// How the other side is told that there is something for it. It looks by itself what it is.
pub trait Wake {
    /// Wakes a worker's event loop.
    fn worker(&self, worker: usize);
    /// Wakes the cache process.
    fn cache(&self);
}

/// Where tickets and headers are.
pub trait Memory {
    /// The tickets.
    fn tickets(&self) -> &Tickets;
    /// How many segments there are.
    fn segments(&self) -> usize;
    /// The header of one of them.
    fn header(&self, number: usize) -> &TransferHeader;
}

impl Tickets {
    /// Draws a ticket.
    pub(super) fn draw(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Shows the oldest ticket of a worker, or that it has none.
    pub(super) fn show(&self, worker: usize, ticket: Option<u64>) {
        self.oldest[worker].store(ticket.unwrap_or(0), Ordering::Relaxed);
    }

    /// The worker that has the oldest ticket of all.
    #[must_use]
    pub fn longest_waiting(&self) -> Option<usize> {
        let shown = self.oldest.iter().map(|word| word.load(Ordering::Relaxed)).enumerate();
        shown.filter(|&(_, ticket)| ticket != 0).min_by_key(|&(_, ticket)| ticket).map(|(worker, _)| worker)
    }
}

/// Wakes who waits longest, if there is a free segment. Whoever has freed one or has taken a ticket away calls this afterwards.
///
/// FREED-OR-TICKET-SHOWN: a segment is freed, then tickets are looked at; a ticket is shown, then segments are looked at, each with a
/// full fence between. So if a segment is free and a ticket shown, one of those who made it so sees both, and wakes or claims.
pub fn pass_on(memory: &impl Memory, wake: &dyn Wake) {
    fence(Ordering::SeqCst);
    let Some(worker) = memory.tickets().longest_waiting() else { return };
    if (0..memory.segments()).any(|number| memory.header(number).claim().state == State::Free) {
        wake.worker(worker);
    }
}
