//! The master: accepts connections and hands them over; has the workers, and replaces those that die.
//!
//! It has one thread for ever (its forks must be safe), waits for nothing but its poll, and never reads a byte that a
//! client sent.

mod books;
mod care;
mod claim;
mod crew;
mod dispatch;
mod mail;
mod orders;
mod scribe;
mod upgrade;
mod watch;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use crate::access_log::{self, AccessLog, LogError};
use crate::config::{AcceptMode, ConfigError, Settings};
use crate::connection::{PerService, Service};
use crate::crash_point;
use crate::defect;
use crate::instance::{Blueprint, Instance};
use crate::ipc::event::Nudge;
use crate::ipc::inherit::Inheritance;
use crate::ipc::names::{Generation, SHM_FOLDER};
use crate::ipc::segment::Access;
use crate::ipc::{IpcError, files, net, process};
use crate::journal::{Directory, DirectoryError, DiskError, RecoveryError};
use crate::limits::{HTTP_DEFER_SECONDS, MAX_WORKERS, RESERVED_CONNECTIONS};
use crate::service::users::{Users, UsersError};
pub use claim::ClaimError;
use crew::Common;
use upgrade::HandOver;
pub use upgrade::layout;

/// Open files beside one per connection: standard ones, listeners, locks, and three per worker.
const OTHER_FILES: u64 = 64 + 4 * MAX_WORKERS as u64 + FILES_ON_SHELF;
/// Files that a worker may keep open to send them again.
const FILES_ON_SHELF: u64 = 1024;

/// Why the server did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// This master may not be the one.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The users file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// A kernel object cannot be made or used.
    #[error(transparent)]
    Ipc(#[from] IpcError),
    /// The event loop or a standard descriptor failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not enough files may be open.
    #[error(
        "{needed} open files are needed for {connections} connections (--max-connections and --http-connections), the hard limit \
         is {limit}: raise it (ulimit -Hn), or take fewer connections"
    )]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many may be.
        limit: u64,
        /// What they are needed for.
        connections: u32,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal cannot be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// What nobody is to read lies where everybody may.
    #[error("{what}, {path}, lies in the folder that --www serves, {folder}: serve another folder, or move it out")]
    Served {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: String,
        /// What is served.
        folder: String,
    },
    /// The access log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file of the journal cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is a journal, and it is not to be read.
    #[error(
        "{0} holds a journal, which --durability none would ignore; choose another directory with --data, or another          durability"
    )]
    JournalIgnored(PathBuf),
    /// The journal process has ended because the disk failed; it has said why.
    #[error(
        "the journal failed, so the server has stopped; nothing that was acknowledged is lost. Look after the disk, then restart"
    )]
    JournalFailed,
    /// The environment names a crash point that does not exist.
    #[error("{variable}: `{0}` is not of the form WHO:NAME[#HIT][/stop] with a known name", variable = crash_point::VARIABLE)]
    CrashPoint(String),
    /// The books do not balance at the end: money was lost or made.
    #[error("the books do not balance: the accounts opened with {expected}, by the sums it was {found}")]
    Books {
        /// What all accounts held at the beginning.
        expected: crate::vocab::Cents,
        /// What they must have held by what came in, went out, and is there.
        found: crate::vocab::Cents,
    },
}

impl MasterError {
    /// The exit code that goes with it: 1 for a check that failed, 2 for what is not to be had.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            MasterError::Books { .. } => 1,
            _ => 2,
        }
    }
}

/// Unlinks the instance's names when the master leaves, by whatever way.
struct Unlinker(&'static Instance);

impl Drop for Unlinker {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlink().and(AccessLog::unlink(self.0.generation())) {
            log::error!("{error}");
        }
    }
}

/// Runs a server until it is told to stop. `read_settings` reads the settings again, on SIGHUP.
///
/// # Errors
/// See [`MasterError`]. Nothing is left behind then either.
pub fn run(
    settings: Settings,
    read_settings: impl Fn() -> Result<Settings, ConfigError> + 'static,
) -> Result<(), MasterError> {
    process::set_name("vault-master");
    process::open_standard_descriptors().map_err(|source| MasterError::Io { step: "open /dev/null", source })?;
    let settings: &'static Settings = Box::leak(Box::new(settings));
    let users = Arc::new(read_users(settings)?);
    check_environment(settings)?;
    let program = std::env::current_exe().map_err(|source| MasterError::Io { step: "find this program", source })?;
    let inherited = Inheritance::announced_by(upgrade::VARIABLE)
        .map_err(|source| MasterError::Io { step: "read what the program before has left", source })?;
    // Before the first child, which takes the mask off again.
    watch::handled_signals()
        .thread_block()
        .map_err(|errno| IpcError::system("block", "the signals that are read", errno))?;
    let read_settings = Box::new(read_settings);
    let start = Start { settings, read_settings, users, program };
    let (mut master, unlinker) = match inherited {
        None => start_anew(start)?,
        Some((inheritance, left)) => go_on(start, inheritance, &left)?,
    };
    master.watch()?;
    if let Some(Err(error)) = master.common.access_log.map(AccessLog::drain) {
        log::error!("{error}");
    }
    books::close(unlinker.0)
}

/// What a master is started with.
struct Start {
    settings: &'static Settings,
    read_settings: Box<dyn Fn() -> Result<Settings, ConfigError>>,
    users: Arc<Users>,
    program: PathBuf,
}

impl Start {
    fn common(
        self,
        instance: &'static Instance,
        nudges: Vec<Arc<Nudge>>,
        journal: Arc<Nudge>,
        directory: Option<Directory>,
        access_log: Option<&'static AccessLog>,
        data_lock: File,
    ) -> Common {
        let Start { settings, read_settings, users, program } = self;
        Common { instance, settings, read_settings, users, program, nudges, journal, directory, access_log, data_lock }
    }
}

fn start_anew(start: Start) -> Result<(watch::Master, Unlinker), MasterError> {
    let settings = start.settings;
    let data_lock = claim::lock_data(&settings.data, &settings.instance)?;
    check_served_folder(settings)?;
    claim::clear_stale(&settings.instance)?;
    let doors = open_doors(settings)?;
    let [bank, web] =
        doors.each_ref().map(|door| door.as_ref().map(|door| net::local_address(door.as_fd())).transpose());
    let addresses = [bank?, web?];
    let directory = books::open_directory(settings)?;
    let instance: &'static Instance = Box::leak(Box::new(make_instance(settings, directory.as_ref())?));
    let unlinker = Unlinker(instance);
    if let Some(directory) = &directory {
        books::read(instance, directory, settings.key_window)?;
    }
    for (service, address) in Service::ALL.into_iter().zip(addresses) {
        instance.control().set_address(service, &address.map_or_else(String::new, |address| address.to_string()));
    }
    instance.control().tune(settings.idle_timeout, settings.rate_limit);
    let nudges = std::iter::repeat_with(|| Nudge::new().map(Arc::new)).take(MAX_WORKERS).collect::<Result<_, _>>()?;
    let access_log = doors[Service::Web.index()].as_ref().map(|_| make_access_log(instance, settings)).transpose()?;
    let common = start.common(instance, nudges, Arc::new(Nudge::new()?), directory, access_log, data_lock);
    let master = watch::Master::new(common, doors, addresses)?;
    announce(instance, settings, &master.worker_pids());
    Ok((master, unlinker))
}

/// Goes on where the program stopped that this process executed before.
fn go_on(start: Start, mut inheritance: Inheritance, left: &[u8]) -> Result<(watch::Master, Unlinker), MasterError> {
    let unreadable = |what: String| MasterError::Io {
        step: "read what the program before has left",
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    };
    let left: HandOver = serde_json::from_slice(left).map_err(|error| unreadable(error.to_string()))?;
    let mut take =
        |number| inheritance.take(number).map_err(|source| MasterError::Io { step: "take over a descriptor", source });
    let (data_lock, alive) = (File::from(take(left.data_lock)?), File::from(take(left.alive)?));
    let nudges =
        left.nudges.iter().map(|&fd| Ok(Arc::new(Nudge::adopt(take(fd)?)))).collect::<Result<_, MasterError>>()?;
    let journal = Arc::new(Nudge::adopt(take(left.journal_nudge)?));
    let generation = Generation { instance: left.instance.clone(), boot: left.boot };
    let instance: &'static Instance = Box::leak(Box::new(Instance::adopt(generation, alive)?));
    let unlinker = Unlinker(instance);
    let mut addresses = [None, None];
    for service in Service::ALL {
        let address = instance.control().address(service);
        let parsed = (!address.is_empty()).then(|| address.parse()).transpose();
        addresses[service.index()] = parsed.map_err(|_| unreadable(format!("`{address}` is no address")))?;
    }
    let journaled = instance.table().sequencer().is_journaled();
    let directory = journaled.then(|| Directory::open(&start.settings.data)).transpose()?;
    let access_log = addresses[Service::Web.index()].map(|_| {
        let log = AccessLog::open(instance.generation(), Access::Write, log_target(start.settings))?;
        Ok::<_, IpcError>(&*Box::leak(Box::new(log)))
    });
    let access_log = access_log.transpose()?;
    let common = start.common(instance, nudges, journal, directory, access_log, data_lock);
    let mut master = watch::Master::resume(common, addresses, left, &mut inheritance)?;
    master.replace_scribe();
    Ok((master, unlinker))
}

/// Who may log in, by these settings.
fn read_users(settings: &Settings) -> Result<Users, UsersError> {
    settings.users.as_deref().map_or_else(|| Ok(Users::demo()), Users::load)
}

fn check_environment(settings: &Settings) -> Result<(), MasterError> {
    let connections = connections_of(settings).iter().sum();
    let needed = u64::from(connections) + OTHER_FILES;
    process::raise_open_files(needed).map_err(|limit| MasterError::OpenFiles { needed, limit, connections })?;
    if let Ok(text) = std::env::var(crash_point::VARIABLE) {
        crash_point::armed_for(&text, "").map_err(MasterError::CrashPoint)?;
        log::warn!("{} is set: processes will die of it, or halt", crash_point::VARIABLE);
    }
    if let Some(defect) = defect::introduced() {
        log::error!("THIS SERVER IS BROKEN ON PURPOSE ({defect:?}), as --break demands: do not believe it");
    }
    Ok(())
}

/// Slots for connections, for each service: those that there may be at a time, and the reserved ones.
fn connections_of(settings: &Settings) -> PerService<u32> {
    let http = settings.http.is_on().then_some(settings.http.connections);
    [Some(settings.max_connections), http].map(|allowed| allowed.map_or(0, |allowed| allowed + RESERVED_CONNECTIONS))
}

/// A listening socket for a service. A client of HTTP speaks first.
fn listen_for(service: Service, address: SocketAddr, several: bool) -> Result<OwnedFd, IpcError> {
    let door = net::listener(address, several)?;
    if service == Service::Web {
        net::defer_accept(door.as_fd(), HTTP_DEFER_SECONDS)?;
    }
    Ok(door)
}

/// A listening socket for each service that is on.
fn open_doors(settings: &Settings) -> Result<watch::Doors, MasterError> {
    let several = settings.accept == AcceptMode::Reuseport;
    let bank = listen_for(Service::Bank, SocketAddr::new(settings.host, settings.port), several)?;
    if !settings.http.is_on() {
        return Ok([Some(bank), None]);
    }
    match listen_for(Service::Web, SocketAddr::new(settings.host, settings.http.port), several) {
        Ok(web) => Ok([Some(bank), Some(web)]),
        Err(error) if !settings.http.port_is_named && error.errno() == Some(Errno::EADDRINUSE) => {
            log::warn!("no HTTP: {error}; name another port with --http-port, or 0 for none");
            Ok([Some(bank), None])
        }
        Err(error) => Err(error.into()),
    }
}

/// Who names a folder that is not there is told now; and nobody is to fetch the journal or the users over HTTP.
fn check_served_folder(settings: &Settings) -> Result<(), MasterError> {
    let Some(www) = settings.http.www.as_deref().filter(|_| settings.http.is_on()) else { return Ok(()) };
    files::open_folder(www)?;
    let folder = claim::full_path(www);
    let private = [("the data directory", Some(&settings.data)), ("the users file", settings.users.as_ref())];
    let private = private.into_iter().filter_map(|(what, path)| Some((what, claim::full_path(path?))));
    match private.into_iter().find(|(_, path)| Path::new(path).starts_with(&folder)) {
        Some((what, path)) => Err(MasterError::Served { what, path, folder }),
        None => Ok(()),
    }
}

/// Where HTTP requests are logged.
fn log_target(settings: &Settings) -> access_log::Target {
    let http = &settings.http;
    access_log::Target {
        path: http.access_log.clone().unwrap_or_else(|| settings.data.join("access.log")),
        rotate_bytes: http.log_rotate_bytes,
        keep: http.log_keep,
        interval: access_log::INTERVAL,
    }
}

fn make_access_log(instance: &Instance, settings: &Settings) -> Result<&'static AccessLog, MasterError> {
    let log = AccessLog::create(instance.generation(), MAX_WORKERS, log_target(settings))?;
    log.check_target()?;
    Ok(Box::leak(Box::new(log)))
}

fn make_instance(settings: &Settings, directory: Option<&Directory>) -> Result<Instance, MasterError> {
    let boot = loop {
        match getrandom::u32() {
            Ok(0) => {}
            Ok(boot) => break boot,
            Err(error) => return Err(MasterError::Io { step: "read random bytes", source: error.into() }),
        }
    };
    let generation = Generation { instance: settings.instance.clone(), boot };
    Ok(Instance::create(&Blueprint {
        generation,
        ledger: books::shape(settings, directory),
        connections: connections_of(settings),
        queue_depth: settings.queue_depth,
        accept_mode: settings.accept as u32,
        data: &claim::full_path(&settings.data),
    })?)
}

/// One line on the standard output that says all that a reader, or a script, needs to know.
fn announce(instance: &Instance, settings: &Settings, pids: &[i32]) {
    let [address, web] = Service::ALL.map(|service| instance.control().address(service));
    let web = if web.is_empty() { String::new() } else { format!(" http http://{web}/") };
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let mode = format!("{:?}", settings.accept).to_lowercase();
    let durability = format!("{:?}", settings.durability).to_lowercase();
    let objects = instance.generation().name("*");
    let line = format!(
        "ready: {address} pid {} workers {} accept {mode} accounts {} durability {durability}{web} objects {SHM_FOLDER}{objects} \
         {SHM_FOLDER}/sem.{}",
        std::process::id(),
        pids.join(","),
        instance.table().accounts(),
        &objects[1..],
    );
    // Nobody may be listening; the server runs all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

/// The signals that the master reads instead of being interrupted by them.
fn signal_set(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}
