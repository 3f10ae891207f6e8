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
use crate::instance::control::Orders;
use crate::ipc::process::monotonic_ns;
use crate::ipc::{IpcError, fdpass, net};
use crate::ledger::repair::{self, Settled};
use crate::limits::{MAX_WORKERS, STOP_DEADLINE_SECONDS};
use crate::master::crew::{Common, Post};
use crate::master::dispatch::Connections;
use crate::master::{MasterError, signal_set};
use crate::worker::Farewell;

const SIGNALS: Token = Token(0);
const DOOR: Token = Token(1);
/// Tokens of the workers' pidfds begin here, in steps of two; those of their lanes lie between.
const CREW: usize = 2;

/// Connections accepted before the workers are looked after again.
const PER_TURN: usize = 64;
/// How soon a dead worker's operation is looked at again when a living worker is just mending one of its accounts.
const SETTLE_AGAIN: Duration = Duration::from_millis(1);
const SECOND_NS: u64 = 1_000_000_000;

/// The signals that the master reads.
pub(super) fn handled_signals() -> SigSet {
    use Signal::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    signal_set(&[SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2])
}

/// How far an orderly stop got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    /// Nobody asked for it.
    No,
    /// Workers send what is queued; who is not done by then is killed.
    Until(u64),
}

/// The master at work.
pub struct Master {
    common: Common,
    address: SocketAddr,
    poll: Poll,
    signals: SignalFd,
    /// What connections are accepted from; none in the modes where workers accept by themselves.
    door: Option<OwnedFd>,
    /// Whether a connection may be waiting there.
    knocked: bool,
    /// What workers of `shared` mode accept from.
    shared_listener: Option<OwnedFd>,
    posts: Vec<Option<Post>>,
    connections: Connections,
    stopping: Stopping,
    last_turn_ns: u64,
    /// Workers are not late before: after the master itself was stopped for a while.
    forbearing_until_ns: u64,
}

impl Master {
    /// Makes all posts and fills them.
    pub(super) fn new(common: Common, listeners: Vec<OwnedFd>, address: SocketAddr) -> Result<Self, MasterError> {
        let poll = Poll::new().map_err(|source| MasterError::Io { step: "make an epoll", source })?;
        let signals = SignalFd::with_flags(&handled_signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| IpcError::system("make", "a signalfd", errno))?;
        let mut master = Master {
            address,
            poll,
            signals,
            door: None,
            knocked: false,
            shared_listener: None,
            posts: std::iter::repeat_with(|| None).take(MAX_WORKERS).collect(),
            connections: Connections::new(common.instance.connections()),
            stopping: Stopping::No,
            last_turn_ns: monotonic_ns(),
            forbearing_until_ns: 0,
            common,
        };
        master.watch_fd(SIGNALS, Which::Signals)?;
        let mut listeners = listeners.into_iter();
        match master.common.settings.accept {
            AcceptMode::Dispatch => {
                master.door = listeners.next();
                master.watch_fd(DOOR, Which::Door)?;
            }
            AcceptMode::Shared => master.shared_listener = listeners.next(),
            AcceptMode::Reuseport => {}
        }
        for index in 0..master.common.settings.workers {
            master.add_post(index, listeners.next())?;
        }
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
                    Token(token) if token % 2 == 0 => self.collect((token - CREW) / 2, now)?,
                    Token(token) => self.hear((token - CREW) / 2),
                }
            }
            self.settle_the_dead()?;
            self.kill_late(now)?;
            self.fill_posts(now)?;
            self.accept()?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopping != Stopping::No && self.posts.iter().flatten().all(|post| post.crewman.is_none())
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Duration {
        if self.knocked && !self.connections.any_waiting() {
            return Duration::ZERO;
        }
        let now = self.last_turn_ns;
        let empty = |post: &&Post| post.crewman.is_none();
        let fill = self.posts.iter().flatten().filter(empty).map(|post| post.fill_at_ns.saturating_sub(now));
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

    fn worker_timeout_ns(&self) -> u64 {
        u64::try_from(self.common.settings.worker_timeout.as_nanos()).unwrap_or(u64::MAX)
    }

    fn take_signals(&mut self, now: u64) -> Result<(), MasterError> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(signal @ (Signal::SIGINT | Signal::SIGTERM)) => self.stop(signal, now)?,
                Ok(Signal::SIGTTIN) => self.enlist()?,
                Ok(Signal::SIGTTOU) => self.retire(),
                Ok(other) => log::warn!("{other}: nothing is done on this signal"),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The first time: an orderly stop. The second: a quick one. The third: an end.
    fn stop(&mut self, signal: Signal, now: u64) -> Result<(), MasterError> {
        let control = self.common.instance.control();
        match (self.stopping, control.orders()) {
            (Stopping::No, _) => {
                log::info!("{signal}: stopping; once more to hurry");
                self.stopping = Stopping::Until(now + STOP_DEADLINE_SECONDS * SECOND_NS);
                control.order(Orders::Stop);
                self.close_door();
            }
            (_, Orders::Serve | Orders::Stop) => {
                log::warn!("{signal} again: hurrying");
                control.order(Orders::Hurry);
            }
            (_, Orders::Hurry) => {
                log::warn!("{signal} again: killing the workers");
                self.posts.iter_mut().flatten().try_for_each(Post::kill)?;
            }
        }
        self.posts.iter().flatten().for_each(Post::nudge);
        Ok(())
    }

    fn close_door(&mut self) {
        if let Some(door) = self.door.take() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&door.as_raw_fd()));
        }
        self.shared_listener = None;
        self.knocked = false;
    }

    /// One worker more.
    fn enlist(&mut self) -> Result<(), MasterError> {
        if self.stopping != Stopping::No {
            return Ok(());
        }
        let Some(index) = self.posts.iter().position(Option::is_none) else {
            log::warn!("SIGTTIN: there are {MAX_WORKERS} workers, which is the most there can be");
            return Ok(());
        };
        let own = self.common.settings.accept == AcceptMode::Reuseport;
        let listener = own.then(|| net::listener(self.address, true)).transpose()?;
        log::info!("SIGTTIN: worker {index} joins");
        self.add_post(index, listener)
    }

    /// One worker less: it finishes with the connections it has.
    fn retire(&mut self) {
        let serving = self.posts.iter().flatten().filter(|post| !post.leaving).count();
        let last = self.posts.iter_mut().rev().flatten().find(|post| !post.leaving);
        match last {
            Some(post) if serving > 1 => {
                log::info!("SIGTTOU: worker {} leaves when its {} connections end", post.index, post.connections);
                post.leaving = true;
                self.common.instance.workers()[post.index].ask_to_leave();
                post.nudge();
            }
            _ => log::warn!("SIGTTOU: the last worker stays"),
        }
    }

    fn add_post(&mut self, index: usize, listener: Option<OwnedFd>) -> Result<(), MasterError> {
        let shared = self.shared_listener.as_ref().map(OwnedFd::try_clone).transpose();
        let shared = shared.map_err(|source| MasterError::Io { step: "duplicate the listening socket", source })?;
        self.posts[index] = Some(Post::new(self.common.instance, index, listener.or(shared))?);
        self.fill(index)
    }

    fn fill(&mut self, index: usize) -> Result<(), MasterError> {
        if let Some(post) = self.posts[index].as_mut() {
            post.fill(&self.common)?;
            self.watch_fd(Token(CREW + 2 * index), Which::Child(index))?;
            self.watch_fd(Token(CREW + 2 * index + 1), Which::Lane(index))?;
            // Connections may have been waiting for a worker.
            self.knocked |= self.door.is_some();
        }
        Ok(())
    }

    /// A worker may have ended.
    fn collect(&mut self, index: usize, now: u64) -> Result<(), MasterError> {
        let Some(post) = self.posts.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let Some((crewman, ending)) = post.reap(now, self.common.instance.workers()[index].stats.turns.get())? else {
            return Ok(());
        };
        // A pidfd stays ready after its process was collected.
        for fd in [crewman.child.as_fd(), crewman.lane.as_fd()] {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
        self.common.instance.workers()[index].end_life();
        let expected = ending.orderly && (post.leaving || self.stopping != Stopping::No);
        let level = if expected { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "worker {index} (pid {}) ended: {}", crewman.child.pid(), ending.text);
        Ok(())
    }

    /// Sees to what dead workers left: their operation first, then their connections.
    fn settle_the_dead(&mut self) -> Result<(), MasterError> {
        let instance = self.common.instance;
        for index in 0..self.posts.len() {
            let Some(post) = self.posts[index].as_mut().filter(|post| post.unsettled) else { continue };
            match repair::settle(instance.table(), index) {
                Err(crate::ipc::robust::Busy) => continue,
                Ok(Settled::Idle) => {}
                Ok(Settled::Dropped) => log::warn!("worker {index}: the operation it had begun is dropped"),
                Ok(Settled::Finished { lsn, connection, progress }) => {
                    log::warn!("worker {index}: operation {lsn}, which it had committed, is finished");
                    if let Some(slot) = instance.connections().get(connection as usize) {
                        slot.progress_word().store(progress, std::sync::atomic::Ordering::Release);
                    }
                }
            }
            post.unsettled = false;
            post.connections = 0;
            let orphans = self.connections.see_to_orphans(index);
            if orphans.rehanded + orphans.closed > 0 {
                let (rehanded, closed) = (orphans.rehanded, orphans.closed);
                log::warn!("worker {index}: {closed} connections closed with it, {rehanded} handed to others");
            }
            self.knocked |= self.door.is_some();
            if post.leaving {
                self.posts[index] = None;
                instance.unmake_lane(index)?;
            }
        }
        Ok(())
    }

    /// Kills workers that have shown no life for too long, and at the end of an orderly stop those that are left.
    fn kill_late(&mut self, now: u64) -> Result<(), MasterError> {
        let timeout = self.worker_timeout_ns();
        let out_of_time = matches!(self.stopping, Stopping::Until(deadline) if now >= deadline);
        let alive = |post: &&mut Post| post.crewman.as_ref().is_some_and(|crewman| !crewman.killed);
        for post in self.posts.iter_mut().flatten().filter(alive) {
            let row = &self.common.instance.workers()[post.index];
            let silent = now.saturating_sub(row.heartbeat_ns());
            let late = silent >= timeout && now >= self.forbearing_until_ns;
            if late || out_of_time {
                log::warn!("worker {}: no life for {} ms; killing it", post.index, silent / 1_000_000);
                post.kill()?;
            }
        }
        Ok(())
    }

    fn fill_posts(&mut self, now: u64) -> Result<(), MasterError> {
        if self.stopping != Stopping::No {
            return Ok(());
        }
        for index in 0..self.posts.len() {
            let due = |post: &Post| post.crewman.is_none() && !post.unsettled && now >= post.fill_at_ns;
            if self.posts[index].as_ref().is_some_and(due) {
                self.fill(index)?;
                log::info!("worker {index} is back");
            }
        }
        Ok(())
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
                if farewell != Farewell::ROOM && !self.connections.close(farewell, post) {
                    log::error!("worker {index} says good-bye for a connection it does not have: {farewell:?}");
                }
            }
            // A slot or a descriptor is free again, or the lane has room.
            self.knocked |= self.door.is_some();
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
            let Some(door) = self.door.as_ref().filter(|_| self.knocked) else { return Ok(()) };
            match net::accept(door.as_fd()) {
                Ok(Some(socket)) => self.connections.take_in(socket, &mut self.posts),
                Ok(None) => {
                    self.knocked = false;
                    return Ok(());
                }
                Err(error) => {
                    // Out of descriptors or memory: the next connection that ends gives some back.
                    log::warn!("cannot accept a connection: {error}");
                    self.knocked = false;
                    return Ok(());
                }
            }
        }
        Ok(())
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

    fn watch_fd(&self, token: Token, which: Which) -> Result<(), MasterError> {
        let crewman = |index: usize| self.posts[index].as_ref().and_then(|post| post.crewman.as_ref());
        let fd: Option<BorrowedFd<'_>> = match which {
            Which::Signals => Some(self.signals.as_fd()),
            Which::Door => self.door.as_ref().map(AsFd::as_fd),
            Which::Child(index) => crewman(index).map(|crewman| crewman.child.as_fd()),
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
enum Which {
    Signals,
    Door,
    Child(usize),
    Lane(usize),
}
