//! One of the connections of an event loop: it connects, logs in, sends and receives, and reconnects, without blocking.

use std::io::{self, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::tool::client::clock::nanoseconds;
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::pipeline::Pipeline;
use crate::tool::client::load::plan::{RunPlan, Schedule};
use crate::tool::client::load::protocol::{Protocol, ThreadState};

/// What a connection does most of the time.
const WAITING: &str = "waiting for replies";

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage<S> {
    /// Waits until this time before the next attempt to connect.
    Waiting(u64),
    /// The TCP handshake has begun.
    Connecting,
    /// It is at this step of what comes before the operations.
    Greeting(S),
    /// Operations are sent.
    Ready,
    /// Done, or given up.
    Ended,
}

/// What the event loop passes to its connections.
pub struct LoopContext<'c, P: Protocol> {
    pub plan: &'c P::Plan,
    /// Where sockets are registered.
    pub registry: &'c Registry,
    /// Nanoseconds since the start, or since the loop was made before that.
    pub now: u64,
}

impl<P: Protocol> Clone for LoopContext<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Protocol> Copy for LoopContext<'_, P> {}

impl<'c, P: Protocol> LoopContext<'c, P> {
    fn run(&self) -> &'c RunPlan {
        self.plan.as_ref()
    }
}

pub struct PolledConnection<P: Protocol> {
    token: Token,
    stage: Stage<P::Step>,
    stream: Option<TcpStream>,
    /// Whom it is to.
    address: SocketAddr,
    pub pipeline: Pipeline<P>,
    /// How many bytes of `pipeline.out` were written.
    written: usize,
    /// When the last reply came, or nothing was in flight.
    last_reply: u64,
    /// Operations sent from the schedule so far.
    scheduled: u64,
}

impl<P: Protocol> PolledConnection<P> {
    pub fn new(plan: &P::Plan, token: Token, number: u32) -> PolledConnection<P> {
        let run: &RunPlan = plan.as_ref();
        PolledConnection {
            token,
            stage: Stage::Waiting(0),
            stream: None,
            address: run.server.address(),
            pipeline: Pipeline::new(plan, number),
            written: 0,
            last_reply: 0,
            scheduled: 0,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Whether the connection is done, or given up.
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether the connection waits to reconnect, or for the server to have room.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
            || self.stage == Stage::Ready && self.pipeline.deferred_until().is_some()
    }

    pub fn connect(&mut self, context: LoopContext<'_, P>) -> Result<(), ClientError> {
        let address = context.run().server.address();
        self.address = address;
        let begin = || {
            let mut stream = TcpStream::connect(address)?;
            context.registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        };
        self.stream = Some(begin().map_err(|source| context.run().server.connect_error(address, source))?);
        self.stage = Stage::Connecting;
        self.last_reply = context.now;
        Ok(())
    }

    /// Continues after an event while the connection is being made. True once operations can be sent.
    pub fn continue_login(&mut self, context: LoopContext<'_, P>) -> Result<bool, ClientError> {
        if self.stage == Stage::Connecting && self.is_connected(context.run())? {
            self.pipeline.begin();
            let step = P::greet(&mut self.pipeline.out, context.plan);
            self.enter(step, context.now);
        }
        while let Stage::Greeting(step) = self.stage {
            self.flush()?;
            let (_, doing) = P::patience(step, &context.run().server);
            self.read_once(doing)?;
            let both = (&mut self.pipeline.received, &mut self.pipeline.out);
            let Some(next) = P::go_on(both, step, context.plan, self.address)? else { return Ok(false) };
            self.enter(next, context.now);
        }
        Ok(self.stage == Stage::Ready)
    }

    /// Begins the next step, or, where there is none, with operations.
    fn enter(&mut self, step: Option<P::Step>, now: u64) {
        self.stage = step.map_or(Stage::Ready, Stage::Greeting);
        self.written = 0;
        self.last_reply = now;
    }

    fn is_connected(&self, plan: &RunPlan) -> Result<bool, ClientError> {
        let Some(stream) = &self.stream else { return Ok(false) };
        let failed = |source| plan.server.connect_error(self.address, source);
        match stream.take_error().and_then(|error| error.map_or_else(|| stream.peer_addr(), Err)) {
            Ok(_) => stream.set_nodelay(true).map_err(failed).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Sends what may be sent now.
    #[inline]
    pub fn send(&mut self, context: LoopContext<'_, P>, thread: &mut P::Thread<'_>) -> Result<(), ClientError> {
        if self.stage != Stage::Ready {
            return Ok(());
        }
        if self.pipeline.in_flight() == 0 {
            self.last_reply = context.now;
        }
        match context.run().schedule {
            None => self.pipeline.fill(context.now, thread),
            Some(schedule) => {
                let may_send = self.pipeline.encode_resends(context.now, thread);
                // What is overdue at the end is counted, not sent: a slow server would delay the end.
                while may_send && self.pipeline.in_flight() < context.run().depth && context.now < thread.deadline() {
                    let due = schedule.due(self.pipeline.number, self.scheduled);
                    if due > context.now || !self.pipeline.encode_next(due, thread) {
                        break;
                    }
                    self.scheduled += 1;
                }
            }
        }
        self.flush()?;
        if self.pipeline.in_flight() == 0 && self.is_done(context, thread) {
            self.close(context.registry);
            self.end(thread);
        }
        Ok(())
    }

    /// Whether nothing is left to be sent.
    fn is_done(&self, context: LoopContext<'_, P>, thread: &P::Thread<'_>) -> bool {
        !self.pipeline.has_resends() && (self.pipeline.has_sent_all() || context.now >= thread.deadline())
    }

    /// Reads replies and sends new requests until the socket has no more bytes.
    #[inline]
    pub fn exchange(&mut self, mut context: LoopContext<'_, P>, thread: &mut P::Thread<'_>) -> Result<(), ClientError> {
        while self.stage == Stage::Ready {
            let filled = self.read_once(WAITING)?;
            if let Some(filled) = filled {
                context.now = thread.now();
                if self.pipeline.receive(context.now, thread)? > 0 {
                    self.last_reply = context.now;
                }
                self.send(context, thread)?;
                // A short read has drained the socket: more bytes bring a new event.
                if filled {
                    continue;
                }
            } else {
                self.send(context, thread)?;
            }
            break;
        }
        Ok(())
    }

    /// Reads once: `None` when there was nothing, else whether the buffer was filled.
    #[inline]
    fn read_once(&mut self, doing: &'static str) -> Result<Option<bool>, ClientError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match P::read_from(&mut self.pipeline.received, stream) {
            Ok((0, _)) => Err(ClientError::closed(doing)),
            Ok((_, filled)) => Ok(Some(filled)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(ClientError::Lost { doing, source }),
        }
    }

    #[inline]
    fn flush(&mut self) -> Result<(), ClientError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.pipeline.out.len() {
            match stream.write(&self.pipeline.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An event tells when the socket is writable again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => return Err(ClientError::Lost { doing: "sending requests", source }),
            }
        }
        self.pipeline.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Ends a connection that has nothing left to do.
    fn end(&mut self, thread: &mut P::Thread<'_>) {
        self.pipeline.finish(thread);
        self.stage = Stage::Ended;
    }

    /// Checks what depends on the time: a wait that is over, a server that is silent for too long, an interruption.
    pub fn check_timeouts(&mut self, context: LoopContext<'_, P>) -> Result<(), ClientError> {
        let server = &context.run().server;
        let timeout = server.target.timeout;
        let late = |doing, after| Err(ClientError::Timeout { doing, after });
        let silent = context.now.saturating_sub(self.last_reply);
        if self.stage != Stage::Ended && interrupt::grace_is_over() {
            return Err(ClientError::Interrupted(WAITING));
        }
        match self.stage {
            Stage::Waiting(until) if context.now >= until => self.connect(context),
            Stage::Ready if self.pipeline.in_flight() > 0 && silent > nanoseconds(timeout) => late(WAITING, timeout),
            Stage::Connecting if silent > nanoseconds(server.connect_timeout()) => late(WAITING, timeout),
            Stage::Greeting(step) => {
                let (patience, _) = P::patience(step, server);
                if silent > nanoseconds(patience) { late(WAITING, patience) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Handles the loss of the connection. Returns the error when the connection is given up.
    pub fn lose(
        &mut self,
        error: ClientError,
        context: LoopContext<'_, P>,
        thread: &mut P::Thread<'_>,
    ) -> Result<(), ClientError> {
        let was_ready = self.stage == Stage::Ready;
        if matches!(error, ClientError::Timeout { .. }) {
            // What does not answer may be cut off.
            context.run().server.servers.suspect(self.address);
        }
        self.close(context.registry);
        self.pipeline.lose(&error, thread);
        if was_ready && self.is_done(context, thread) {
            self.end(thread);
            return Ok(());
        }
        let is_too_late = context.now >= thread.deadline() && !self.pipeline.has_resends();
        let may_retry = error.is_transient() && !is_too_late;
        let wait = may_retry.then(|| self.pipeline.reconnect_backoff.next_wait(context.now, thread.rng())).flatten();
        let Some(wait) = wait else {
            self.stage = Stage::Ended;
            self.pipeline.give_up(thread);
            return Err(error);
        };
        self.stage = Stage::Waiting(context.now.saturating_add(nanoseconds(wait)));
        Ok(())
    }

    /// How many operations were due before `end` and were not sent.
    pub fn overdue(&self, schedule: Schedule, end: u64) -> u64 {
        let mut overdue = 0;
        while schedule.due(self.pipeline.number, self.scheduled + overdue) < end {
            overdue += 1;
        }
        overdue
    }

    fn close(&mut self, registry: &Registry) {
        if let Some(mut stream) = self.stream.take() {
            // An error changes nothing: the close that follows removes the socket from the poll, too.
            let _ = registry.deregister(&mut stream);
        }
    }
}
