//! Where a worker's connections come from: over its lane, in dispatch mode; from a listening socket else.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::limits::ACCEPTS_PER_TURN;
use crate::ipc::lane::{Consumer, Taken, Ticket};
use crate::ipc::process::monotonic_ns;
use crate::ipc::{fdpass, net};
use crate::store::connection::slot::{Claim, Holder};
use crate::store::connection::{Connection, PerService, ServiceId, SlotMemory, Slots};

/// A connection that came in.
pub enum Arrival {
    /// It has a slot.
    Admitted {
        /// The connection.
        connection: Connection<'static>,
        /// The slot's life.
        generation: u32,
        /// Nanoseconds since it was accepted.
        waited_ns: u64,
    },
    /// It comes from another worker; go on with it.
    Resumed {
        /// The connection.
        connection: Connection<'static>,
        /// The slot's life.
        generation: u32,
    },
    /// It comes from another worker, and is broken; close it.
    Broken {
        /// The connection.
        connection: Connection<'static>,
        /// The slot's life.
        generation: u32,
    },
}

/// Whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Not before the socket says so.
    No,
    /// Ask again on the next turn.
    Maybe,
}

/// What connections come through.
pub struct Acceptor {
    worker: u16,
    slots: &'static Slots,
    consumer: Consumer<'static>,
    lane: OwnedFd,
    /// A descriptor whose ticket could not be taken yet.
    held_back: Option<(Ticket, OwnedFd)>,
    listeners: PerService<Option<OwnedFd>>,
    /// The slots of each service.
    ranges: PerService<Range<usize>>,
    /// Where among them to look for a free one first.
    next_slot: PerService<usize>,
    /// Whether no slot was free when they were last looked through: nothing is accepted before [`Acceptor::look_again`].
    full: PerService<bool>,
    /// Whether the last connection could not be accepted.
    has_failed: bool,
}

impl Acceptor {
    /// The acceptor of worker `worker`: its lane, and the listening sockets that it accepts from by itself, if any.
    #[must_use]
    pub fn new(
        worker: u16,
        slots: &'static Slots,
        consumer: Consumer<'static>,
        lane: OwnedFd,
        listeners: PerService<Option<OwnedFd>>,
    ) -> Self {
        let ranges = slots.ranges();
        let next_slot = [usize::from(worker); _];
        let full = PerService::default();
        let (held_back, has_failed) = (None, false);
        Acceptor { worker, slots, consumer, lane, held_back, listeners, ranges, next_slot, full, has_failed }
    }

    /// A slot or a descriptor may be free again. Returns whether either was short, so that connections may wait that no event will tell of.
    pub fn look_again(&mut self) -> bool {
        let was_full = std::mem::take(&mut self.full).contains(&true);
        std::mem::take(&mut self.has_failed) || was_full
    }

    /// The worker's end of the socketpair.
    #[must_use]
    pub fn lane(&self) -> BorrowedFd<'_> {
        self.lane.as_fd()
    }

    /// The sockets that this worker accepts from by itself.
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().flatten().map(AsFd::as_fd)
    }

    /// Gives up accepting.
    pub fn close_listeners(&mut self) {
        self.listeners = PerService::default();
    }

    /// Whether a descriptor waits here for its ticket.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.held_back.is_some()
    }

    /// Takes what the master handed over.
    ///
    /// # Errors
    /// The lane's socket cannot be read (`UnexpectedEof` when the master has closed it), or is out of step with the ring.
    pub fn take_from_lane(&mut self, mut take: impl FnMut(Arrival)) -> io::Result<More> {
        for _ in 0..ACCEPTS_PER_TURN {
            let (ticket, socket) = match self.held_back.take() {
                Some(held_back) => held_back,
                None => match self.receive()? {
                    Some(received) => received,
                    None => return Ok(More::No),
                },
            };
            match self.consumer.take() {
                Taken::Contended => {
                    self.held_back = Some((ticket, socket));
                    return Ok(More::Maybe);
                }
                Taken::Ticket(taken) if taken == ticket => take(self.admit(ticket, socket)?),
                other => return Err(out_of_step(&format!("the descriptor of {ticket:?} came with {other:?}"))),
            }
        }
        Ok(More::Maybe)
    }

    /// The next descriptor with its ticket; `None` when there is none now.
    fn receive(&self) -> io::Result<Option<(Ticket, OwnedFd)>> {
        let mut bytes = [0; Ticket::BYTES];
        match fdpass::receive(self.lane.as_fd(), &mut bytes) {
            Ok(Some(fdpass::Message { length: Ticket::BYTES, fd: Some(socket) })) => {
                Ok(Some((Ticket::from_bytes(&bytes), socket)))
            }
            Ok(Some(message)) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no hand-over: {message:?}"))),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn admit(&self, ticket: Ticket, socket: OwnedFd) -> io::Result<Arrival> {
        let generation = ticket.generation;
        let from = |holder: fn(u16) -> Holder| Claim { holder: holder(self.worker), generation };
        let not_ours = || out_of_step(&format!("{ticket:?} names a slot that was not handed to this worker"));
        let memory = self.slots.memory(ticket.slot).ok_or_else(not_ours)?;
        let slot = memory.slot;
        if slot.pass(from(Holder::Handed), Holder::Served(self.worker)) {
            let connection = Connection::new(socket, memory);
            let waited_ns = monotonic_ns().saturating_sub(ticket.accepted_ns);
            return Ok(Arrival::Admitted { connection, generation, waited_ns });
        }
        if !slot.pass(from(Holder::Resumed), Holder::Served(self.worker)) {
            return Err(not_ours());
        }
        Ok(match Connection::resume(socket, memory) {
            Ok(connection) => Arrival::Resumed { connection, generation },
            Err((connection, error)) => {
                log::warn!("a connection from another worker cannot go on: {error}");
                Arrival::Broken { connection, generation }
            }
        })
    }

    /// Accepts from the listening sockets. Whom no slot is free for waits in the kernel's queue.
    ///
    /// # Errors
    /// See [`net::accept`].
    pub fn accept(&mut self, mut take: impl FnMut(Arrival)) -> io::Result<More> {
        let mut drained = PerService::<bool>::default();
        for _ in 0..ACCEPTS_PER_TURN {
            let mut came = false;
            for service in ServiceId::all() {
                if drained[service.index()] || self.listeners[service.index()].is_none() {
                    continue;
                }
                // First the slot: what was accepted could not be put back.
                let Some((memory, claim)) = self.claim_for(service) else { continue };
                let accepted =
                    self.listeners[service.index()].as_ref().map_or(Ok(None), |from| net::accept(from.as_fd()));
                match accepted {
                    Ok(Some(socket)) => {
                        came = true;
                        let connection = Connection::new(socket, memory);
                        take(Arrival::Admitted { connection, generation: claim.generation, waited_ns: 0 });
                    }
                    Ok(None) => {
                        memory.slot.free();
                        drained[service.index()] = true;
                    }
                    Err(error) => {
                        memory.slot.free();
                        self.has_failed = true;
                        return Err(error);
                    }
                }
            }
            if !came {
                return Ok(More::No);
            }
        }
        Ok(More::Maybe)
    }

    /// Finds a free slot; all workers look for them, each beginning somewhere else.
    fn claim_for(&mut self, service: ServiceId) -> Option<(SlotMemory<'static>, Claim)> {
        let which = service.index();
        if self.full[which] {
            return None;
        }
        let (now, range, next) = (monotonic_ns(), self.ranges[which].clone(), self.next_slot[which]);
        let count = range.len();
        let mut rotated = (0..count).map(|offset| range.start + (next + offset) % count);
        let holder = Holder::Served(self.worker);
        let claimed = rotated.find_map(|index| Some((index, self.slots.all()[index].begin(holder, now)?)));
        let Some((index, claim)) = claimed else {
            self.full[which] = true;
            return None;
        };
        self.next_slot[which] = (index + 1 - range.start) % count;
        self.slots.memory(u32::try_from(index).ok()?).map(|memory| (memory, claim))
    }
}

/// Descriptors and tickets do not go together any more. The worker ends; its successor begins with an empty lane, and gets
/// this one's connections.
fn out_of_step(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the lane is out of step: {what}"))
}
