//! Handing connections over: which worker gets one, and the duplicates that the master keeps.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use crate::connection::slot::{Claim, ConnectionSlot, Holder};
use crate::ipc::fdpass;
use crate::ipc::lane::Ticket;
use crate::ipc::process::monotonic_ns;
use crate::master::crew::Post;
use crate::worker::Farewell;

/// A connection that no lane has room for.
struct Waiting {
    ticket: Ticket,
    /// Held here when it has no slot, whose duplicate would hold it else.
    slotless: Option<OwnedFd>,
}

/// The connections of an instance, as the master sees them: sockets that it never reads a byte from.
pub struct Connections {
    slots: &'static [ConnectionSlot],
    free: Vec<u32>,
    /// By slot: the duplicate that outlives the worker which serves it.
    duplicates: Vec<Option<OwnedFd>>,
    waiting: VecDeque<Waiting>,
    /// Which worker comes first when several have equally many connections.
    next: usize,
}

/// No worker can take a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// What became of a dead worker's connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Orphans {
    /// It had not looked at them yet: they go to somebody else, and their clients notice nothing.
    pub rehanded: usize,
    /// They were closed.
    pub closed: usize,
}

impl Connections {
    /// No connections.
    #[must_use]
    pub fn new(slots: &'static [ConnectionSlot]) -> Self {
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        Connections {
            slots,
            free: (0..count).rev().collect(),
            duplicates: slots.iter().map(|_| None).collect(),
            waiting: VecDeque::new(),
            next: 0,
        }
    }

    /// Whether some wait for room in a lane; no others are accepted before them.
    #[must_use]
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a connection in and hands it over, or has it wait.
    pub fn take_in(&mut self, socket: OwnedFd, posts: &mut [Option<Post>]) {
        let accepted_ns = monotonic_ns();
        let place = self.free.pop().and_then(|index| {
            let slot = &self.slots[index as usize];
            // The master alone gives out slots in this mode; whom it is handed to is not known yet.
            slot.begin(Holder::Handed(u16::MAX), accepted_ns).map(|claim| (index, claim))
        });
        let waiting = match place {
            Some((slot, claim)) => {
                self.duplicates[slot as usize] = Some(socket);
                Waiting { ticket: Ticket { slot, generation: claim.generation, accepted_ns }, slotless: None }
            }
            // A worker tells the client: the master never speaks with one.
            None => {
                let ticket = Ticket { slot: Ticket::REFUSED, generation: 0, accepted_ns };
                Waiting { ticket, slotless: Some(socket) }
            }
        };
        self.waiting.push_back(waiting);
        // If there is no room it waits, and the caller sees that.
        let _ = self.hand_over_waiting(posts);
    }

    /// Hands over those that wait, oldest first.
    ///
    /// # Errors
    /// [`NoRoom`] for those that are left.
    pub fn hand_over_waiting(&mut self, posts: &mut [Option<Post>]) -> Result<(), NoRoom> {
        while let Some(waiting) = self.waiting.pop_front() {
            if let Err(NoRoom) = self.hand_over(&waiting, posts) {
                self.waiting.push_front(waiting);
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    /// Hands one over to the worker with the fewest connections that has room.
    fn hand_over(&mut self, waiting: &Waiting, posts: &mut [Option<Post>]) -> Result<(), NoRoom> {
        let count = posts.len().max(1);
        let mut candidates: Vec<(u32, usize, usize)> = posts
            .iter()
            .flatten()
            .filter(|post| post.takes_connections())
            .map(|post| (post.connections, (post.index + count - self.next % count) % count, post.index))
            .collect();
        candidates.sort_unstable();
        for (_, _, index) in candidates {
            if let Some(post) = posts[index].as_mut()
                && self.hand_to(waiting, post)
            {
                self.next = index + 1;
                return Ok(());
            }
        }
        Err(NoRoom)
    }

    fn hand_to(&self, Waiting { ticket, slotless }: &Waiting, post: &mut Post) -> bool {
        let Some(crewman) = &post.crewman else { return false };
        let duplicate = self.duplicates.get(ticket.slot as usize).and_then(Option::as_ref);
        let Some(socket) = slotless.as_ref().or(duplicate) else {
            log::error!("{ticket:?} has no socket; dropping it");
            return true;
        };
        // Written before the ticket is, since the worker looks here as soon as it has both.
        let slot = self.slots.get(ticket.slot as usize);
        if let Some(slot) = slot {
            slot.pass(slot.claim(), Holder::Handed(u16::try_from(post.index).unwrap_or(u16::MAX)));
        }
        if post.producer.push(*ticket).is_err() {
            return false;
        }
        match fdpass::send(crewman.lane.as_fd(), &ticket.to_bytes(), Some(socket.as_fd())) {
            Ok(()) => {
                post.connections += u32::from(slot.is_some());
                true
            }
            Err(error) => {
                // WouldBlock: its socket is full. ETOOMANYREFS: this user has too many descriptors on their way. EPIPE: it is
                // dead, and its lane will be emptied when it is collected.
                log::debug!("worker {}: a hand-over failed: {error}", post.index);
                post.producer.retract();
                false
            }
        }
    }

    /// A worker has closed a connection; `false` when it is not one that `post`'s worker had.
    pub fn close(&mut self, farewell: Farewell, post: &mut Post) -> bool {
        let number = u16::try_from(post.index).unwrap_or(u16::MAX);
        let closed = Claim { holder: Holder::Closed(number), generation: farewell.generation };
        let index = farewell.slot as usize;
        if self.slots.get(index).is_none_or(|slot| slot.claim() != closed) {
            return false;
        }
        post.connections = post.connections.saturating_sub(1);
        self.release(index);
        true
    }

    fn release(&mut self, index: usize) {
        self.duplicates[index] = None;
        self.slots[index].free();
        self.free.push(u32::try_from(index).unwrap_or(u32::MAX));
    }

    /// Sees to the connections of a dead worker: those that it had not looked at wait for another one, the others are closed.
    pub fn see_to_orphans(&mut self, worker: usize) -> Orphans {
        let mut orphans = Orphans::default();
        for (index, slot) in self.slots.iter().enumerate() {
            let claim = slot.claim();
            if claim.holder.worker().map(usize::from) != Some(worker) {
                continue;
            }
            let untouched = matches!(claim.holder, Holder::Handed(_));
            match &self.duplicates[index] {
                Some(_) if untouched => {
                    let slot = u32::try_from(index).unwrap_or(u32::MAX);
                    let ticket =
                        Ticket { slot, generation: claim.generation, accepted_ns: self.slots[index].opened_ns() };
                    self.waiting.push_back(Waiting { ticket, slotless: None });
                    orphans.rehanded += 1;
                }
                Some(_) => {
                    // Closing the last descriptor says good-bye to the client.
                    self.release(index);
                    orphans.closed += 1;
                }
                // In the other accept modes the socket died with the worker.
                None => {
                    slot.free();
                    orphans.closed += 1;
                }
            }
        }
        orphans
    }
}
