//! The child processes and what connects the master with them. The supervisor decides when they are started.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::config::{ClusterSettings, ConfigError, Settings};
use crate::base::limits::ACCEPT_BACKOFF_MS;
use crate::ipc::event::EventFd;
use crate::ipc::lane::{LaneSemaphores, Producer};
use crate::ipc::process::{self, Child};
use crate::ipc::{IpcError, fdpass};
use crate::process::cache::{self, CacheArguments};
use crate::process::journal;
use crate::process::replica::{self, ReplicaArguments};
use crate::process::worker;
use crate::service::entry::Entry;
use crate::store::access_log::AccessLog;
use crate::store::cache_channel::CacheChannel;
use crate::store::connection::PerService;
use crate::store::instance::Instance;
use crate::store::journal::Directory;
use crate::store::users::Users;

/// A listening socket for each service that is on.
pub type Listeners = PerService<Option<OwnedFd>>;

/// What the replica process is reached by; made once, so that it outlives each of these processes.
pub struct ReplicaChannel {
    /// How it is woken up.
    pub wakeup: Arc<EventFd>,
    /// Where peers connect to.
    pub listener: Arc<OwnedFd>,
}

impl ReplicaChannel {
    /// One for peers that connect to `listener`.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(listener: OwnedFd) -> Result<Self, IpcError> {
        Ok(ReplicaChannel { wakeup: Arc::new(EventFd::new()?), listener: Arc::new(listener) })
    }
}

/// What the master has, and gives to its children.
pub struct Common {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// The services that the server offers.
    pub services: &'static [Entry],
    /// The program that an upgrade executes: the path by which this one was invoked.
    pub program: PathBuf,
    /// Reads the settings again.
    pub read_settings: Box<dyn Fn() -> Result<Settings, ConfigError>>,
    /// Who may log in.
    pub users: Arc<Users>,
    /// How each worker is woken up, by its number; made once, so that the journal process has them for all lives of a worker.
    pub wakeups: Vec<Arc<EventFd>>,
    /// How the journal process is woken up.
    pub journal: Arc<EventFd>,
    /// Where requests are logged; `None` where no service that is on writes to it.
    pub access_log: Option<&'static AccessLog>,
    /// How the cache process is asked; `None` where no service that is on needs it.
    pub cache: Option<&'static CacheChannel>,
    /// How the replica process is reached; `None` where no peers are configured.
    pub replica: Option<ReplicaChannel>,
    /// Where the journal is; `None` where the accounts are in memory only.
    pub directory: Option<Directory>,
    /// The lock of the data directory. Every child keeps it open, so it is held as long as one of them lives.
    pub data_lock: File,
}

/// Further descriptors of the same sockets.
///
/// # Errors
/// There are too many descriptors.
pub fn duplicate(listeners: &Listeners) -> Result<Listeners, IpcError> {
    let failed = |error| IpcError::io("duplicate", "a listening socket", &error);
    let mut duplicates = Listeners::default();
    for (duplicate, socket) in duplicates.iter_mut().zip(listeners) {
        *duplicate = socket.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed)?;
    }
    Ok(duplicates)
}

/// What connections are accepted from, and when to try.
#[derive(Default)]
pub struct Accepting {
    /// Nothing in the modes where workers accept by themselves.
    pub listeners: Listeners,
    /// Whether a connection may be waiting at one of them, or one that waits for a lane may find room.
    pub ready: bool,
    /// Whether no slot was free for some service, or no lane had room, when connections were last accepted: others may wait that no event
    /// will tell of.
    pub is_short: bool,
    /// After a failure, for want of a descriptor or of memory: when to try again, nanoseconds of the monotonic clock.
    pub not_before_ns: u64,
    /// Failures since the last connection that was accepted.
    pub failures: u64,
}

impl Accepting {
    /// When to try to accept, if at all; not while others wait for room in a lane.
    #[must_use]
    pub fn next_try_ns(&self, now_ns: u64, any_waiting: bool) -> Option<u64> {
        (self.ready && !any_waiting).then(|| self.not_before_ns.max(now_ns))
    }

    /// Notes that accepting has failed; whether to log it. A shortage that lasts must not fill the log.
    pub fn failed(&mut self, now_ns: u64) -> bool {
        self.not_before_ns = now_ns + ACCEPT_BACKOFF_MS * 1_000_000;
        self.failures += 1;
        self.failures.is_power_of_two()
    }
}

/// A worker process and the master's end of what connects them.
pub struct WorkerProcess {
    /// The process.
    pub child: Child,
    /// The master's end of the socketpair.
    pub lane: OwnedFd,
    /// How often the loop of this slot's workers had turned before this one.
    pub turns_before: u64,
}

/// A worker as the master has it: what outlives its processes, and the process, if there is one.
pub struct WorkerSlot {
    /// Its number.
    pub index: usize,
    /// The master's end of the lane.
    pub producer: Producer<'static>,
    semaphores: LaneSemaphores,
    /// What its worker accepts from, if it accepts by itself; open here as well, so that connections in the backlog survive the worker.
    pub listeners: Listeners,
    /// The process, if there is one.
    pub process: Option<WorkerProcess>,
    /// Whether the process was asked to leave, so that no connection is to be handed to it.
    pub leaving: bool,
    /// Connections that its worker has.
    pub connections: u32,
}

impl WorkerSlot {
    /// A slot without a process, with a lane of its own.
    ///
    /// # Errors
    /// Its semaphores cannot be made.
    pub fn new(instance: &'static Instance, index: usize, listeners: Listeners) -> Result<Self, IpcError> {
        let semaphores = instance.make_lane(index)?;
        let producer =
            Producer::new(instance.lane_ring(index), semaphores.clone(), instance.control().queue_depth.get());
        Ok(Self::with(index, listeners, semaphores, producer))
    }

    /// A slot that the previous program made, with its semaphores. The caller adds the process.
    #[must_use]
    pub fn adopt(
        instance: &'static Instance,
        index: usize,
        listeners: Listeners,
        semaphores: LaneSemaphores,
        owes_retraction: bool,
    ) -> Self {
        let (ring, depth) = (instance.lane_ring(index), instance.control().queue_depth.get());
        let producer = Producer::adopt(ring, semaphores.clone(), depth, owes_retraction);
        Self::with(index, listeners, semaphores, producer)
    }

    fn with(index: usize, listeners: Listeners, semaphores: LaneSemaphores, producer: Producer<'static>) -> Self {
        WorkerSlot { index, producer, semaphores, listeners, process: None, leaving: false, connections: 0 }
    }

    /// Whether connections can be handed to its worker.
    #[must_use]
    pub fn takes_connections(&self) -> bool {
        self.process.is_some() && !self.leaving
    }

    /// Forks a worker.
    ///
    /// # Errors
    /// The socketpair, a descriptor or the process cannot be made. Nothing is left of the attempt.
    pub fn start(&mut self, common: &Common) -> Result<(), IpcError> {
        let Common { instance, settings, services, access_log, cache, .. } = *common;
        let (index, users, semaphores) = (self.index, common.users.clone(), self.semaphores.clone());
        let row = &instance.workers()[index];
        self.producer.reset();
        let (ours, theirs) = fdpass::pair()?;
        let (wakeup, journal, directory) =
            (common.wakeups[index].clone(), common.journal.clone(), common.directory.clone());
        let listeners = duplicate(&self.listeners)?;
        let mut keep = vec![theirs.as_raw_fd(), common.data_lock.as_raw_fd()];
        let replica = common.replica.as_ref().map(|channel| channel.wakeup.clone());
        keep.extend([&wakeup, &journal].into_iter().chain(&replica).map(|wakeup| wakeup.as_fd().as_raw_fd()));
        keep.extend(listeners.iter().flatten().map(AsRawFd::as_raw_fd));
        keep.extend(cache.iter().flat_map(|channel| channel.wake_ups.descriptors()).map(|fd| fd.as_raw_fd()));
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        let turns_before = row.stats.turns.get();
        row.begin_life(process::monotonic_ns());
        let child = process::spawn(&format!("vault-worker-{index}"), &keep, move || {
            let lane = theirs;
            worker::run(worker::Start {
                index,
                instance,
                settings,
                services,
                users,
                semaphores,
                lane,
                wakeup,
                journal,
                replica,
                directory,
                access_log,
                cache,
                listeners,
            })
        });
        let child = child.inspect_err(|_| {
            row.life.cancel();
            row.end_life();
        })?;
        row.life.pid.set(u32::try_from(child.pid()).unwrap_or(0));
        self.leaving = false;
        self.process = Some(WorkerProcess { child, lane: ours, turns_before });
        Ok(())
    }
}

/// The journal process and what it is started with.
pub struct JournalProcess {
    directory: Directory,
    /// The process, if there is one.
    pub child: Option<Child>,
    /// When it was started, nanoseconds of the monotonic clock.
    pub started_ns: u64,
}

impl JournalProcess {
    /// None yet, for the journal in `directory`.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        JournalProcess { directory, child: None, started_ns: 0 }
    }

    /// Forks a journal process.
    ///
    /// # Errors
    /// It cannot be made. Nothing is left of the attempt.
    pub fn start(&mut self, common: &Common) -> Result<(), IpcError> {
        let Common { instance, settings, .. } = *common;
        let row = instance.journal_row();
        let (directory, wakeup, workers) = (self.directory.clone(), common.journal.clone(), common.wakeups.clone());
        let replica = common.replica.as_ref().map(|channel| channel.wakeup.clone());
        let arguments = journal::JournalArguments { instance, settings, directory, wakeup, workers, replica };
        let mut keep = arguments.descriptors();
        keep.push(common.data_lock.as_raw_fd());
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        self.started_ns = process::monotonic_ns();
        row.life.begin(self.started_ns);
        let child = process::spawn("vault-journal", &keep, move || journal::run(arguments));
        let child = child.inspect_err(|_| row.life.cancel())?;
        row.life.pid.set(u32::try_from(child.pid()).unwrap_or(0));
        self.child = Some(child);
        Ok(())
    }
}

/// The cache process and what it is started with.
pub struct CacheProcess {
    channel: &'static CacheChannel,
    /// The process, if there is one.
    pub child: Option<Child>,
    /// When it was started, nanoseconds of the monotonic clock.
    pub started_ns: u64,
}

impl CacheProcess {
    /// None yet, for those who ask through `channel`.
    #[must_use]
    pub fn new(channel: &'static CacheChannel) -> Self {
        CacheProcess { channel, child: None, started_ns: 0 }
    }

    /// Forks a cache process.
    ///
    /// # Errors
    /// It cannot be made. Nothing is left of the attempt.
    pub fn start(&mut self, common: &Common) -> Result<(), IpcError> {
        let Common { instance, settings, .. } = *common;
        let row = instance.cache_row();
        let reloads = Box::new(|| instance.control().reloads());
        let arguments = CacheArguments { row, channel: self.channel, settings, reloads };
        let mut keep = arguments.descriptors();
        keep.push(common.data_lock.as_raw_fd());
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        self.started_ns = process::monotonic_ns();
        row.life.begin(self.started_ns);
        let child = process::spawn("vault-cache", &keep, move || cache::run(arguments));
        let child = child.inspect_err(|_| row.life.cancel())?;
        row.life.pid.set(u32::try_from(child.pid()).unwrap_or(0));
        self.child = Some(child);
        Ok(())
    }
}

/// The replica process and what it is started with.
pub struct ReplicaProcess {
    cluster: &'static ClusterSettings,
    directory: Directory,
    /// The process, if there is one.
    pub child: Option<Child>,
    /// When it was started, nanoseconds of the monotonic clock.
    pub started_ns: u64,
}

impl ReplicaProcess {
    /// None yet, for a member of `cluster` whose journal is in `directory`.
    #[must_use]
    pub fn new(cluster: &'static ClusterSettings, directory: Directory) -> Self {
        ReplicaProcess { cluster, directory, child: None, started_ns: 0 }
    }

    /// Forks a replica process.
    ///
    /// # Errors
    /// It cannot be made. Nothing is left of the attempt.
    pub fn start(&mut self, common: &Common, channel: &ReplicaChannel) -> Result<(), IpcError> {
        let Common { instance, settings, .. } = *common;
        let row = instance.replica_row();
        let arguments = ReplicaArguments {
            instance,
            settings,
            cluster: self.cluster,
            directory: self.directory.clone(),
            listener: channel.listener.clone(),
            wakeup: channel.wakeup.clone(),
            journal: common.journal.clone(),
            workers: common.wakeups.clone(),
        };
        let mut keep = arguments.descriptors();
        keep.push(common.data_lock.as_raw_fd());
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        self.started_ns = process::monotonic_ns();
        row.life.begin(self.started_ns);
        let child = process::spawn("vault-replica", &keep, move || replica::run(arguments));
        let child = child.inspect_err(|_| row.life.cancel())?;
        row.life.pid.set(u32::try_from(child.pid()).unwrap_or(0));
        self.child = Some(child);
        Ok(())
    }
}
