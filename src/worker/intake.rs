//! The intake: where connections come to a worker from. Over its lane, in dispatch mode; from a listening socket else.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use crate::connection::slot::{Claim, ConnectionSlot, Holder};
use crate::connection::{Connection, PerService, Service};
use crate::http::{self, DateText};
use crate::instance::Instance;
use crate::ipc::lane::{Consumer, Taken, Ticket};
use crate::ipc::process::monotonic_ns;
use crate::ipc::{fdpass, net};
use crate::limits::MAX_REPLY_BYTES;
use crate::wire::{Response, Status};

/// Connections taken in before those that are there have a turn.
const PER_TURN: usize = 32;

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
    /// No slot was free for this service: it was told so and closed.
    TurnedAway(Service),
}

/// Whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Not before the socket says so.
    No,
    /// Ask again on the next turn.
    Maybe,
}

/// A worker's intake.
pub struct Intake {
    worker: u16,
    slots: &'static [ConnectionSlot],
    consumer: Consumer<'static>,
    lane: OwnedFd,
    /// A descriptor whose ticket could not be taken yet.
    held_back: Option<(Ticket, OwnedFd)>,
    listeners: PerService<Option<OwnedFd>>,
    /// The slots of each service.
    places: PerService<Range<usize>>,
    /// Where among them to look for a free one first.
    next_place: PerService<usize>,
}

impl Intake {
    /// The intake of worker `worker`: its lane, and the listening sockets that it accepts from by itself, if any.
    #[must_use]
    pub fn new(
        worker: u16,
        instance: &'static Instance,
        consumer: Consumer<'static>,
        lane: OwnedFd,
        listeners: PerService<Option<OwnedFd>>,
    ) -> Self {
        let places = Service::ALL.map(|service| instance.slots_of(service));
        let next_place = [usize::from(worker); 2];
        let slots = instance.connections();
        Intake { worker, slots, consumer, lane, held_back: None, listeners, places, next_place }
    }

    /// What the connection in slot `index` came for.
    #[must_use]
    pub fn service_of(&self, index: u32) -> Service {
        if self.places[Service::Web.index()].contains(&(index as usize)) { Service::Web } else { Service::Bank }
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
        self.listeners = [None, None];
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
    pub fn take_from_lane(&mut self, mut welcome: impl FnMut(Arrival)) -> io::Result<More> {
        for _ in 0..PER_TURN {
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
                Taken::Ticket(taken) if taken == ticket => welcome(self.admit(ticket, socket)?),
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
        if ticket.slot == Ticket::REFUSED {
            let came_for = |service: &Service| *service as u32 == ticket.generation;
            let service = Service::ALL.into_iter().find(came_for).unwrap_or(Service::Bank);
            return Ok(turn_away(service, socket));
        }
        let slots = self.slots;
        let generation = ticket.generation;
        let from = |holder: fn(u16) -> Holder| Claim { holder: holder(self.worker), generation };
        let not_ours = || out_of_step(&format!("{ticket:?} names a slot that was not handed to this worker"));
        let slot = slots.get(ticket.slot as usize).ok_or_else(not_ours)?;
        if slot.pass(from(Holder::Handed), Holder::Served(self.worker)) {
            let connection = Connection::new(socket, slot, ticket.slot);
            let waited_ns = monotonic_ns().saturating_sub(ticket.accepted_ns);
            return Ok(Arrival::Admitted { connection, generation, waited_ns });
        }
        if !slot.pass(from(Holder::Resumed), Holder::Served(self.worker)) {
            return Err(not_ours());
        }
        Ok(match Connection::resume(socket, slot, ticket.slot) {
            Ok(connection) => Arrival::Resumed { connection, generation },
            Err((connection, error)) => {
                log::warn!("a connection from another worker cannot go on: {error}");
                Arrival::Broken { connection, generation }
            }
        })
    }

    /// Accepts from the listening sockets.
    ///
    /// # Errors
    /// See [`net::accept`].
    pub fn accept(&mut self, mut welcome: impl FnMut(Arrival)) -> io::Result<More> {
        for _ in 0..PER_TURN {
            let mut came = false;
            for service in Service::ALL {
                let Some(listener) = &self.listeners[service.index()] else { continue };
                if let Some(socket) = net::accept(listener.as_fd())? {
                    came = true;
                    welcome(self.claim_for(service, socket));
                }
            }
            if !came {
                return Ok(More::No);
            }
        }
        Ok(More::Maybe)
    }

    /// Finds a free slot; all workers look for them, each beginning somewhere else.
    fn claim_for(&mut self, service: Service, socket: OwnedFd) -> Arrival {
        let now = monotonic_ns();
        let (places, next) = (self.places[service.index()].clone(), &mut self.next_place[service.index()]);
        let count = places.len();
        for place in (0..count).map(|offset| (*next + offset) % count) {
            let index = places.start + place;
            let slot = &self.slots[index];
            if let Some(claim) = slot.begin(Holder::Served(self.worker), now) {
                *next = (place + 1) % count;
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let connection = Connection::new(socket, slot, index);
                return Arrival::Admitted { connection, generation: claim.generation, waited_ns: 0 };
            }
        }
        turn_away(service, socket)
    }
}

/// Descriptors and tickets do not go together any more. The worker ends; its successor begins with an empty lane, and gets
/// this one's connections.
fn out_of_step(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the lane is out of step: {what}"))
}

/// Says, unasked, that there is no room, and closes. What the client has sent already is read first: closing with unread bytes
/// would reset the connection.
fn turn_away(service: Service, socket: OwnedFd) -> Arrival {
    let mut scratch = [0; MAX_REPLY_BYTES];
    let told = match service {
        Service::Bank => {
            let length = Response::Error { opcode: 0, status: Status::Busy }.write(0, None, &mut scratch);
            scratch[..length].to_vec()
        }
        Service::Web => {
            let (mut told, date) = (Vec::new(), DateText::of(SystemTime::now()));
            let tail = http::Tail { date: &date, connection: http::Connection::Ends };
            // No page: its request was not read, and may be HEAD.
            http::write_error(http::Status::Unavailable, http::Content::Absent, &tail, &mut told);
            told
        }
    };
    // A client that cannot be told is closed all the same.
    let _ = send(socket.as_raw_fd(), &told, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    while matches!(recv(socket.as_raw_fd(), &mut scratch, MsgFlags::MSG_DONTWAIT), Ok(1..)) {}
    Arrival::TurnedAway(service)
}
