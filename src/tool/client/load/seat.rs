//! One of many connections in an event loop: it connects, logs in, converses, and comes back after a loss, never waiting.

use std::io::{self, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::service::bank::wire::{Opcode, Response};
use crate::tool::client::connection::judge;
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::desk::Desk;
use crate::tool::client::load::line::Line;
use crate::tool::client::load::pace::Pace;
use crate::tool::client::load::plan::Plan;
use crate::tool::client::time::nanoseconds;

const LOGIN_SEQ: u32 = 1;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits before the next attempt, until this time.
    Resting(u64),
    /// The handshake of TCP is under way.
    Connecting,
    /// LOGIN is sent.
    LoggingIn,
    /// Logged in.
    Ready,
    /// Done, or given up.
    Over,
}

/// What an event loop needs to know at every turn.
#[derive(Clone, Copy)]
pub struct Turn<'t> {
    /// The plan of the run.
    pub plan: &'t Plan,
    /// Where sockets are registered.
    pub registry: &'t Registry,
    /// The schedule, if there is one.
    pub pace: Option<Pace>,
    /// Nanoseconds since the start, or since the loop was made before that.
    pub now: u64,
}

/// One connection of an event loop.
pub struct Seat {
    token: Token,
    /// The connection's number in the whole run, for its place in the schedule.
    number: u32,
    stage: Stage,
    stream: Option<TcpStream>,
    line: Line,
    /// How much of `line.out` the kernel has taken.
    written: usize,
    /// When the connection last owed nothing or brought something.
    heard: u64,
    /// Operations taken from the schedule so far.
    posted: u64,
}

impl Seat {
    /// A connection yet to be made.
    pub fn new(plan: &Plan, token: Token, number: u32) -> Seat {
        Seat {
            token,
            number,
            stage: Stage::Resting(0),
            stream: None,
            line: Line::new(plan, number),
            written: 0,
            heard: 0,
            posted: 0,
        }
    }

    /// Whether the connection is logged in.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Whether the connection is done, or given up.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the connection waits to be made anew, or for room.
    pub fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting(_)) || self.stage == Stage::Ready && self.line.held_until().is_some()
    }

    /// Begins to connect.
    pub fn connect(&mut self, turn: Turn<'_>) -> Result<(), ClientError> {
        let address = turn.plan.server.address;
        let begin = || {
            let mut stream = TcpStream::connect(address)?;
            turn.registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        };
        let stream = begin().map_err(|source| ClientError::Connect { address: address.to_string(), source })?;
        self.stream = Some(stream);
        self.stage = Stage::Connecting;
        self.heard = turn.now;
        Ok(())
    }

    /// Goes on after an event while the connection is being made. True once it is logged in.
    pub fn advance(&mut self, turn: Turn<'_>) -> Result<bool, ClientError> {
        if self.stage == Stage::Connecting && self.is_connected(turn.plan)? {
            self.line.begin(None);
            self.written = 0;
            turn.plan.server.login().encode(LOGIN_SEQ, None, None, &mut self.line.out);
            self.stage = Stage::LoggingIn;
            self.heard = turn.now;
        }
        if self.stage == Stage::LoggingIn {
            self.flush()?;
            self.read_once("logging in")?;
            let Some((header, response)) = self.line.inbox.next_reply()? else { return Ok(false) };
            let Response::Login { session } = judge(Opcode::Login, LOGIN_SEQ, &header, response)? else {
                unreachable!("the reply's opcode was compared with LOGIN's");
            };
            self.line.begin(turn.plan.server.xor_key(session));
            self.written = 0;
            self.stage = Stage::Ready;
            self.heard = turn.now;
        }
        Ok(self.stage == Stage::Ready)
    }

    fn is_connected(&self, plan: &Plan) -> Result<bool, ClientError> {
        let Some(stream) = &self.stream else { return Ok(false) };
        let failed = |source| ClientError::Connect { address: plan.server.address.to_string(), source };
        match stream.take_error().and_then(|error| error.map_or_else(|| stream.peer_addr(), Err)) {
            Ok(_) => stream.set_nodelay(true).map_err(failed).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Sends what may be sent now.
    #[inline]
    pub fn send(&mut self, turn: Turn<'_>, desk: &mut Desk<'_>) -> Result<(), ClientError> {
        if self.stage != Stage::Ready {
            return Ok(());
        }
        if self.line.under_way() == 0 {
            self.heard = turn.now;
        }
        match turn.pace {
            None => self.line.fill(turn.plan.depth, turn.now, desk),
            Some(pace) => {
                let may_send = self.line.post_repeats(turn.now, desk);
                // What is overdue at the end is counted, not sent: a server that cannot keep up would draw the end out.
                while may_send && self.line.under_way() < turn.plan.depth && turn.now < desk.deadline() {
                    let due = pace.due(self.number, self.posted);
                    if due > turn.now || !self.line.post_due(due, desk) {
                        break;
                    }
                    self.posted += 1;
                }
            }
        }
        self.flush()?;
        if self.line.under_way() == 0 && self.is_done(turn, desk) {
            self.leave(turn.registry);
            self.retire(desk);
        }
        Ok(())
    }

    /// Whether nothing is left to be sent.
    fn is_done(&self, turn: Turn<'_>, desk: &Desk<'_>) -> bool {
        let sent_all = turn.plan.ops.is_some() && self.line.unsent(turn.plan) == 0;
        !self.line.has_repeats() && (sent_all || turn.now >= desk.deadline())
    }

    /// Reads and answers until the socket has nothing more.
    #[inline]
    pub fn converse(&mut self, mut turn: Turn<'_>, desk: &mut Desk<'_>) -> Result<(), ClientError> {
        while self.stage == Stage::Ready {
            let filled = self.read_once("waiting for replies")?;
            if let Some(filled) = filled {
                turn.now = desk.now();
                if self.line.receive(turn.now, desk)? > 0 {
                    self.heard = turn.now;
                }
                self.send(turn, desk)?;
                // A short read on a stream socket counts as drained: more will come with an event of its own.
                if filled {
                    continue;
                }
            } else {
                self.send(turn, desk)?;
            }
            break;
        }
        Ok(())
    }

    /// Reads once: `None` when there was nothing, else whether all the room was filled.
    #[inline]
    fn read_once(&mut self, doing: &'static str) -> Result<Option<bool>, ClientError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match self.line.inbox.read_from(stream) {
            Ok((0, _)) => Err(ClientError::closed(doing)),
            Ok((_, filled)) => Ok(Some(filled)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(ClientError::Lost { doing, source }),
        }
    }

    #[inline]
    fn flush(&mut self) -> Result<(), ClientError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.line.out.len() {
            match stream.write(&self.line.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The socket's next event is its room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(ClientError::Lost { doing: "sending requests", source }),
            }
        }
        self.line.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Ends a connection that has nothing left to do.
    fn retire(&mut self, desk: &mut Desk<'_>) {
        self.line.finish(desk);
        self.stage = Stage::Over;
    }

    /// Looks after the clock: a rest that is over, a server that is silent for too long, a user who is.
    pub fn tick(&mut self, turn: Turn<'_>) -> Result<(), ClientError> {
        let (patience, login) = (turn.plan.server.timeout, turn.plan.server.login_patience);
        let late = |after| Err(ClientError::Timeout { doing: "waiting for replies", after });
        let silent = turn.now.saturating_sub(self.heard);
        if self.stage != Stage::Over && interrupt::is_over() {
            return Err(ClientError::Interrupted("waiting for replies"));
        }
        match self.stage {
            Stage::Resting(until) if turn.now >= until => self.connect(turn),
            Stage::Ready if self.line.under_way() > 0 && silent > nanoseconds(patience) => late(patience),
            Stage::Connecting if silent > nanoseconds(patience) => late(patience),
            Stage::LoggingIn if silent > nanoseconds(login) => late(login),
            _ => Ok(()),
        }
    }

    /// Settles what the loss of the connection leaves behind. The error comes back when the seat is given up.
    pub fn lose(&mut self, error: ClientError, turn: Turn<'_>, desk: &mut Desk<'_>) -> Result<(), ClientError> {
        let was_ready = self.stage == Stage::Ready;
        self.leave(turn.registry);
        self.line.lose(&error, desk);
        if was_ready && self.is_done(turn, desk) {
            self.retire(desk);
            return Ok(());
        }
        let over = turn.now >= desk.deadline() && !self.line.has_repeats();
        let wait = if error.is_passing() && !over { self.line.backoff.next_wait(turn.now, desk.prng()) } else { None };
        let Some(wait) = wait else {
            self.stage = Stage::Over;
            self.line.abandon(desk);
            return Err(error);
        };
        self.stage = Stage::Resting(turn.now.saturating_add(nanoseconds(wait)));
        Ok(())
    }

    /// How many operations were due before `end` and found no room to be sent.
    pub fn overdue(&self, pace: Pace, end: u64) -> u64 {
        let mut overdue = 0;
        while pace.due(self.number, self.posted + overdue) < end {
            overdue += 1;
        }
        overdue
    }

    fn leave(&mut self, registry: &Registry) {
        if let Some(mut stream) = self.stream.take() {
            // Closing it right after also takes it out of the poll; an error here changes nothing.
            let _ = registry.deregister(&mut stream);
        }
    }
}
