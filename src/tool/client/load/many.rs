//! An event loop that drives many connections: as many as there are descriptors, and on a schedule if asked to.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd};

use crate::tool::client::error::ClientError;
use crate::tool::client::load::desk::Desk;
use crate::tool::client::load::pace::Pace;
use crate::tool::client::load::plan::{Clock, Plan};
use crate::tool::client::load::seat::{Seat, Turn};
use crate::tool::client::load::{Brought, Post};

/// Handshakes under way at a time while the connections are made: fewer than any server's backlog.
const OPENING: usize = 64;
/// How often silent connections are looked for.
const SWEEP: Duration = Duration::from_millis(100);
/// The same while connections wait to be made anew: about their shortest wait.
const SWEEP_RESTING: Duration = Duration::from_millis(10);
/// The token of the schedule's timer; connections count from 0.
const TIMER: Token = Token(usize::MAX);

/// The work of one thread: every connection whose number, divided by the number of loops, leaves its own.
pub fn attend(post: &Post<'_>, loops: u32) -> Brought {
    let numbers = (0..post.plan.connections).filter(|number| number % loops == post.number);
    match EventLoop::open(post.plan, numbers) {
        Ok(mut event_loop) => {
            let mut desk = post.await_start(Ok(()))?;
            let failures = event_loop.run(&mut desk);
            Some((desk.tally, failures))
        }
        Err(error) => {
            post.await_start(Err(error));
            None
        }
    }
}

struct EventLoop<'r> {
    plan: &'r Plan,
    poll: Poll,
    events: Events,
    seats: Vec<Seat>,
    pace: Option<Pace>,
    /// Wakes the loop at the next due time, since the poll's own timeout counts whole milliseconds.
    timer: TimerFd,
    /// Rounds and seats of the schedule that are behind us.
    round: u64,
    next_seat: usize,
    numbers: Vec<u32>,
    /// Connections that are not over, and of these the ones that wait to be made anew.
    open: usize,
    resting: usize,
    failures: Vec<ClientError>,
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> ClientError {
    move |source| ClientError::Lost { doing, source }
}

impl<'r> EventLoop<'r> {
    /// Makes the connections and logs them in, a few at a time.
    fn open(plan: &'r Plan, numbers: impl Iterator<Item = u32>) -> Result<EventLoop<'r>, ClientError> {
        let numbers: Vec<u32> = numbers.collect();
        let seats: Vec<Seat> =
            numbers.iter().enumerate().map(|(at, &number)| Seat::new(plan, Token(at), number)).collect();
        let doing = "making an event loop";
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(io::Error::from).map_err(system(doing))?;
        let poll = Poll::new().map_err(system(doing))?;
        let raw = timer.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&raw), TIMER, Interest::READABLE).map_err(system(doing))?;
        let pace = plan.rate.map(|rate| Pace::new(rate, plan.connections));
        let events = Events::with_capacity(1024);
        let mut event_loop = EventLoop {
            plan,
            poll,
            events,
            open: seats.len(),
            seats,
            pace,
            timer,
            round: 0,
            next_seat: 0,
            numbers,
            resting: 0,
            failures: Vec::new(),
        };
        event_loop.make_connections()?;
        Ok(event_loop)
    }

    fn make_connections(&mut self) -> Result<(), ClientError> {
        let clock = Clock::start();
        let (mut begun, mut ready) = (0, 0);
        while ready < self.seats.len() {
            let now = clock.now();
            let turn = Turn { plan: self.plan, registry: self.poll.registry(), pace: None, now };
            while begun < self.seats.len() && begun - ready < OPENING {
                self.seats[begun].connect(turn)?;
                begun += 1;
            }
            wait(&mut self.poll, &mut self.events, SWEEP)?;
            let turn = Turn { plan: self.plan, registry: self.poll.registry(), pace: None, now: clock.now() };
            for event in &self.events {
                if let Some(seat) = self.seats.get_mut(event.token().0)
                    && !seat.is_ready()
                    && seat.advance(turn)?
                {
                    ready += 1;
                }
            }
            for seat in &mut self.seats[..begun] {
                seat.tick(turn)?;
            }
        }
        Ok(())
    }

    /// Drives the connections until all are done.
    fn run(&mut self, desk: &mut Desk<'_>) -> Vec<ClientError> {
        let mut swept = 0;
        for at in 0..self.seats.len() {
            self.attend_seat(at, desk, |seat, turn, desk| seat.send(turn, desk));
        }
        while self.open > 0 {
            let sweep = if self.resting > 0 { SWEEP_RESTING } else { SWEEP };
            if let Err(error) = self.set_timer(desk).and_then(|()| wait(&mut self.poll, &mut self.events, sweep)) {
                self.failures.push(error);
                break;
            }
            self.handle_events(desk);
            self.send_what_is_due(desk);
            let now = desk.now();
            if now.saturating_sub(swept) >= u64::try_from(sweep.as_nanos()).unwrap_or(u64::MAX) {
                swept = now;
                for at in 0..self.seats.len() {
                    self.attend_seat(at, desk, |seat, turn, desk| {
                        seat.tick(turn)?;
                        seat.send(turn, desk)
                    });
                }
            }
        }
        if let (Some(pace), None) = (self.pace, self.plan.ops) {
            desk.tally.unsent += self.seats.iter().map(|seat| seat.overdue(pace, desk.deadline())).sum::<u64>();
        }
        std::mem::take(&mut self.failures)
    }

    /// Lets one seat act, and settles what becomes of it.
    fn attend_seat<'d>(
        &mut self,
        at: usize,
        desk: &mut Desk<'d>,
        act: impl FnOnce(&mut Seat, Turn<'_>, &mut Desk<'d>) -> Result<(), ClientError>,
    ) {
        let turn = Turn { plan: self.plan, registry: self.poll.registry(), pace: self.pace, now: desk.now() };
        let Some(seat) = self.seats.get_mut(at) else { return };
        let (was_over, was_resting) = (seat.is_over(), seat.is_resting());
        if let Err(error) = act(seat, turn, desk)
            && let Err(error) = seat.lose(error, turn, desk)
        {
            self.failures.push(error);
        }
        self.open -= usize::from(!was_over && seat.is_over());
        self.resting += usize::from(seat.is_resting());
        self.resting -= usize::from(was_resting);
    }

    fn handle_events(&mut self, desk: &mut Desk<'_>) {
        // The list is lent out while the seats act, and comes back with its memory.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            self.attend_seat(event.token().0, desk, |seat, turn, desk| {
                if seat.is_ready() {
                    return seat.converse(turn, desk);
                }
                if seat.advance(turn)? {
                    desk.tally.reconnects += 1;
                    seat.send(turn, desk)?;
                }
                Ok(())
            });
        }
        self.events = events;
    }

    /// Sends on every connection whose next operation has become due.
    fn send_what_is_due(&mut self, desk: &mut Desk<'_>) {
        let Some(pace) = self.pace else { return };
        let now = desk.now();
        while !self.numbers.is_empty() && pace.due(self.numbers[self.next_seat], self.round) <= now {
            self.attend_seat(self.next_seat, desk, |seat, turn, desk| seat.send(turn, desk));
            self.next_seat += 1;
            if self.next_seat == self.numbers.len() {
                self.next_seat = 0;
                self.round += 1;
            }
        }
    }

    /// Arms the timer for the next due time.
    fn set_timer(&mut self, desk: &Desk<'_>) -> Result<(), ClientError> {
        let (Some(pace), Some(&number)) = (self.pace, self.numbers.get(self.next_seat)) else { return Ok(()) };
        // Zero would disarm it.
        let wait = pace.due(number, self.round).saturating_sub(desk.now()).max(1);
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
