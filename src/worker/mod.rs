//! A worker: an event loop that serves the connections handed to it.
//!
//! `intake` takes connections in, `reception` gives them a place and lets them go, `bank` serves those of the bank and `web` the others,
//! `pool` does what may block, `rounds` sees to those that are idle or slow and to the worker's own leaving.

mod bank;
mod farewell;
mod guest;
mod intake;
mod pool;
mod reception;
mod rounds;
mod visit;
mod web;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::access_log::{self, AccessLog};
use crate::config::Settings;
use crate::connection::PerService;
use crate::crash_point;
use crate::instance::Instance;
use crate::instance::control::{WorkerRow, WorkerState};
use crate::ipc::event::Nudge;
use crate::ipc::lane::{Consumer, LaneSemaphores};
use crate::ipc::process::monotonic_ns;
use crate::journal::Directory;
use crate::ledger::Teller;
use crate::service::users::Users;
use crate::vocab::Lsn;
use bank::{Counter, Desk, Line, Office};
pub use farewell::Farewell;
use guest::Guest;
use intake::Intake;
use pool::Pool;
use visit::{Fate, Parting};

const LANE: Token = Token(usize::MAX);
const NUDGE: Token = Token(usize::MAX - 1);
const POOL: Token = Token(usize::MAX - 2);
const LISTENER: Token = Token(usize::MAX - 3);

/// How often the rounds are made, and so how often an idle worker shows that it lives.
const ROUND_NS: u64 = 250_000_000;
/// How soon operations are tried again that the journal had no place for, should nobody say that it has.
const ROOM_PATIENCE: Duration = Duration::from_millis(1);
/// Threads for what may block of the bank's business, and how much may wait for them; a connection has at most one thing at a time,
/// so this is far from the usual.
const OFFICE: (usize, usize) = (2, 1024);
/// Files that may wait for a thread; who asks for one more is answered 503.
const WAITING_FOR_FILES: usize = 256;
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
    pub nudge: Arc<Nudge>,
    /// How it wakes the journal process up.
    pub journal: Arc<Nudge>,
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
    nudge: Arc<Nudge>,
    journal: Arc<Nudge>,
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
            nudge,
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
        let clerks = office.clone();
        let work = move |errand| clerks.run(errand);
        let pool = Pool::start("vault-pool", OFFICE.0, OFFICE.1, work, wake.clone())?;
        let web = access_log.map(|log| open_web(instance, settings, log, index, wake)).transpose()?;
        let teller = Teller::new(instance.table(), index, move || row.beat(monotonic_ns()));
        // Its copy of the users is as old as the master's last look at the file.
        let reloads = instance.control().reloads();
        let number = u16::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let consumer = Consumer::new(instance.lane_ring(index), semaphores);
        let intake = Intake::new(number, instance, consumer, lane, listeners);
        watch(&poll, nudge.as_fd(), NUDGE, Interest::READABLE)?;
        watch(&poll, intake.lane(), LANE, Interest::READABLE.add(Interest::WRITABLE))?;
        for listener in intake.listeners() {
            watch(&poll, listener, LISTENER, Interest::READABLE)?;
        }
        let slots = instance.connections().len();
        Ok(Worker {
            desk: Desk::new(Counter::new(instance.table(), teller, pool, &row.stats)),
            web,
            office,
            guests: std::iter::repeat_with(|| None).take(slots).collect(),
            number,
            instance,
            settings,
            nudge,
            journal,
            row,
            poll,
            intake,
            intake_more: true,
            count: 0,
            recalled: VecDeque::new(),
            line: Line::default(),
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
        let urgent = durable || !self.recalled.is_empty() || self.intake_more;
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
            NUDGE => self.take_orders(),
            POOL => {
                self.deliver_findings();
                self.deliver_files();
            }
            Token(slot) => {
                let Some(guest) = self.guests.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
                let visit = guest.visit_mut();
                visit.hung_up |= event.is_read_closed() || event.is_error();
                visit.readable |= event.is_readable() || visit.hung_up;
                self.give_turn(slot);
            }
        }
        Ok(())
    }

    fn give_turn(&mut self, slot: usize) {
        // Out of its place while it is served, so that the desk can have it for itself.
        let Some(mut guest) = self.guests[slot].take() else { return };
        let fate = match &mut guest {
            Guest::Bank(guest) => self.serve_bank(guest),
            Guest::Web(guest) => self.web.as_mut().map_or(Fate::Over, |web| web.turn(guest)),
        };
        let visit = guest.visit_mut();
        match fate {
            Fate::Over => return self.close(guest),
            Fate::Recalled if !visit.recalled => {
                visit.recalled = true;
                self.recalled.push_back(visit.connection.index());
            }
            Fate::Recalled | Fate::Stays => {}
        }
        let between_requests = matches!(guest, Guest::Web(_)) && self.row.is_to_leave();
        self.guests[slot] = Some(guest);
        if between_requests {
            self.give_back(slot);
        }
    }

    fn serve_bank(&mut self, guest: &mut bank::Guest) -> Fate {
        let fate = self.desk.turn(guest);
        if fate != Fate::Over {
            self.line.join(guest);
        }
        let sequencer = self.instance.table().sequencer();
        if sequencer.is_journaled() && sequencer.must_be_woken(&self.desk.counter.order) {
            self.journal.send();
        }
        fate
    }

    /// Serves those whose operations have become durable.
    fn serve_durable(&mut self) {
        let sequencer = self.instance.table().sequencer();
        // Each once: who waits for room stands in the line again at once, and others are to be served meanwhile.
        for _ in 0..self.line.length() {
            let Some(slot) = self.line.next(sequencer.durable()) else { return };
            if let Some(Guest::Bank(guest)) = self.guests[slot as usize].as_mut() {
                guest.in_line = false;
                self.give_turn(slot as usize);
            }
        }
    }

    fn serve_recalled(&mut self) {
        for _ in 0..self.recalled.len() {
            let Some(slot) = self.recalled.pop_front() else { return };
            let Some(guest) = self.guests[slot as usize].as_mut() else { continue };
            guest.visit_mut().recalled = false;
            self.give_turn(slot as usize);
        }
    }

    fn deliver_findings(&mut self) {
        while let Some((waiting, finding)) = self.desk.counter.pool.finding() {
            let slot = waiting.slot as usize;
            // Its connection may have ended in the meantime.
            let Some(Guest::Bank(guest)) = self.guests[slot].as_mut() else { continue };
            if guest.generation != waiting.generation {
                continue;
            }
            self.desk.counter.deliver(guest, finding);
            if self.leave_by_ns.is_some() {
                guest.parting = Parting::AfterSending;
            }
            self.give_turn(slot);
            if self.row.is_to_leave() {
                self.give_back(slot);
            }
        }
    }

    /// Goes on with connections of the web that have waited for a file, or for room in the access log.
    fn deliver_files(&mut self) {
        let Some(web) = &mut self.web else { return };
        let unlogged = web.unlogged();
        for (reader, news) in unlogged.map(|reader| (reader, None)).collect::<Vec<_>>() {
            self.tell(reader, news);
        }
        while let Some((readers, news)) = self.web.as_mut().and_then(web::Desk::finding) {
            for reader in readers {
                self.tell(reader, news.as_ref());
            }
        }
    }

    fn tell(&mut self, reader: web::Reader, news: Option<&web::News>) {
        // Its connection may have ended in the meantime.
        let Some(Guest::Web(guest)) = self.guests[reader.slot as usize].as_mut() else { return };
        if guest.generation == reader.generation {
            web::Desk::tell(guest, news);
            self.give_turn(reader.slot as usize);
        }
    }
}

/// Everything for HTTP.
fn open_web(
    instance: &'static Instance,
    settings: &Settings,
    log: &'static AccessLog,
    index: usize,
    wake: impl Fn() + Clone + Send + Sync + 'static,
) -> io::Result<web::Desk> {
    let (http, row) = (&settings.http, &instance.workers()[index]);
    let library = web::Library::open(http.www.as_deref()).map_err(io::Error::other)?;
    let find = move |job| library.run(job);
    let librarians = Pool::start("vault-files", http.threads, WAITING_FOR_FILES, find, wake.clone())?;
    let number = u32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let log = access_log::Writer::start(log, number, wake)?;
    row.stats.web.connections.set(0);
    row.stats.web.streams.set(0);
    let board = web::Board::new(instance, http.status_public, &row.stats.web);
    Ok(web::Desk::new(http, librarians, log, board, &row.stats.web))
}

/// Watches `fd`, edge-triggered as all of mio is.
fn watch(poll: &Poll, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest)
}
