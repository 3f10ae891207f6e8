//! A worker: an event loop that serves the connections handed to it.
//!
//! `intake` takes connections in, `reception` welcomes them and lets them go, `eviction` makes room for them, `turns` says who is next,
//! `bank` serves those of the bank and `web` the others, `pool` does what may block, `rounds` sees to those that are idle or slow and
//! to the worker's own leaving.

mod eviction;
mod farewell;
mod guest;
mod intake;
mod reception;
mod rounds;
mod turns;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::base::config::Settings;
use crate::base::crash_point;
use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::ipc::lane::{Consumer, LaneSemaphores};
use crate::ipc::process::monotonic_ns;
use crate::service::bank::session::{Clerks, Counter, Desk, Line, Office};
use crate::store::users::Users;
use crate::service::http::session as web;
use crate::store::access_log::AccessLog;
use crate::store::connection::{PerService, Service};
use crate::store::instance::Instance;
use crate::store::instance::control::{WorkerRow, WorkerState};
use crate::store::journal::Directory;
use crate::store::ledger::Teller;
use eviction::Candidates;
pub use farewell::Farewell;
use guest::Guest;
use intake::Intake;

const LANE: Token = Token(usize::MAX);
const WAKEUP: Token = Token(usize::MAX - 1);
const POOL: Token = Token(usize::MAX - 2);
const LISTENER: Token = Token(usize::MAX - 3);

/// How often the rounds are made, and so how often an idle worker shows that it lives.
const ROUND_NS: u64 = 250_000_000;
/// How soon operations are tried again that the journal had no place for, should nobody say that it has.
const ROOM_PATIENCE: Duration = Duration::from_millis(1);
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// What a worker is given at its birth.
pub struct Seat {
    /// Its number.
    pub index: usize,
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Who may log in.
    pub users: Arc<Users>,
    /// Its lane's semaphores.
    pub semaphores: LaneSemaphores,
    /// Its end of the lane's socketpair.
    pub lane: OwnedFd,
    /// How the master and the journal process wake it up.
    pub wakeup: Arc<EventFd>,
    /// How it wakes the journal process up.
    pub journal: Arc<EventFd>,
    /// Where statements are read from; `None` where the books are in memory only.
    pub directory: Option<Directory>,
    /// Where HTTP requests are logged; none where there is no HTTP.
    pub access_log: Option<&'static AccessLog>,
    /// What it accepts from by itself, unless connections are handed to it.
    pub listeners: PerService<Option<OwnedFd>>,
}

/// A worker at work.
struct Worker {
    number: u16,
    instance: &'static Instance,
    settings: &'static Settings,
    wakeup: Arc<EventFd>,
    journal: Arc<EventFd>,
    row: &'static WorkerRow,
    poll: Poll,
    intake: Intake,
    intake_more: bool,
    desk: Desk,
    /// None where there is no HTTP.
    web: Option<web::Desk>,
    office: Arc<Office>,
    /// By slot number.
    guests: Vec<Option<Guest>>,
    count: u32,
    recalled: VecDeque<u32>,
    line: Line,
    /// Whether more of the pool's findings lie there than one turn takes.
    findings_more: bool,
    /// Whom to close when places run out.
    candidates: PerService<Candidates>,
    /// Connections that were closed or given back and the master has not been told of.
    farewells: Vec<Farewell>,
    next_round_ns: u64,
    /// How often settings and users had been read when this worker last did.
    reloads: u64,
    /// Once stopping: when to leave whatever is still to be sent.
    leave_by_ns: Option<u64>,
}

/// Serves until told to leave; the process' exit code.
#[must_use]
pub fn run(seat: Seat) -> i32 {
    let index = seat.index;
    match Worker::new(seat).and_then(Worker::serve) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("worker {index} cannot go on: {error}");
            1
        }
    }
}

impl Worker {
    fn new(seat: Seat) -> io::Result<Self> {
        let Seat {
            index,
            instance,
            settings,
            users,
            semaphores,
            lane,
            wakeup,
            journal,
            directory,
            access_log,
            listeners,
        } = seat;
        let row = &instance.workers()[index];
        crash_point::arm_from_environment(&index.to_string(), row.lives());
        // Made after the fork: an inherited epoll would be shared with the master.
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), POOL)?);
        let wake = move || {
            // The eventfd behind it only fails when its counter is full: then it wakes up anyway.
            let _ = waker.wake();
        };
        let office = Arc::new(Office::new(instance.table(), users, directory));
        let clerks = Clerks::start(&office, &row.stats.bounds, wake.clone())?;
        let web = access_log.map(|log| web::open(instance, settings, log, index, wake)).transpose()?;
        let teller = Teller::new(instance.table(), index, move || row.beat(monotonic_ns()));
        // Its copy of the users is as old as the master's last look at the file.
        let reloads = instance.control().reloads();
        let number = u16::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let consumer = Consumer::new(instance.lane_ring(index), semaphores);
        let intake = Intake::new(number, instance, consumer, lane, listeners);
        watch(&poll, wakeup.as_fd(), WAKEUP, Interest::READABLE)?;
        watch(&poll, intake.lane(), LANE, Interest::READABLE.add(Interest::WRITABLE))?;
        for listener in intake.listeners() {
            watch(&poll, listener, LISTENER, Interest::READABLE)?;
        }
        for service in Service::ALL {
            row.stats.bounds.parting[service.index()].set(0);
            row.stats.bounds.silent[service.index()].set(0);
        }
        let slots = instance.connections().len();
        Ok(Worker {
            desk: Desk::new(Counter::new(instance.table(), teller, clerks, &row.stats)),
            web,
            office,
            guests: std::iter::repeat_with(|| None).take(slots).collect(),
            number,
            instance,
            settings,
            wakeup,
            journal,
            row,
            poll,
            intake,
            intake_more: true,
            count: 0,
            recalled: VecDeque::new(),
            line: Line::default(),
            findings_more: false,
            candidates: PerService::default(),
            farewells: Vec::new(),
            next_round_ns: 0,
            reloads,
            leave_by_ns: None,
        })
    }

    /// The loop.
    fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        self.row.set_state(WorkerState::Serving);
        while !self.may_leave() {
            let patience = self.patience();
            let polled = self.poll.poll(&mut events, Some(patience));
            self.row.await_durable(Lsn(0));
            match polled {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.set_time(),
            }
            for event in &events {
                self.handle(event)?;
            }
            self.take_in()?;
            self.serve_recalled();
            self.serve_durable();
            if self.has_findings() {
                self.deliver_findings();
            }
            if self.desk.counter.now_ns >= self.next_round_ns {
                self.make_rounds();
            }
            self.say_farewells()?;
        }
        self.leave()
    }

    /// The last: lets go of whoever is still there, and has the access log written.
    fn leave(mut self) -> io::Result<()> {
        for slot in 0..self.guests.len() {
            if let Some(guest) = self.guests[slot].take() {
                self.close(guest);
            }
        }
        if let Some(web) = self.web.take() {
            web.finish();
        }
        self.say_farewells()
    }

    /// How long there is nothing to do unless something happens; tells the journal process what to wake this worker for.
    fn patience(&self) -> Duration {
        let durable = self.line.first().is_some_and(|(lsn, _)| {
            self.row.await_durable(lsn);
            lsn <= self.instance.table().sequencer().durable()
        });
        if durable && self.first_waits_for_room() {
            return ROOM_PATIENCE;
        }
        let urgent = durable || !self.recalled.is_empty() || self.intake_more || self.has_findings();
        let now = self.desk.counter.now_ns;
        Duration::from_nanos(if urgent { 0 } else { self.next_round_ns.saturating_sub(now) })
    }

    /// Whether the first in the line waits for nothing that is yet to become durable, but for a place to write to.
    fn first_waits_for_room(&self) -> bool {
        let guest = self.line.first().and_then(|(_, slot)| self.guests[slot as usize].as_ref());
        matches!(guest, Some(Guest::Bank(guest)) if guest.blocked.is_some() && guest.held.waits_for().is_none())
    }

    fn set_time(&mut self) {
        let now = monotonic_ns();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.desk.counter.set_time(now, since_1970);
        if let Some(web) = &mut self.web {
            web.set_time(now, since_1970);
        }
        self.row.beat(now);
        self.row.stats.turns.add(1);
    }

    fn handle(&mut self, event: &Event) -> io::Result<()> {
        match event.token() {
            LANE | LISTENER => self.intake_more = true,
            WAKEUP => self.take_orders(),
            POOL => {
                self.deliver_findings();
                self.deliver_files();
            }
            Token(slot) => {
                let Some(guest) = self.guests.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
                let visit = guest.visit_mut();
                visit.hung_up |= event.is_read_closed() || event.is_error();
                visit.readable |= event.is_readable() || visit.hung_up;
                // Nobody reads what its password is checked for, or a sum is made.
                if event.is_error()
                    && let Some(guest) = self.guests[slot].take_if(|guest| guest.awaits_pool())
                {
                    self.close(guest);
                }
                self.give_turn(slot);
            }
        }
        Ok(())
    }
}

/// Watches `fd`, edge-triggered as all of mio is.
fn watch(poll: &Poll, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest)
}
