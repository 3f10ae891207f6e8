//! Going on where the previous program of this process stopped.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::execute::go_back;
use super::hand_over::{
    Descriptors, HandOver, HandedOverCache, HandedOverChild, HandedOverReplica, RETURNED, VARIABLE, layout,
    users_that_were_known,
};
use crate::base::config::{AcceptMode, ConfigError, Durability, Settings};
use crate::base::logging;
use crate::ipc::event::EventFd;
use crate::ipc::inherit::Inheritance;
use crate::ipc::lane::LaneSemaphores;
use crate::ipc::names::Generation;
use crate::ipc::process::{Child, monotonic_ns};
use crate::ipc::segment::Access;
use crate::process::master::children::{Common, ReplicaChannel, WorkerProcess, WorkerSlot};
use crate::process::master::dispatch::Connections;
use crate::process::master::driver::Driver;
use crate::process::master::error::MasterError;
use crate::process::master::event_sources::EventSources;
use crate::process::master::start::{self, Checked, Occasion, ownership};
use crate::process::master::startup::{
    self, Inputs, ReadSettings, Taken, UnlinkOnDrop, check_environment, log_target, number_users,
};
use crate::service::entry::Entry;
use crate::store::access_log::AccessLog;
use crate::store::cache_channel::CacheChannel;
use crate::store::connection::{PerService, ServiceId};
use crate::store::instance::Instance;
use crate::store::journal::{Directory, Principals};
use crate::store::transfer::Pool;
use crate::store::users::Users;

/// What the previous program has handed over.
pub struct HandedOver {
    inheritance: Inheritance,
    hand_over: HandOver,
    /// Why the new program could not go on, if this is the old one, executed again.
    returned: Option<String>,
}

impl HandedOver {
    /// What the environment announces; `None` where nothing was handed over.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn announced() -> Result<Option<HandedOver>, MasterError> {
        let failed = |source| MasterError::Io { step: "read what the program before has left", source };
        let Some((inheritance, bytes)) = Inheritance::announced_by(VARIABLE).map_err(failed)? else { return Ok(None) };
        let hand_over = serde_json::from_slice(&bytes).map_err(io::Error::from).map_err(failed)?;
        Ok(Some(HandedOver { inheritance, hand_over, returned: std::env::var(RETURNED).ok() }))
    }
}

/// All that can fail, done without changing what was handed over.
pub struct Prepared {
    settings: Settings,
    /// The settings that differ and stay as they are.
    pub stay: Vec<&'static str>,
    users: Users,
    instance: Instance,
    directory: Option<Directory>,
    access_log: Option<AccessLog>,
    /// Where contents go from the cache process to the workers; `None` where there is none.
    pool: Option<Pool>,
    addresses: PerService<Option<SocketAddr>>,
    semaphores: VecDeque<LaneSemaphores>,
    sources: EventSources,
}

/// What the preparation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only to see whether it succeeds: nothing that lasts is changed.
    Check,
    /// To go on as the new program.
    GoOn,
    /// To go on as the old program again, with the settings and the users that it had.
    Return,
}

/// Makes every check, and everything that this program needs of its own, to go on with what was left.
///
/// # Errors
/// Why it cannot go on.
pub fn prepare(
    left: &HandOver,
    services: &'static [Entry],
    read_settings: &dyn Fn() -> Result<Settings, ConfigError>,
    purpose: Purpose,
) -> Result<Prepared, MasterError> {
    let unusable = |what: String| MasterError::Io {
        step: "use what the program before has left",
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    };
    let layout = layout(services);
    if left.layout != layout {
        return Err(unusable(format!("it has `{}`, this program has `{layout}`", left.layout)));
    }
    let (settings, stay, users) = if purpose == Purpose::Return {
        (left.settings.clone(), Vec::new(), users_that_were_known(left)?)
    } else {
        let (settings, stay) = read_settings()?.upgraded_from(&left.settings);
        let Checked { users, requirements, warnings, .. } = start::check(services, &settings, Occasion::Upgrade)?;
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        check_environment(&requirements)?;
        (settings, stay, users)
    };
    // A process beside the master only reads the users' numbers: the master may be assigning some.
    let users = match purpose {
        Purpose::Check => Principals::read(&settings.data).map(|_| users)?,
        Purpose::GoOn | Purpose::Return => number_users(users, &settings)?,
    };
    let generation = Generation { instance: left.instance.clone(), boot: left.boot };
    let instance = Instance::open(generation, Access::Write)?;
    let mut addresses = PerService::default();
    for service in ServiceId::all() {
        let text = instance.control().address(service);
        let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
        addresses[service.index()] = parsed.map_err(|_| unusable(format!("`{text}` is no address")))?;
    }
    let journaled = instance.table().sequencer().is_journaled();
    let directory = journaled.then(|| Directory::open(&settings.data)).transpose()?;
    let access_log = log_target(services, &addresses, &settings).map(|target| {
        let log = AccessLog::open(instance.generation(), Access::Write, target)?;
        log.check_target()?;
        Ok::<_, MasterError>(log)
    });
    let access_log = access_log.transpose()?;
    let pool = left.cache.map(|_| CacheChannel::find(instance.generation())).transpose()?;
    let names = left.workers.iter().map(|worker| instance.lane_semaphore_names(worker.index));
    let semaphores = names.map(|names| LaneSemaphores::open(&names)).collect::<Result<_, _>>()?;
    let sources = EventSources::new()?;
    Ok(Prepared { settings, stay, users, instance, directory, access_log, pool, addresses, semaphores, sources })
}

/// Goes on with everything. If this program cannot, the one before it is executed again.
///
/// # Errors
/// Neither this program nor the one before it can go on, nor start anew.
pub fn resume(
    left: HandedOver,
    services: &'static [Entry],
    read_settings: ReadSettings,
) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    let HandedOver { inheritance, hand_over, returned } = left;
    let complete = inheritance.check(hand_over.descriptors());
    let complete = complete.map_err(|source| MasterError::Io { step: "find a descriptor that was left", source });
    let purpose = if returned.is_some() { Purpose::Return } else { Purpose::GoOn };
    match complete.and_then(|()| prepare(&hand_over, services, &read_settings, purpose)) {
        Ok(prepared) => take_over(prepared, inheritance, hand_over, returned, services, read_settings),
        Err(error) if returned.is_some() => start_over(inheritance, hand_over, services, read_settings, error),
        Err(error) => {
            log::error!("upgrade: this program cannot go on, back to the one before: {error}");
            let source = go_back(&hand_over, inheritance.message(), &error.to_string());
            log::error!("upgrade: the program before cannot be executed: {source}");
            Err(error)
        }
    }
}

fn take_over(
    prepared: Prepared,
    mut inheritance: Inheritance,
    left: HandOver,
    returned: Option<String>,
    services: &'static [Entry],
    read_settings: ReadSettings,
) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    let Prepared { settings, users, instance, directory, access_log, pool, addresses, semaphores, sources, .. } =
        prepared;
    let mut descriptors = Descriptors(&mut inheritance);
    drop(descriptors.take(left.old_program)?);
    let data_lock = File::from(descriptors.take(left.data_lock)?);
    let alive = File::from(descriptors.take(left.alive)?);
    let wakeups = left.wakeups.iter().map(|&fd| Ok(Arc::new(EventFd::adopt(descriptors.take(fd)?))));
    let wakeups: Vec<_> = wakeups.collect::<Result<_, MasterError>>()?;
    let journal = Arc::new(EventFd::adopt(descriptors.take(left.journal_wakeup)?));
    let instance: &'static Instance = Box::leak(Box::new(instance.with_alive(alive)));
    let unlinker = UnlinkOnDrop(instance);
    logging::share(&instance.control().log);
    let access_log = access_log.map(|log| &*Box::leak(Box::new(log)));
    let cache = pool.zip(left.cache).map(|(pool, left)| take_cache(&mut descriptors, left, instance, pool, &wakeups));
    let cache = cache.transpose()?;
    let replica = left.replica.map(|left| take_replica(&mut descriptors, left)).transpose()?;
    let mut duplicates = Vec::new();
    for (slot, socket) in left.connections {
        duplicates.push((slot, descriptors.take(socket)?));
    }
    let common = Common {
        instance,
        settings: Box::leak(Box::new(settings)),
        services,
        program: left.program,
        read_settings,
        users: Arc::new(users),
        wakeups,
        journal,
        access_log,
        cache,
        replica,
        directory,
        data_lock,
    };
    let connections = Connections::adopt(instance, duplicates);
    let mut driver = Driver::new(common, left.supervisor, sources, addresses, connections);
    driver.shared_listeners = descriptors.take_listeners(left.shared_listeners)?;
    driver.accept_from(descriptors.take_listeners(left.listeners)?)?;
    let cache = left.cache.and_then(|cache| cache.child);
    let replica = left.replica.and_then(|replica| replica.child);
    driver.take_helpers(&mut descriptors, left.journal, cache, replica)?;
    for (worker, semaphores) in left.workers.into_iter().zip(semaphores) {
        let listeners = descriptors.take_listeners(worker.listeners)?;
        let mut slot = WorkerSlot::adopt(instance, worker.index, listeners, semaphores, worker.owes_retraction);
        (slot.leaving, slot.connections) = (worker.leaving, worker.connections);
        if let Some(process) = worker.process {
            let child = descriptors.take_child(process.child)?;
            let lane = descriptors.take(process.lane)?;
            slot.process = Some(WorkerProcess { child, lane, turns_before: process.turns_before });
        }
        let index = slot.index;
        driver.workers[index] = Some(slot);
    }
    driver.watch_adopted();
    match returned {
        Some(why) => driver.supervisor.resume_unchanged(monotonic_ns(), &why),
        None => driver.supervisor.resume_upgraded(monotonic_ns()),
    }
    Ok((driver, unlinker))
}

/// The channel of the cache process.
fn take_cache(
    descriptors: &mut Descriptors<'_>,
    left: HandedOverCache,
    instance: &Instance,
    pool: Pool,
    workers: &[Arc<EventFd>],
) -> Result<&'static CacheChannel, MasterError> {
    let wakeup = Arc::new(EventFd::adopt(descriptors.take(left.wakeup)?));
    Ok(Box::leak(Box::new(CacheChannel::adopt(instance.generation(), pool, workers.to_vec(), wakeup))))
}

/// What the replica process is reached by.
fn take_replica(descriptors: &mut Descriptors<'_>, left: HandedOverReplica) -> Result<ReplicaChannel, MasterError> {
    let wakeup = Arc::new(EventFd::adopt(descriptors.take(left.wakeup)?));
    Ok(ReplicaChannel { wakeup, listener: Arc::new(descriptors.take(left.listener)?) })
}

/// The last resort: neither the new program nor the old one can go on with what is in shared memory; `why` is what keeps the old one. All
/// that was acknowledged is in the journal, so this process ends the children and starts anew from there, with the settings and the users
/// that were known. The listening sockets stay, so no connection is refused meanwhile; clients lose their connections and repeat, under
/// the same keys, what was not answered. Where the accounts were in memory only, `why` is the end.
fn start_over(
    mut inheritance: Inheritance,
    left: HandOver,
    services: &'static [Entry],
    read_settings: ReadSettings,
    why: MasterError,
) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    if left.settings.durability == Durability::None {
        return Err(why);
    }
    log::error!("upgrade: the program before cannot go on either: {why}");
    log::error!("upgrade: starting anew from the journal; what was acknowledged is there, clients must connect again");
    let users = users_that_were_known(&left)?;
    let mut descriptors = Descriptors(&mut inheritance);
    let processes = left.workers.iter().filter_map(|worker| Some(worker.process.as_ref()?.child));
    let replica = left.replica.and_then(|replica| replica.child);
    for child in processes.chain(left.journal).chain(left.cache.and_then(|cache| cache.child)).chain(replica) {
        descriptors.take_child(child)?.end();
    }
    let data_lock = File::from(descriptors.take(left.data_lock)?);
    let listeners = match (left.settings.accept, left.workers.first()) {
        (AcceptMode::Dispatch, _) => left.listeners,
        (AcceptMode::Reuseport, Some(worker)) => worker.listeners,
        (AcceptMode::Shared | AcceptMode::Reuseport, _) => left.shared_listeners,
    };
    let listeners = descriptors.take_listeners(listeners)?;
    let peers = left.replica.map(|replica| descriptors.take(replica.listener)).transpose()?;
    // The rest goes: connections, lanes, and the lock by which the old memory counts as alive.
    let rest: Vec<_> = left.descriptors().filter_map(|number| descriptors.take(number).ok()).collect();
    drop(rest);
    ownership::remove_stale(&left.instance)?;
    let settings = Box::leak(Box::new(left.settings));
    // The accounts were opened long ago.
    let inputs = Inputs { users, listed: None };
    startup::build(services, settings, read_settings, inputs, left.program, Taken { data_lock, listeners, peers })
}

impl Driver {
    /// Takes the processes over that are no workers.
    fn take_helpers(
        &mut self,
        descriptors: &mut Descriptors<'_>,
        journal: Option<HandedOverChild>,
        cache: Option<HandedOverChild>,
        replica: Option<HandedOverChild>,
    ) -> Result<(), MasterError> {
        if let (Some(slot), Some(child)) = (self.journal.as_mut(), journal) {
            slot.child = Some(descriptors.take_child(child)?);
        }
        if let (Some(slot), Some(child)) = (self.cache.as_mut(), cache) {
            slot.child = Some(descriptors.take_child(child)?);
        }
        if let (Some(slot), Some(child)) = (self.replica.as_mut(), replica) {
            slot.child = Some(descriptors.take_child(child)?);
        }
        Ok(())
    }

    /// Watches the children that were left. One that cannot be watched is killed; SIGCHLD tells when it has ended.
    fn watch_adopted(&mut self) {
        let unwatched = |error: &dyn std::fmt::Display, child: &Child| {
            log::error!("process {} cannot be watched, so it is replaced: {error}", child.pid());
            let _ = child.signal(nix::sys::signal::Signal::SIGKILL);
        };
        if let (Err(error), Some(child)) =
            (self.watch_journal(), self.journal.as_ref().and_then(|journal| journal.child.as_ref()))
        {
            unwatched(&error, child);
        }
        if let (Err(error), Some(child)) =
            (self.watch_cache(), self.cache.as_ref().and_then(|cache| cache.child.as_ref()))
        {
            unwatched(&error, child);
        }
        if let (Err(error), Some(child)) =
            (self.watch_replica(), self.replica.as_ref().and_then(|replica| replica.child.as_ref()))
        {
            unwatched(&error, child);
        }
        for slot in self.workers.iter().flatten() {
            if let (Err(error), Some(process)) = (self.watch_worker(slot.index), &slot.process) {
                unwatched(&error, &process.child);
            }
        }
        // Events may have been missed.
        self.accepting.ready = true;
    }
}
