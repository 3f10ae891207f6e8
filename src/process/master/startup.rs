//! Starting a server: locks and ports are taken, shared memory is made, the accounts are restored, the children started.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::children::{Common, Listeners, ReplicaChannel};
use super::dispatch::Connections;
use super::driver::Driver;
use super::error::MasterError;
use super::event_sources::EventSources;
use super::restore;
use super::rpcbind;
use super::start::{self, Checked, Occasion, Requirements, boot, file_systems, ownership, ports, requirements};
use super::supervisor::{SlotId, Supervisor};
use crate::base::config::{AcceptMode, ConfigError, Settings};
use crate::base::crash_point;
use crate::base::defect;
use crate::base::limits::MAX_WORKERS;
use crate::base::logging;
use crate::ipc::event::EventFd;
use crate::ipc::names::{Generation, SHM_FOLDER};
use crate::ipc::{net, process};
use crate::service::entry::Entry;
use crate::store::access_log::{self, AccessLog};
use crate::store::cache_channel::CacheChannel;
use crate::store::connection::{PerService, ServiceId};
use crate::store::instance::{Blueprint, Instance};
use crate::store::journal::{Directory, OpeningBalances, Principals, PrincipalsError};
use crate::store::transfer::Shape;
use crate::store::users::Users;

/// Unlinks the instance's names when the master leaves, by whatever way.
pub struct UnlinkOnDrop(pub &'static Instance);

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        let generation = self.0.generation();
        // The control segment is the last: it says whose the others are.
        let unlinked = CacheChannel::unlink(generation).and(AccessLog::unlink(generation)).and(self.0.unlink());
        if let Err(error) = unlinked {
            log::error!("{error}");
        }
    }
}

/// Reads the settings, now and again.
pub type ReadSettings = Box<dyn Fn() -> Result<Settings, ConfigError>>;

/// Starts a server.
///
/// # Errors
/// See [`MasterError`]. Nothing is left behind then either.
pub fn start(services: &'static [Entry], read_settings: ReadSettings) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    let settings: &'static Settings = Box::leak(Box::new(read_settings()?));
    let Checked { users, listed, requirements, warnings } = start::check(services, settings, Occasion::Start)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    check_environment(&requirements)?;
    let places = rpcbind::Places::default();
    rpcbind::check(settings, &places)?;
    let program = invoked_program().map_err(|source| MasterError::Io { step: "find this program", source })?;
    let data_lock = ownership::lock_data(&settings.data, &settings.instance)?;
    ownership::remove_stale(&settings.instance)?;
    let listeners = ports::open(services, settings)?;
    let peers = ports::open_peers(services, settings)?;
    let inputs = Inputs { users, listed };
    // Its ports are this server's by now: who is told of them and connects waits until it is ready.
    rpcbind::register_services(settings, &places)?;
    build(services, settings, read_settings, inputs, program, Taken { data_lock, listeners, peers })
        .inspect_err(|_| rpcbind::withdraw_services(settings, &places))
}

/// What a start reads beside the settings and the data directory.
pub struct Inputs {
    /// Who may log in.
    pub users: Users,
    /// What accounts open with, where a file says so.
    pub listed: Option<OpeningBalances>,
}

/// What a server has to itself.
pub struct Taken {
    /// The lock of its data directory.
    pub data_lock: File,
    /// A listening socket for each service.
    pub listeners: Listeners,
    /// One for peers, where there are any.
    pub peers: Option<OwnedFd>,
}

/// Makes shared memory, restores the accounts, and starts all children of a server that has the locks of its name and its data
/// directory, and its ports. `program` is what an upgrade executes.
///
/// # Errors
/// See [`MasterError`].
pub fn build(
    services: &'static [Entry],
    settings: &'static Settings,
    read_settings: ReadSettings,
    Inputs { users, listed }: Inputs,
    program: PathBuf,
    taken: Taken,
) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    let Taken { data_lock, listeners, peers } = taken;
    let mut addresses = PerService::default();
    for (address, socket) in addresses.iter_mut().zip(&listeners) {
        *address = socket.as_ref().map(|socket| net::local_address(socket.as_fd())).transpose()?;
    }
    let directory = restore::open_directory(settings, listed.as_ref())?;
    let users = Arc::new(number_users(users, settings)?);
    let instance: &'static Instance = Box::leak(Box::new(make_instance(services, settings, directory.as_ref())?));
    let unlinker = UnlinkOnDrop(instance);
    logging::share(&instance.control().log);
    if let Some(cluster) = &settings.cluster {
        instance.control().cluster.begin(cluster.replica.number());
    }
    match (&directory, listed) {
        (Some(directory), _) => restore::restore(instance, directory, settings.key_window)?,
        (None, Some(listed)) => restore::open_in_memory(instance.table(), &listed),
        (None, None) => {}
    }
    for (service, address) in ServiceId::all().zip(addresses) {
        instance.control().set_address(service, &address.map_or_else(String::new, |address| address.to_string()));
    }
    instance.control().tune(settings.idle_timeout, settings.rate_limit);
    let wakeups = std::iter::repeat_with(|| EventFd::new().map(Arc::new)).take(MAX_WORKERS);
    let wakeups: Vec<_> = wakeups.collect::<Result<_, _>>()?;
    let journal = Arc::new(EventFd::new()?);
    let access_log = log_target(services, &addresses, settings);
    let access_log = access_log.map(|target| make_access_log(instance, target)).transpose()?;
    let cache = transfers(services, &addresses, settings);
    let cache = cache.map(|shape| make_cache_channel(instance, shape, &wakeups)).transpose()?;
    let moves_connections = settings.accept == AcceptMode::Dispatch;
    let replica = peers.map(ReplicaChannel::new).transpose()?;
    let others = [
        (SlotId::Replica, replica.is_some()),
        (SlotId::Journal, directory.is_some()),
        (SlotId::Cache, cache.is_some()),
    ];
    let others: Vec<_> = others.into_iter().filter(|(_, wanted)| *wanted).map(|(id, _)| id).collect();
    let now = process::monotonic_ns();
    let supervisor = Supervisor::new(now, settings.workers, &others, moves_connections);
    let common = Common {
        instance,
        settings,
        services,
        program,
        read_settings,
        users,
        wakeups,
        journal,
        access_log,
        cache,
        replica,
        directory,
        data_lock,
    };
    let mut driver = Driver::new(common, supervisor, EventSources::new()?, addresses, Connections::new(instance));
    driver.begin(listeners)?;
    announce(&driver.common, &driver.worker_pids());
    Ok((driver, unlinker))
}

/// The path by which this program was invoked, made absolute and not resolved: a release is often switched by a symbolic link, and
/// what it points to later is what an upgrade is to execute. If it does not lead to this program, the path that the kernel knows.
fn invoked_program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let words = std::env::args_os().next().map(PathBuf::from);
    let invoked = words.and_then(|word| {
        if word.components().count() > 1 || word.is_absolute() {
            return std::path::absolute(word).ok();
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(&word)).find(|candidate| same_file(candidate, &own))
    });
    Ok(invoked.filter(|invoked| same_file(invoked, &own)).unwrap_or(own))
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// Gives each user a number of his own, durably, before any of them can log in. The caller holds the lock of the data directory.
///
/// # Errors
/// They cannot be numbered.
pub fn number_users(users: Users, settings: &Settings) -> Result<Users, PrincipalsError> {
    let principals = Principals::admit(&settings.data, users.names())?;
    Ok(users.numbered(|name| principals.of(name)))
}

/// Whether so many files can be open, and the environment asks for nothing that cannot be done.
///
/// # Errors
/// See [`MasterError`].
pub fn check_environment(requirements: &Requirements) -> Result<(), MasterError> {
    let needed = requirements.descriptors;
    process::raise_open_files(needed).map_err(|limit| MasterError::OpenFiles { needed, limit })?;
    if let Ok(text) = std::env::var(crash_point::VARIABLE) {
        crash_point::armed_for(&text, "").map_err(MasterError::CrashPoint)?;
        log::warn!("{} is set: processes will die of it, or halt", crash_point::VARIABLE);
    }
    if let Some(defect) = defect::introduced() {
        log::error!("THIS SERVER IS BROKEN ON PURPOSE ({defect:?}), as --break demands: do not believe it");
    }
    Ok(())
}

/// Where the services that listen log their requests; `None` where none of them does.
#[must_use]
pub fn log_target(
    services: &[Entry],
    addresses: &PerService<Option<SocketAddr>>,
    settings: &Settings,
) -> Option<access_log::Target> {
    let mut listening = services.iter().zip(addresses).filter(|(_, address)| address.is_some());
    listening.find_map(|(service, _)| Some((service.access_log?)(settings)))
}

fn make_access_log(instance: &Instance, target: access_log::Target) -> Result<&'static AccessLog, MasterError> {
    let log = AccessLog::create(instance.generation(), MAX_WORKERS, target)?;
    log.check_target()?;
    Ok(Box::leak(Box::new(log)))
}

/// The pool of segments for the services that listen; `None` where none of them needs the cache process.
fn transfers(services: &[Entry], addresses: &PerService<Option<SocketAddr>>, settings: &Settings) -> Option<Shape> {
    let mut listening = services.iter().zip(addresses).filter(|(_, address)| address.is_some());
    listening.find_map(|(service, _)| (service.transfers)(settings))
}

fn make_cache_channel(
    instance: &Instance,
    shape: Shape,
    workers: &[Arc<EventFd>],
) -> Result<&'static CacheChannel, MasterError> {
    let cache = Arc::new(EventFd::new()?);
    let channel = CacheChannel::create(instance.generation(), shape, workers.to_vec(), cache)?;
    Ok(Box::leak(Box::new(channel)))
}

fn make_instance(
    services: &[Entry],
    settings: &Settings,
    directory: Option<&Directory>,
) -> Result<Instance, MasterError> {
    let generation = Generation { instance: settings.instance.clone(), boot: boot::draw()? };
    Ok(Instance::create(&Blueprint {
        generation,
        ledger: requirements::shape(
            settings,
            directory.map_or(settings.accounts, |directory| directory.openings().accounts()),
        ),
        kv_blocks: requirements::kv_blocks(settings),
        services: &requirements::blueprints(services, settings),
        queue_depth: settings.queue_depth,
        accept_mode: settings.accept as u32,
        data: &file_systems::full_path(&settings.data).display().to_string(),
    })?)
}

/// Writes the line on the standard output that says that the server is ready, for people and scripts.
fn announce(common: &Common, pids: &[i32]) {
    let Common { instance, settings, services, .. } = common;
    let (mut first, mut others) = (String::new(), String::new());
    for (service, entry) in ServiceId::all().zip(*services) {
        let address = instance.control().address(service);
        match service {
            ServiceId::FIRST => first = (entry.url)(&address),
            _ if address.is_empty() => {}
            _ => others += &format!(" {} {}", entry.name, (entry.url)(&address)),
        }
    }
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let mode = format!("{:?}", settings.accept).to_lowercase();
    let durability = format!("{:?}", settings.durability).to_lowercase();
    let objects = instance.generation().name("*");
    let queue = common.cache.map_or_else(String::new, |channel| format!(" queue {}", channel.queue_name()));
    let line = format!(
        "ready: {first} pid {} workers {} accept {mode} accounts {} durability {durability}{others} objects {SHM_FOLDER}{objects} \
         {SHM_FOLDER}/sem.{}{queue}",
        std::process::id(),
        pids.join(","),
        instance.table().accounts(),
        &objects[1..],
    );
    // The standard output may be closed; the server runs all the same.
    logging::announce(&line);
}
