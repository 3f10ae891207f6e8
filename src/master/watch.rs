//! The watch: the master's loop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::config::AcceptMode;
use crate::connection::{PerService, Service};
use crate::ipc::process::monotonic_ns;
use crate::ipc::{IpcError, fdpass, net};
use crate::limits::MAX_WORKERS;
use crate::master::crew::{Common, Post};
use crate::master::dispatch::Connections;
use crate::master::mail::Errands;
use crate::master::scribe::Scribe;
use crate::master::upgrade::Rolling;
use crate::master::{MasterError, signal_set};
use crate::worker::Farewell;

const SIGNALS: Token = Token(0);
/// Of whatever connections are accepted from.
pub(super) const DOOR: Token = Token(1);
pub(super) const JOURNAL: Token = Token(usize::MAX);
/// Tokens of the workers' pidfds begin here, in steps of two; those of their lanes lie between.
const CREW: usize = 2;

/// Connections accepted before the workers are looked after again.
const PER_TURN: usize = 64;
/// How soon a dead worker's operation is looked at again when a living worker is just mending one of its accounts.
const SETTLE_AGAIN: Duration = Duration::from_millis(1);
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// The signals that the master reads.
pub(super) fn handled_signals() -> SigSet {
    use Signal::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    signal_set(&[SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2])
}

/// A listening socket for each service that is on.
pub(super) type Doors = PerService<Option<OwnedFd>>;

/// Further descriptors of the same sockets.
///
/// # Errors
/// There are too many descriptors.
pub(super) fn duplicate(doors: &Doors) -> Result<Doors, MasterError> {
    let [bank, web] = doors.each_ref().map(|door| door.as_ref().map(OwnedFd::try_clone).transpose());
    let failed = |source| MasterError::Io { step: "duplicate a listening socket", source };
    Ok([bank.map_err(failed)?, web.map_err(failed)?])
}

/// How far an orderly stop got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// Nobody asked for it.
    No,
    /// Workers send what is queued; who is not done by then is killed.
    Until(u64),
}

/// The master at work.
pub struct Master {
    pub(super) common: Common,
    pub(super) addresses: PerService<Option<SocketAddr>>,
    pub(super) poll: Poll,
    pub(super) signals: SignalFd,
    /// What connections are accepted from; none in the modes where workers accept by themselves.
    pub(super) doors: Doors,
    /// Whether a connection may be waiting at one of them.
    pub(super) knocked: bool,
    /// What workers of `shared` mode accept from.
    pub(super) shared_listeners: Doors,
    pub(super) posts: Vec<Option<Post>>,
    pub(super) connections: Connections,
    /// The journal process, as long as there is to be one.
    pub(super) scribe: Option<Scribe>,
    pub(super) journal_failed: bool,
    /// What a tool has asked for and is not done.
    pub(super) errand: Option<Errands>,
    /// The replacement of the children after an upgrade, until it is done.
    pub(super) rolling: Option<Rolling>,
    pub(super) stopping: Stopping,
    pub(super) last_turn_ns: u64,
    /// Workers are not late before: after the master itself was stopped for a while.
    pub(super) forbearing_until_ns: u64,
}

impl Master {
    /// Makes all posts and fills them.
    pub(super) fn new(
        common: Common,
        doors: Doors,
        addresses: PerService<Option<SocketAddr>>,
    ) -> Result<Self, MasterError> {
        let mut master = Self::bare(common, addresses)?;
        // With `reuseport` the first worker has the sockets that told which addresses are free.
        let mut first = None;
        match master.common.settings.accept {
            AcceptMode::Dispatch => {
                master.doors = doors;
                master.watch_doors()?;
            }
            AcceptMode::Shared => master.shared_listeners = doors,
            AcceptMode::Reuseport => first = Some(doors),
        }
        master.see_to_scribe(monotonic_ns())?;
        for index in 0..master.common.settings.workers {
            let own = first.take().map_or_else(|| master.own_listeners(), Ok)?;
            master.add_post(index, own)?;
        }
        Ok(master)
    }

    /// Without a socket, a connection, or a child.
    pub(super) fn bare(common: Common, addresses: PerService<Option<SocketAddr>>) -> Result<Self, MasterError> {
        let poll = Poll::new().map_err(|source| MasterError::Io { step: "make an epoll", source })?;
        let signals = SignalFd::with_flags(&handled_signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| IpcError::system("make", "a signalfd", errno))?;
        let master = Master {
            addresses,
            poll,
            signals,
            doors: [None, None],
            knocked: false,
            shared_listeners: [None, None],
            posts: std::iter::repeat_with(|| None).take(MAX_WORKERS).collect(),
            connections: Connections::new(common.instance),
            scribe: common.directory.clone().map(Scribe::new),
            journal_failed: false,
            errand: None,
            rolling: None,
            stopping: Stopping::No,
            last_turn_ns: monotonic_ns(),
            forbearing_until_ns: 0,
            common,
        };
        master.watch_fd(SIGNALS, Which::Signals)?;
        Ok(master)
    }

    /// The loop: reap, one signal, kill late ones, respawn, accept.
    pub(super) fn watch(&mut self) -> Result<(), MasterError> {
        let mut events = Events::with_capacity(256);
        while !self.is_over() {
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                    return Err(MasterError::Io { step: "wait for events", source });
                }
                _ => {}
            }
            let now = self.set_time();
            for event in &events {
                match event.token() {
                    SIGNALS => self.take_signals(now)?,
                    DOOR => self.knocked = true,
                    JOURNAL => self.collect_scribe(now)?,
                    Token(token) if token % 2 == 0 => self.collect((token - CREW) / 2, now)?,
                    Token(token) => self.hear((token - CREW) / 2),
                }
            }
            self.settle_the_dead()?;
            self.kill_late(now)?;
            self.fill_posts(now)?;
            self.see_to_scribe(now)?;
            self.accept()?;
            self.answer_mail();
            self.roll();
        }
        if self.journal_failed { Err(MasterError::JournalFailed) } else { Ok(()) }
    }

    fn is_over(&self) -> bool {
        self.stopping != Stopping::No && self.no_workers() && self.scribe.is_none()
    }

    pub(super) fn no_workers(&self) -> bool {
        self.posts.iter().flatten().all(|post| post.crewman.is_none() && !post.unsettled)
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Duration {
        if self.knocked && !self.connections.any_waiting() {
            return Duration::ZERO;
        }
        let now = self.last_turn_ns;
        let empty = |post: &&Post| post.crewman.is_none();
        let fill = self.posts.iter().flatten().filter(empty).map(|post| post.fill_at_ns.saturating_sub(now));
        let scribe = self.scribe.iter().filter(|scribe| scribe.child.is_none());
        let fill = fill.chain(scribe.map(|scribe| scribe.fill_at_ns.saturating_sub(now)));
        let settle = self.posts.iter().flatten().any(|post| post.unsettled);
        let soonest = fill.min().map_or(SECOND_NS / 4, |wait| wait.min(SECOND_NS / 4));
        let wait = Duration::from_nanos(soonest) + Duration::from_micros(50);
        if settle { SETTLE_AGAIN } else { wait }
    }

    fn set_time(&mut self) -> u64 {
        let now = monotonic_ns();
        let timeout = self.worker_timeout_ns();
        if now.saturating_sub(self.last_turn_ns) > timeout / 2 {
            // This process was stopped, and with it perhaps the workers: their heartbeats say nothing yet.
            self.forbearing_until_ns = now + timeout;
        }
        self.last_turn_ns = now;
        now
    }

    pub(super) fn worker_timeout_ns(&self) -> u64 {
        u64::try_from(self.common.settings.worker_timeout.as_nanos()).unwrap_or(u64::MAX)
    }

    /// What a worker that accepts by itself accepts from: with `reuseport` sockets of its own.
    pub(super) fn own_listeners(&self) -> Result<Doors, MasterError> {
        if self.common.settings.accept != AcceptMode::Reuseport {
            return duplicate(&self.shared_listeners);
        }
        let [bank, web] = Service::ALL.map(|service| {
            self.addresses[service.index()].map(|address| super::listen_for(service, address, true)).transpose()
        });
        Ok([bank?, web?])
    }

    pub(super) fn add_post(&mut self, index: usize, listeners: Doors) -> Result<(), MasterError> {
        self.posts[index] = Some(Post::new(&self.common, index, listeners)?);
        self.fill(index)
    }

    pub(super) fn fill(&mut self, index: usize) -> Result<(), MasterError> {
        if let Some(post) = self.posts[index].as_mut() {
            post.fill(&self.common)?;
            self.watch_crewman(index)?;
            // Connections may have been waiting for a worker.
            self.knocked = true;
        }
        Ok(())
    }

    /// Watches the worker of a post and its lane.
    pub(super) fn watch_crewman(&self, index: usize) -> Result<(), MasterError> {
        self.watch_fd(Token(CREW + 2 * index), Which::Child(index))?;
        self.watch_fd(Token(CREW + 2 * index + 1), Which::Lane(index))
    }

    /// A worker says which connections it has closed, or that its lane has room again.
    fn hear(&mut self, index: usize) {
        let Some(post) = self.posts.get_mut(index).and_then(Option::as_mut) else { return };
        let mut buffer = [0; Farewell::BYTES * Farewell::MOST];
        loop {
            let Some(crewman) = &post.crewman else { return };
            // Closed, or nothing more: the pidfd says when it is dead.
            let Ok(Some(message)) = fdpass::receive(crewman.lane.as_fd(), &mut buffer) else { return };
            let (farewells, _) = buffer[..message.length].as_chunks::<{ Farewell::BYTES }>();
            for farewell in farewells.iter().copied().map(Farewell::from_bytes) {
                if farewell != Farewell::ROOM && !self.connections.part(farewell, post) {
                    log::error!("worker {index} says good-bye for a connection it does not have: {farewell:?}");
                }
            }
            // A slot or a descriptor is free again, a connection is to be handed on, or the lane has room.
            self.knocked = true;
        }
    }

    /// Accepts connections and hands them over, those first that have been waiting for room.
    fn accept(&mut self) -> Result<(), MasterError> {
        let control = self.common.instance.control();
        for _ in 0..PER_TURN {
            if self.connections.any_waiting() {
                // Said before the lanes are tried: a worker that makes room afterwards sees it.
                control.set_accept_paused(true);
                if self.connections.hand_over_waiting(&mut self.posts).is_err() {
                    self.knocked = false;
                    return Ok(());
                }
                control.set_accept_paused(false);
            }
            if !self.knocked {
                return Ok(());
            }
            // Each door in its turn, so that a crowd at one does not keep those at the other waiting.
            let mut came = false;
            for service in Service::ALL {
                let Some(door) = &self.doors[service.index()] else { continue };
                if !self.connections.has_slot(service) {
                    continue;
                }
                match net::accept(door.as_fd()) {
                    Ok(Some(socket)) => {
                        came = true;
                        self.connections.take_in(service, socket, &mut self.posts);
                    }
                    Ok(None) => {}
                    // Out of descriptors or memory: the next connection that ends gives some back.
                    Err(error) => log::warn!("cannot accept a connection: {error}"),
                }
            }
            self.knocked = came;
        }
        Ok(())
    }

    /// Watches what connections are accepted from.
    pub(super) fn watch_doors(&self) -> Result<(), MasterError> {
        Service::ALL.into_iter().try_for_each(|service| self.watch_fd(DOOR, Which::Door(service)))
    }

    /// The process ids of the workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<i32> {
        self.posts
            .iter()
            .flatten()
            .filter_map(|post| post.crewman.as_ref())
            .map(|crewman| crewman.child.pid())
            .collect()
    }

    pub(super) fn watch_fd(&self, token: Token, which: Which) -> Result<(), MasterError> {
        let crewman = |index: usize| self.posts[index].as_ref().and_then(|post| post.crewman.as_ref());
        let fd: Option<BorrowedFd<'_>> = match which {
            Which::Signals => Some(self.signals.as_fd()),
            Which::Door(service) => self.doors[service.index()].as_ref().map(AsFd::as_fd),
            Which::Child(index) => crewman(index).map(|crewman| crewman.child.as_fd()),
            Which::Journal => self.scribe.as_ref().and_then(|scribe| scribe.child.as_ref()).map(AsFd::as_fd),
            Which::Lane(index) => crewman(index).map(|crewman| crewman.lane.as_fd()),
        };
        let Some(fd) = fd else { return Ok(()) };
        self.poll
            .registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)
            .map_err(|source| MasterError::Io { step: "watch a descriptor", source })
    }
}

/// What the master watches.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Signals,
    Journal,
    Door(Service),
    Child(usize),
    Lane(usize),
}
