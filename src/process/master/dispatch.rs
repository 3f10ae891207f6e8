//! Dispatch: which worker gets a connection, and the duplicate descriptors that the master keeps.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::limits::MAX_DEATHS_BY_ONE_REQUEST;
use crate::ipc::fdpass;
use crate::ipc::lane::Ticket;
use crate::ipc::process::monotonic_ns;
use crate::process::master::children::WorkerSlot;
use crate::process::worker::ReleaseNotice;
use crate::store::connection::slot::{Claim, ConnectionSlot, Holder, NOBODY_YET, Progress};
use crate::store::connection::{PerService, ServiceId};
use crate::store::instance::Instance;

/// A connection that no lane has room for.
struct Waiting {
    ticket: Ticket,
    /// Whether another worker has served it.
    resumed: bool,
}

/// The connections of an instance, as the master has them: it never reads from their sockets.
pub struct Connections {
    slots: &'static [ConnectionSlot],
    /// Free slots of each service.
    free: PerService<Vec<u32>>,
    /// The slots of each service.
    slots_of: PerService<Range<usize>>,
    /// By slot: the duplicate that outlives the worker which serves it.
    duplicates: Vec<Option<OwnedFd>>,
    waiting: VecDeque<Waiting>,
    /// By slot.
    crash_records: Vec<CrashRecord>,
    /// Which worker comes first when several have equally many connections.
    next: usize,
}

/// No worker can take a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// What became of a dead worker's connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// They wait for another worker; their clients notice a pause.
    pub handed_on: usize,
    /// They were closed.
    pub closed: usize,
}

/// How often workers died of one request of a connection.
#[derive(Debug, Default, Clone, Copy)]
struct CrashRecord {
    progress: Progress,
    deaths: u32,
}

impl Connections {
    /// No connections.
    #[must_use]
    pub fn new(instance: &'static Instance) -> Self {
        let slots = instance.connections();
        let slots_of = instance.slots().ranges();
        let numbers = |slots: Range<usize>| slots.rev().filter_map(|slot| u32::try_from(slot).ok()).collect();
        Connections {
            slots,
            free: slots_of.clone().map(numbers),
            slots_of,
            duplicates: slots.iter().map(|_| None).collect(),
            crash_records: vec![CrashRecord::default(); slots.len()],
            waiting: VecDeque::new(),
            next: 0,
        }
    }

    /// The connections of the previous program, by slot; the slots say which worker has them.
    #[must_use]
    pub fn adopt(instance: &'static Instance, had: Vec<(u32, OwnedFd)>) -> Self {
        let mut connections = Self::new(instance);
        let slots = connections.slots;
        for (slot, socket) in had {
            if let Some(duplicate) = connections.duplicates.get_mut(slot as usize) {
                *duplicate = Some(socket);
            }
        }
        let Connections { free, duplicates, .. } = &mut connections;
        free.iter_mut().for_each(|free| free.retain(|&slot| duplicates[slot as usize].is_none()));
        for (index, slot) in slots.iter().enumerate() {
            let claim = slot.claim();
            if connections.duplicates[index].is_some() && claim.holder.worker() == Some(NOBODY_YET) {
                connections.hand_on(index, claim, !matches!(claim.holder, Holder::Handed(_)));
            }
        }
        connections
    }

    /// The duplicates, with their slots.
    pub fn duplicates(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        (0..).zip(&self.duplicates).filter_map(|(slot, socket)| Some((slot, socket.as_ref()?.as_fd())))
    }

    /// Whether some wait for room in a lane. No others are accepted meanwhile.
    #[must_use]
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a slot is free for one more connection of `service`. While there is none, connections wait in the kernel's queue;
    /// not for long, since workers close silent connections and refuse those without room.
    #[must_use]
    pub fn has_slot(&self, service: ServiceId) -> bool {
        !self.free[service.index()].is_empty()
    }

    /// Puts a connection into a slot, of which there must be one, and hands it over or queues it.
    pub fn admit(&mut self, service: ServiceId, socket: OwnedFd, workers: &mut [Option<WorkerSlot>]) {
        let accepted_ns = monotonic_ns();
        let place = self.free[service.index()].pop().and_then(|index| {
            let slot = &self.slots[index as usize];
            // The master alone allocates slots in this mode; which worker gets it is not known yet.
            slot.begin(Holder::Handed(NOBODY_YET), accepted_ns).map(|claim| (index, claim))
        });
        let Some((slot, claim)) = place else {
            return log::error!("a connection was accepted without a free slot; closing it");
        };
        self.duplicates[slot as usize] = Some(socket);
        self.crash_records[slot as usize] = CrashRecord::default();
        let ticket = Ticket { slot, generation: claim.generation, accepted_ns };
        self.waiting.push_back(Waiting { ticket, resumed: false });
        // Without room it waits, and the caller sees that.
        let _ = self.hand_over_waiting(workers);
    }

    /// Hands over those that wait, oldest first.
    ///
    /// # Errors
    /// [`NoRoom`] for those that are left.
    pub fn hand_over_waiting(&mut self, workers: &mut [Option<WorkerSlot>]) -> Result<(), NoRoom> {
        while let Some(waiting) = self.waiting.pop_front() {
            if let Err(NoRoom) = self.hand_over(&waiting, workers) {
                self.waiting.push_front(waiting);
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    /// Hands one over to the worker with the fewest connections that has room.
    fn hand_over(&mut self, waiting: &Waiting, workers: &mut [Option<WorkerSlot>]) -> Result<(), NoRoom> {
        let count = workers.len().max(1);
        let mut candidates: Vec<(u32, usize, usize)> = workers
            .iter()
            .flatten()
            .filter(|worker| worker.takes_connections())
            .map(|worker| (worker.connections, (worker.index + count - self.next % count) % count, worker.index))
            .collect();
        candidates.sort_unstable();
        for (_, _, index) in candidates {
            if let Some(worker) = workers[index].as_mut()
                && self.hand_to(waiting, worker)
            {
                self.next = index + 1;
                return Ok(());
            }
        }
        Err(NoRoom)
    }

    fn hand_to(&self, Waiting { ticket, resumed }: &Waiting, worker: &mut WorkerSlot) -> bool {
        let Some(process) = &worker.process else { return false };
        let Some(socket) = self.duplicates.get(ticket.slot as usize).and_then(Option::as_ref) else {
            log::error!("{ticket:?} has no socket; dropping it");
            return true;
        };
        let number = u16::try_from(worker.index).unwrap_or(NOBODY_YET);
        // Written before the ticket, since the worker reads it as soon as it has ticket and socket.
        self.assign(ticket.slot, *resumed, number);
        if worker.producer.push(*ticket).is_ok() {
            match fdpass::send(process.lane.as_fd(), &ticket.to_bytes(), Some(socket.as_fd())) {
                Ok(()) => {
                    worker.connections += 1;
                    return true;
                }
                Err(error) => {
                    // WouldBlock: its socket is full. ETOOMANYREFS: this user has too many descriptors on their way. EPIPE: it
                    // is dead, and its lane will be emptied when it is reaped.
                    log::debug!("worker {}: a hand-over failed: {error}", worker.index);
                    worker.producer.retract();
                }
            }
        }
        // Otherwise it would count as this worker's when that dies.
        self.assign(ticket.slot, *resumed, NOBODY_YET);
        false
    }

    /// Writes into a slot which worker is to have it.
    fn assign(&self, slot: u32, resumed: bool, worker: u16) {
        if let Some(slot) = self.slots.get(slot as usize) {
            slot.pass(slot.claim(), if resumed { Holder::Resumed(worker) } else { Holder::Handed(worker) });
        }
    }

    /// A worker has closed a connection, or returns it to be handed on; `false` when it did not have that connection.
    pub fn release(&mut self, notice: ReleaseNotice, worker: &mut WorkerSlot) -> bool {
        let number = u16::try_from(worker.index).unwrap_or(u16::MAX);
        let index = notice.slot as usize;
        let Some(claim) = self.slots.get(index).map(ConnectionSlot::claim) else { return false };
        if claim.generation != notice.generation {
            return false;
        }
        match claim.holder {
            Holder::Closed(worker) if worker == number => self.free(index),
            Holder::Returned(worker) if worker == number => self.hand_on(index, claim, true),
            _ => return false,
        }
        worker.connections = worker.connections.saturating_sub(1);
        true
    }

    /// Queues a connection for another worker.
    fn hand_on(&mut self, index: usize, claim: Claim, resumed: bool) {
        let slot = u32::try_from(index).unwrap_or(u32::MAX);
        self.assign(slot, resumed, NOBODY_YET);
        let ticket = Ticket { slot, generation: claim.generation, accepted_ns: self.slots[index].opened_ns() };
        self.waiting.push_back(Waiting { ticket, resumed });
    }

    fn free(&mut self, index: usize) {
        self.duplicates[index] = None;
        self.slots[index].free();
        let service = self.slots_of.iter().position(|slots| slots.contains(&index));
        if let (Some(service), Ok(slot)) = (service, u32::try_from(index)) {
            self.free[service].push(slot);
        }
    }

    /// Frees a slot. Where workers allocate slots by themselves, the master's list has it all the time.
    fn free_whoever_claimed(&mut self, index: usize) {
        if self.duplicates[index].is_some() {
            self.free(index);
        } else {
            self.slots[index].free();
        }
    }

    /// Closes all connections; how many these were. No worker is there meanwhile.
    pub fn close_all(&mut self) -> usize {
        self.waiting.clear();
        let taken = (0..self.slots.len()).filter(|&index| self.slots[index].claim().holder.worker().is_some());
        let taken: Vec<_> = taken.collect();
        taken.iter().for_each(|&index| self.free_whoever_claimed(index));
        taken.len()
    }

    /// Queues the connections of a dead worker, whose operation is settled, for other workers; while the server stops, closes them.
    pub fn recover(&mut self, worker: usize, is_stopping: bool) -> Recovered {
        let mut recovered = Recovered::default();
        for index in 0..self.slots.len() {
            let claim = self.slots[index].claim();
            if claim.holder.worker().map(usize::from) != Some(worker) {
                continue;
            }
            let lost = is_stopping || self.duplicates[index].is_none() || matches!(claim.holder, Holder::Closed(_));
            if lost || self.kills_workers(index) {
                // Closing the last descriptor closes the connection. In the other accept modes there is no duplicate,
                // and the socket died with the worker.
                self.free_whoever_claimed(index);
                recovered.closed += 1;
            } else {
                self.hand_on(index, claim, !matches!(claim.holder, Holder::Handed(_)));
                recovered.handed_on += 1;
            }
        }
        recovered
    }

    /// Whether workers die of a request of this connection.
    fn kills_workers(&mut self, index: usize) -> bool {
        let slot = &self.slots[index];
        let (progress, (received, _)) = (slot.progress(), slot.moved());
        let record = &mut self.crash_records[index];
        let stuck = received != progress.consumed && record.progress == progress;
        *record = CrashRecord { progress, deaths: if stuck { record.deaths + 1 } else { 1 } };
        let guilty = record.deaths >= MAX_DEATHS_BY_ONE_REQUEST;
        if guilty {
            log::error!(
                "connection {index}: {} workers died while one request of it waited; closing it",
                record.deaths
            );
        }
        guilty
    }
}
