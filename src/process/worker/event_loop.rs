//! The event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::base::config::Settings;
use crate::base::crash_point;
use crate::ipc::event::EventFd;
use crate::ipc::lane::{Consumer, LaneSemaphores};
use crate::ipc::process::monotonic_ns;
use crate::process::worker::acceptor::Acceptor;
use crate::process::worker::candidates::Candidates;
use crate::process::worker::release_notice::ReleaseNotice;
use crate::process::worker::services::Services;
use crate::service::entry::{Context, Entry, Watcher};
use crate::service::interface::{Now, Patience};
use crate::service::log_queue::SharedLog;
use crate::status;
use crate::store::access_log::AccessLog;
use crate::store::cache_channel::CacheChannel;
use crate::store::connection::{PerService, ServiceId};
use crate::store::instance::Instance;
use crate::store::instance::control::{WorkerRow, WorkerState};
use crate::store::instance::stats::ServiceStats;
use crate::store::journal::Directory;
use crate::store::users::Users;

pub(super) const LANE: Token = Token(usize::MAX);
const WAKEUP: Token = Token(usize::MAX - 1);
const THREADS: Token = Token(usize::MAX - 2);
const LISTENER: Token = Token(usize::MAX - 3);

/// Time between two ticks, and so how often an idle worker shows that it lives.
pub(super) const TICK_NS: u64 = 250_000_000;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// What a worker is started with.
pub struct Start {
    /// Its number.
    pub index: usize,
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// What the server offers.
    pub services: &'static [Entry],
    /// Who may log in.
    pub users: Arc<Users>,
    /// Its lane's semaphores.
    pub semaphores: LaneSemaphores,
    /// Its end of the lane's socketpair.
    pub lane: OwnedFd,
    /// How the master and the journal process wake it.
    pub wakeup: Arc<EventFd>,
    /// How it wakes the journal process.
    pub journal: Arc<EventFd>,
    /// How it wakes the replica process; `None` where there is none.
    pub replica: Option<Arc<EventFd>>,
    /// Where the journal's files are; `None` where the ledger is in memory only.
    pub directory: Option<Directory>,
    /// Where requests are logged; `None` where no service does that.
    pub access_log: Option<&'static AccessLog>,
    /// How the cache process is asked; `None` where there is none.
    pub cache: Option<&'static CacheChannel>,
    /// What it accepts from by itself, unless connections are handed to it.
    pub listeners: PerService<Option<OwnedFd>>,
}

/// A worker at work.
pub(super) struct Worker {
    pub number: u16,
    pub instance: &'static Instance,
    pub settings: &'static Settings,
    pub wakeup: Arc<EventFd>,
    pub row: &'static WorkerRow,
    pub poll: Poll,
    pub acceptor: Acceptor,
    /// Whether there may be connections to be taken in.
    pub accept_more: bool,
    pub services: Services,
    /// The time of this turn.
    pub now_ns: u64,
    /// Connections of all services.
    pub count: u32,
    /// Which connections are closed first when there is no room.
    pub candidates: PerService<Candidates>,
    /// Connections that were closed or given back and the master has not been told of.
    pub notices: Vec<ReleaseNotice>,
    /// Whether the lane had no room for them.
    pub awaits_lane: bool,
    pub next_tick_ns: u64,
    /// How often settings and users had been read when this worker last did.
    pub reloads: u64,
    /// Once stopping: when to leave whatever is still to be sent.
    pub leave_by_ns: Option<u64>,
}

/// Serves until told to leave; the process' exit code.
#[must_use]
pub fn run(start: Start) -> i32 {
    let index = start.index;
    match Worker::new(start).and_then(Worker::run) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("worker {index} cannot go on: {error}");
            1
        }
    }
}

impl Worker {
    fn new(start: Start) -> io::Result<Self> {
        let Start { index, instance, settings, services, users, semaphores, lane, wakeup, .. } = start;
        let Start { journal, replica, directory, access_log, cache, listeners, .. } = start;
        let recorder = replica.unwrap_or(journal);
        let row = &instance.workers()[index];
        crash_point::arm_from_environment(&index.to_string(), row.life.lives.get());
        // Made after the fork: an inherited epoll would be shared with the master.
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), THREADS)?);
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            // The eventfd behind it only fails when its counter is full: then it wakes up anyway.
            let _ = waker.wake();
        });
        let watcher: Rc<dyn Watcher> = Rc::new(LoopWatcher(poll.registry().try_clone()?));
        for stats in &row.stats.services {
            stats.connections.set(0);
            stats.closing.set(0);
            stats.silent.set(0);
            stats.waiting.set(0);
        }
        // Its copy of the users is as old as the master's last look at the file.
        let reloads = instance.control().reloads();
        let access_log =
            access_log.map(|log| SharedLog::start(log, index, &row.stats.bounds, wake.clone())).transpose()?;
        // A service that the settings want may have had no port; who has the default one is no reason not to start.
        let listens = |service| !instance.control().address(service).is_empty();
        let services = Services::open(services, instance.slots().ranges(), listens, |service| Context {
            service,
            worker: index,
            instance,
            settings,
            users: users.clone(),
            directory: directory.clone(),
            recorder: recorder.clone(),
            access_log: access_log.clone(),
            cache,
            status_pages: status::pages,
            wake: wake.clone(),
            watcher: watcher.clone(),
        })?;
        let number = u16::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let consumer = Consumer::new(instance.lane_ring(index), semaphores);
        let acceptor = Acceptor::new(number, instance.slots(), consumer, lane, listeners);
        watch(&poll, wakeup.as_fd(), WAKEUP, Interest::READABLE)?;
        watch(&poll, acceptor.lane(), LANE, Interest::READABLE)?;
        for listener in acceptor.listeners() {
            watch(&poll, listener, LISTENER, Interest::READABLE)?;
        }
        Ok(Worker {
            number,
            instance,
            settings,
            wakeup,
            row,
            poll,
            acceptor,
            accept_more: true,
            services,
            now_ns: 0,
            count: 0,
            candidates: PerService::default(),
            notices: Vec::new(),
            awaits_lane: false,
            next_tick_ns: 0,
            reloads,
            leave_by_ns: None,
        })
    }

    /// The loop.
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        self.row.set_state(WorkerState::Serving);
        while !self.may_leave() {
            let patience = self.patience();
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.set_time(),
            }
            for event in &events {
                self.handle(event);
            }
            self.take_connections()?;
            self.serve_scheduled();
            if self.now_ns >= self.next_tick_ns {
                self.tick();
            }
            self.send_notices()?;
        }
        self.leave()
    }

    /// The last: closes what is still open, and lets the services finish.
    fn leave(mut self) -> io::Result<()> {
        for slot in self.services.slots() {
            self.close(slot);
        }
        let sent = self.send_notices();
        self.services.finish();
        sent
    }

    /// How long there is nothing to do unless something happens.
    fn patience(&mut self) -> Duration {
        let least = self.services.iter_mut().map(|(_, host)| host.patience()).min();
        let until_tick = Duration::from_nanos(self.next_tick_ns.saturating_sub(self.now_ns));
        match least {
            _ if self.accept_more => Duration::ZERO,
            Some(Patience::None) => Duration::ZERO,
            Some(Patience::AtMost(time)) => time.min(until_tick),
            Some(Patience::Unlimited) | None => until_tick,
        }
    }

    fn set_time(&mut self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Now { monotonic_ns: monotonic_ns(), since_1970 };
        self.now_ns = now.monotonic_ns;
        for (_, host) in self.services.iter_mut() {
            host.set_time(now);
        }
        self.row.life.heartbeat_ns.set(now.monotonic_ns);
        self.row.stats.turns.add(1);
    }

    fn handle(&mut self, event: &Event) {
        match event.token() {
            LANE | LISTENER => self.accept_more = true,
            WAKEUP => self.obey(),
            // What the threads have done, and what a service watches, is looked for in every turn.
            THREADS => {}
            Token(slot) => {
                let Ok(slot) = u32::try_from(slot) else { return };
                let Some(host) = self.services.of(slot) else { return };
                let Some(state) = host.state(slot) else { return };
                state.hung_up |= event.is_read_closed() || event.is_error();
                state.readable |= event.is_readable() || state.hung_up;
                if event.is_error() && host.awaits_threads(slot) {
                    // Nobody will read what they work for.
                    self.close(slot);
                } else {
                    self.serve(slot);
                }
            }
        }
    }

    /// The counters of the connections of the service that `slot` belongs to.
    pub fn service_stats(&self, slot: u32) -> &'static ServiceStats {
        self.stats_of(self.services.id_of(slot))
    }

    /// The counters of the connections of a service.
    pub fn stats_of(&self, service: ServiceId) -> &'static ServiceStats {
        &self.row.stats.services[service.index()]
    }
}

/// What services have of this loop.
struct LoopWatcher(Registry);

impl Watcher for LoopWatcher {
    fn watch_writable(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.register(&mut SourceFd(&fd.as_raw_fd()), THREADS, Interest::WRITABLE)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = self.0.deregister(&mut SourceFd(&fd.as_raw_fd()));
    }
}

/// Watches `fd`, edge-triggered as all of mio is.
pub(super) fn watch(poll: &Poll, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest)
}
