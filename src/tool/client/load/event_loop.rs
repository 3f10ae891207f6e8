//! The driver of many connections, whatever their protocol: an event loop, on a schedule if there is one.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::tool::client::clock::{Clock, nanoseconds};
use crate::tool::client::error::ClientError;
use crate::tool::client::load::plan::{RunPlan, Schedule};
use crate::tool::client::load::polled::{LoopContext, PolledConnection};
use crate::tool::client::load::protocol::{Protocol, ThreadState};

/// The most connections that are being made at a time: fewer than any server's backlog.
const MAX_CONNECTING: usize = 64;
/// How often timeouts are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The same while connections wait to reconnect: about their shortest wait.
const CHECK_INTERVAL_WAITING: Duration = Duration::from_millis(10);
/// The token of the schedule's timer; connections count from 0.
const TIMER: Token = Token(usize::MAX);

pub struct EventLoop<'r, P: Protocol> {
    plan: &'r P::Plan,
    poll: Poll,
    events: Events,
    connections: Vec<PolledConnection<P>>,
    /// Wakes the loop at the next due time, since the timeout of a poll counts whole milliseconds.
    timer: TimerFd,
    /// The next operation of the schedule: its round, and the index of its connection.
    round: u64,
    next_due: usize,
    /// Connections that have not ended, and of these the ones that wait.
    open: usize,
    waiting: usize,
    failures: Vec<ClientError>,
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ClientError {
    move |source| ClientError::Lost { doing, source }
}

impl<'r, P: Protocol> EventLoop<'r, P> {
    /// Makes every connection whose number, modulo the number of loops, is this loop's, a few at a time, until operations can be sent.
    pub fn open(plan: &'r P::Plan, number: u32, loops: u32) -> Result<EventLoop<'r, P>, ClientError> {
        let run: &RunPlan = plan.as_ref();
        let numbers = (0..run.connections).filter(|connection| connection % loops == number);
        let connections: Vec<PolledConnection<P>> =
            numbers.enumerate().map(|(at, number)| PolledConnection::new(plan, Token(at), number)).collect();
        let doing = "making an event loop";
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(io::Error::from).map_err(system(doing))?;
        let poll = Poll::new().map_err(system(doing))?;
        let raw = timer.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&raw), TIMER, Interest::READABLE).map_err(system(doing))?;
        let mut event_loop = EventLoop {
            plan,
            poll,
            events: Events::with_capacity(1024),
            open: connections.len(),
            connections,
            timer,
            round: 0,
            next_due: 0,
            waiting: 0,
            failures: Vec::new(),
        };
        event_loop.make_connections()?;
        Ok(event_loop)
    }

    fn schedule(&self) -> Option<Schedule> {
        self.plan.as_ref().schedule
    }

    fn make_connections(&mut self) -> Result<(), ClientError> {
        let clock = Clock::start();
        let (mut begun, mut ready) = (0, 0);
        while ready < self.connections.len() {
            let now = clock.now();
            let context = LoopContext { plan: self.plan, registry: self.poll.registry(), now };
            while begun < self.connections.len() && begun - ready < MAX_CONNECTING {
                self.connections[begun].connect(context)?;
                begun += 1;
            }
            wait(&mut self.poll, &mut self.events, CHECK_INTERVAL)?;
            let context = LoopContext { plan: self.plan, registry: self.poll.registry(), now: clock.now() };
            for event in &self.events {
                if let Some(connection) = self.connections.get_mut(event.token().0)
                    && !connection.is_ready()
                    && connection.continue_login(context)?
                {
                    ready += 1;
                }
            }
            for connection in &mut self.connections[..begun] {
                connection.check_timeouts(context)?;
            }
        }
        Ok(())
    }

    /// Drives the connections until all are done.
    pub fn run(&mut self, thread: &mut P::Thread<'_>) -> Vec<ClientError> {
        let mut last_check = 0;
        for at in 0..self.connections.len() {
            self.act_on(at, thread, |connection, context, thread| connection.send(context, thread));
        }
        while self.open > 0 {
            let interval = if self.waiting > 0 { CHECK_INTERVAL_WAITING } else { CHECK_INTERVAL };
            if let Err(error) = self.set_timer(thread).and_then(|()| wait(&mut self.poll, &mut self.events, interval)) {
                self.failures.push(error);
                break;
            }
            self.handle_events(thread);
            self.send_what_is_due(thread);
            let now = thread.now();
            if now.saturating_sub(last_check) >= nanoseconds(interval) {
                last_check = now;
                for at in 0..self.connections.len() {
                    self.act_on(at, thread, |connection, context, thread| {
                        connection.check_timeouts(context)?;
                        connection.send(context, thread)
                    });
                }
            }
        }
        if let (Some(schedule), None) = (self.schedule(), self.plan.as_ref().ops) {
            let end = thread.deadline();
            let overdue = self.connections.iter().map(|connection| connection.overdue(schedule, end)).sum::<u64>();
            thread.tally().unsent += overdue;
        }
        std::mem::take(&mut self.failures)
    }

    /// Performs an action on one connection, and handles its failure.
    fn act_on<'d>(
        &mut self,
        at: usize,
        thread: &mut P::Thread<'d>,
        act: impl FnOnce(&mut PolledConnection<P>, LoopContext<'_, P>, &mut P::Thread<'d>) -> Result<(), ClientError>,
    ) {
        let context = LoopContext { plan: self.plan, registry: self.poll.registry(), now: thread.now() };
        let Some(connection) = self.connections.get_mut(at) else { return };
        let (was_ended, was_waiting) = (connection.is_ended(), connection.is_waiting());
        if let Err(error) = act(connection, context, thread)
            && let Err(error) = connection.lose(error, context, thread)
        {
            self.failures.push(error);
        }
        self.open -= usize::from(!was_ended && connection.is_ended());
        self.waiting += usize::from(connection.is_waiting());
        self.waiting -= usize::from(was_waiting);
    }

    fn handle_events(&mut self, thread: &mut P::Thread<'_>) {
        // Taken out, so that the connections can be borrowed mutably; put back to keep its memory.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            self.act_on(event.token().0, thread, |connection, context, thread| {
                if connection.is_ready() {
                    return connection.exchange(context, thread);
                }
                if connection.continue_login(context)? {
                    thread.tally().reconnects += 1;
                    connection.send(context, thread)?;
                }
                Ok(())
            });
        }
        self.events = events;
    }

    /// Sends on every connection whose next operation has become due.
    fn send_what_is_due(&mut self, thread: &mut P::Thread<'_>) {
        let Some(schedule) = self.schedule() else { return };
        let now = thread.now();
        while self
            .connections
            .get(self.next_due)
            .is_some_and(|next| schedule.due(next.pipeline.number, self.round) <= now)
        {
            self.act_on(self.next_due, thread, |connection, context, thread| connection.send(context, thread));
            self.next_due += 1;
            if self.next_due == self.connections.len() {
                self.next_due = 0;
                self.round += 1;
            }
        }
    }

    /// Arms the timer for the next due time.
    fn set_timer(&mut self, thread: &P::Thread<'_>) -> Result<(), ClientError> {
        let (Some(schedule), Some(next)) = (self.schedule(), self.connections.get(self.next_due)) else {
            return Ok(());
        };
        // Zero would disarm it.
        let wait = schedule.due(next.pipeline.number, self.round).saturating_sub(thread.now()).max(1);
        let wait = TimeSpec::nanoseconds(i64::try_from(wait).unwrap_or(i64::MAX));
        let armed = self.timer.set(Expiration::OneShot(wait), TimerSetTimeFlags::empty());
        armed.map_err(io::Error::from).map_err(system("setting the timer of the schedule"))
    }
}

fn wait(poll: &mut Poll, events: &mut Events, at_most: Duration) -> Result<(), ClientError> {
    match poll.poll(events, Some(at_most)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(system("waiting for events")(error)),
        _ => Ok(()),
    }
}
