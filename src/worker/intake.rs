//! The intake: where connections come to a worker from. Over its lane, in dispatch mode; from a listening socket else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use crate::connection::Connection;
use crate::connection::slot::{Claim, ConnectionSlot, Holder};
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
    /// No slot was free: it was told so and closed.
    TurnedAway,
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
    listener: Option<OwnedFd>,
    /// Where to look for a free slot first.
    next_slot: usize,
}

impl Intake {
    /// The intake of worker `worker`: its lane, and the listening socket that it accepts from by itself, if any.
    #[must_use]
    pub fn new(
        worker: u16,
        slots: &'static [ConnectionSlot],
        consumer: Consumer<'static>,
        lane: OwnedFd,
        listener: Option<OwnedFd>,
    ) -> Self {
        Intake { worker, slots, consumer, lane, held_back: None, listener, next_slot: usize::from(worker) }
    }

    /// The worker's end of the socketpair.
    #[must_use]
    pub fn lane(&self) -> BorrowedFd<'_> {
        self.lane.as_fd()
    }

    /// The socket that this worker accepts from by itself.
    #[must_use]
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Gives up accepting.
    pub fn close_listener(&mut self) {
        self.listener = None;
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
            turn_away(socket);
            return Ok(Arrival::TurnedAway);
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

    /// Accepts from the listening socket.
    ///
    /// # Errors
    /// See [`net::accept`].
    pub fn accept(&mut self, mut welcome: impl FnMut(Arrival)) -> io::Result<More> {
        for _ in 0..PER_TURN {
            let Some(listener) = &self.listener else { return Ok(More::No) };
            match net::accept(listener.as_fd())? {
                Some(socket) => welcome(self.claim_for(socket)),
                None => return Ok(More::No),
            }
        }
        Ok(More::Maybe)
    }

    /// Finds a free slot; all workers look for them, each beginning somewhere else.
    fn claim_for(&mut self, socket: OwnedFd) -> Arrival {
        let now = monotonic_ns();
        let count = self.slots.len();
        for index in (0..count).map(|offset| (self.next_slot + offset) % count) {
            let slot = &self.slots[index];
            if let Some(claim) = slot.begin(Holder::Served(self.worker), now) {
                self.next_slot = (index + 1) % count;
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let connection = Connection::new(socket, slot, index);
                return Arrival::Admitted { connection, generation: claim.generation, waited_ns: 0 };
            }
        }
        turn_away(socket);
        Arrival::TurnedAway
    }
}

/// Descriptors and tickets do not go together any more. The worker ends; its successor begins with an empty lane, and gets
/// this one's connections.
fn out_of_step(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the lane is out of step: {what}"))
}

/// Says ERR_BUSY, unasked, and closes. What the client has sent already is read first: closing with unread bytes would reset
/// the connection.
fn turn_away(socket: OwnedFd) {
    let mut frame = [0; MAX_REPLY_BYTES];
    let length = Response::Error { opcode: 0, status: Status::Busy }.write(0, None, &mut frame);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A client that cannot be told is closed all the same.
    let _ = send(socket.as_raw_fd(), &frame[..length], flags);
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    while matches!(recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT), Ok(1..)) {}
}
