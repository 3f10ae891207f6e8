//! A worker's way to a segment: it draws a ticket, and claims a free one when it is its turn.
//!
//! The order is strict among the tickets that are shown. So a worker that does not run (SIGSTOP) holds up the others while it has the oldest
//! ticket and a segment is free, until the master kills it for being silent and takes its ticket down.

use std::collections::VecDeque;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::cells::{Ordering, fence};
use crate::store::transfer::header::SegmentId;
use crate::store::transfer::tickets::{Memory, Wake, pass_on};

/// A place in the queue for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The tickets of one worker. There is one for each worker, used by `&mut`.
pub struct Claimant<'a, M: Memory> {
    memory: &'a M,
    wake: &'a dyn Wake,
    worker: u16,
    pid: u32,
    waiting: VecDeque<u64>,
}

impl<'a, M: Memory> Claimant<'a, M> {
    /// That of worker `worker`, whose process id is for people to see.
    #[must_use]
    pub fn new(memory: &'a M, worker: u16, pid: u32, wake: &'a dyn Wake) -> Self {
        Claimant { memory, wake, worker, pid, waiting: VecDeque::new() }
    }

    /// Draws a ticket. Then call [`Claimant::claim`], and again whenever the worker is woken, until there is nothing to claim.
    pub fn draw(&mut self) -> Ticket {
        let ticket = self.memory.tickets().draw();
        self.waiting.push_back(ticket);
        if self.waiting.len() == 1 {
            self.show();
        }
        Ticket(ticket)
    }

    /// Claims a segment for this worker's oldest ticket, if there is a free one and no other worker has an older ticket. Never waits.
    pub fn claim(&mut self) -> Option<(Ticket, SegmentId)> {
        let ticket = *self.waiting.front()?;
        // FREED-OR-TICKET-SHOWN: the ticket is shown already.
        fence(Ordering::SeqCst);
        if self.memory.tickets().longest_waiting() != Some(usize::from(self.worker)) {
            return None;
        }
        let (number, generation) = (0..self.memory.segments())
            .find_map(|number| self.memory.header(number).take(self.worker).map(|generation| (number, generation)))?;
        crash_point(CrashPoint::TransferClaimed);
        self.memory.header(number).offer(generation, self.pid);
        crash_point(CrashPoint::TransferOffered);
        self.take_down(ticket);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Some((Ticket(ticket), SegmentId { number, generation }))
    }

    /// Gives a ticket up; whether it was still waiting.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.take_down(ticket.0)
    }

    /// Tickets that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Removes a ticket. If it was the one that is shown, others may come before what is shown now.
    fn take_down(&mut self, ticket: u64) -> bool {
        let Ok(position) = self.waiting.binary_search(&ticket) else { return false };
        self.waiting.remove(position);
        if position == 0 {
            self.show();
            pass_on(self.memory, self.wake);
        }
        true
    }

    fn show(&self) {
        self.memory.tickets().show(usize::from(self.worker), self.waiting.front().copied());
    }
}
