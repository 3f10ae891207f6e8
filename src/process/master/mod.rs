//! The master: accepts connections and hands them over; has the child processes, and replaces those that die.
//!
//! It has one thread for ever (its forks must be safe), waits for nothing but its poll, and never reads a byte that a
//! client sent. What is to be done the `supervisor` decides, a state machine without system calls; the `driver` is the loop
//! around it.

mod accept;
mod books;
mod children;
mod collect;
mod dispatch;
mod driver;
mod notify;
mod requests;
mod signals;
pub mod start;
mod supervisor;
mod upgrade;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::config::{AcceptMode, ConfigError, Settings};
use crate::base::crash_point;
use crate::base::defect;
use crate::base::limits::MAX_WORKERS;
use crate::base::logging;
use crate::ipc::event::EventFd;
use crate::ipc::names::{Generation, SHM_FOLDER};
use crate::ipc::{IpcError, net, process};
use crate::store::access_log::{self, AccessLog, LogError};
use crate::store::connection::Service;
use crate::store::instance::{Blueprint, Instance};
use crate::store::journal::{Directory, DirectoryError, DiskError, Principals, PrincipalsError, RecoveryError};
use crate::store::users::Users;
use children::{Common, Listeners, WorkerSlot};
use dispatch::Connections;
use driver::{Driver, EventSources};
use start::{ClaimError, Needs, Occasion, Plan, PortError, StartError, claim, needs, ports, served};
use supervisor::Supervisor;
pub use upgrade::check as check_upgrade;

/// Why the server did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A child process cannot be started. Only a start of the server fails of that.
    #[error("{what} cannot be started: {why}")]
    NotStarted {
        /// Which one.
        what: String,
        /// Why.
        why: String,
    },
    /// Something that it needs is not there.
    #[error(transparent)]
    Start(#[from] StartError),
    /// This master may not be the one.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A port was taken since it was looked for.
    #[error(transparent)]
    Port(#[from] PortError),
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
    #[error("{needed} files must be open at a time, and the limit of {limit} cannot be raised (RLIMIT_NOFILE)")]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many may be.
        limit: u64,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal cannot be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The access log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file of the journal cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The users cannot be numbered.
    #[error(transparent)]
    Principals(#[from] PrincipalsError),
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
        expected: crate::base::vocab::Cents,
        /// What they must have held by what came in, went out, and is there.
        found: crate::base::vocab::Cents,
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

/// Runs a server until it is told to stop. `read_settings` reads the settings, now and again on SIGHUP.
///
/// # Errors
/// See [`MasterError`]. Nothing is left behind then either.
pub fn run(read_settings: impl Fn() -> Result<Settings, ConfigError> + 'static) -> Result<(), MasterError> {
    process::set_name("vault-master");
    process::open_standard_descriptors().map_err(|source| MasterError::Io { step: "open /dev/null", source })?;
    process::ignore_file_size_signal().map_err(|errno| IpcError::system("ignore", "SIGXFSZ", errno))?;
    let left = upgrade::Left::announced()?;
    process::collect_own_children();
    // Before the first child, which takes the mask off again.
    signals::handled().thread_block().map_err(|errno| IpcError::system("block", "the signals that are read", errno))?;
    let read_settings = Box::new(read_settings);
    let (mut driver, unlinker) = match left {
        None => start_anew(read_settings)?,
        Some(left) => upgrade::resume(left, read_settings)?,
    };
    driver.run()?;
    if let Some(Err(error)) = driver.common.access_log.map(AccessLog::drain) {
        log::error!("{error}");
    }
    books::close(unlinker.0)
}

type ReadSettings = Box<dyn Fn() -> Result<Settings, ConfigError>>;

fn start_anew(read_settings: ReadSettings) -> Result<(Driver, Unlinker), MasterError> {
    let settings: &'static Settings = Box::leak(Box::new(read_settings()?));
    let Plan { users, needs, warnings } = start::check(settings, Occasion::Start)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    check_environment(&needs)?;
    let program = upgrade::invoked_program().map_err(|source| MasterError::Io { step: "find this program", source })?;
    let data_lock = claim::lock_data(&settings.data, &settings.instance)?;
    claim::clear_stale(&settings.instance)?;
    let listeners = ports::open(settings)?;
    Foundation { settings, read_settings, users, program, data_lock, listeners }.build()
}

/// What a server is built on: it is the only one of its name and its data directory, and has its ports.
struct Foundation {
    settings: &'static Settings,
    read_settings: ReadSettings,
    users: Users,
    program: PathBuf,
    data_lock: File,
    listeners: Listeners,
}

impl Foundation {
    /// Makes shared memory, reads the books, and starts all children.
    fn build(self) -> Result<(Driver, Unlinker), MasterError> {
        let Foundation { settings, read_settings, users, program, data_lock, listeners } = self;
        let [bank, web] = listeners
            .each_ref()
            .map(|socket| socket.as_ref().map(|socket| net::local_address(socket.as_fd())).transpose());
        let addresses = [bank?, web?];
        let directory = books::open_directory(settings)?;
        let users = Arc::new(number_users(users, settings)?);
        let instance: &'static Instance = Box::leak(Box::new(make_instance(settings, directory.as_ref())?));
        let unlinker = Unlinker(instance);
        logging::share(&instance.control().log);
        if let Some(directory) = &directory {
            books::read(instance, directory, settings.key_window)?;
        }
        for (service, address) in Service::ALL.into_iter().zip(addresses) {
            instance.control().set_address(service, &address.map_or_else(String::new, |address| address.to_string()));
        }
        instance.control().tune(settings.idle_timeout, settings.rate_limit);
        let wakeups = std::iter::repeat_with(|| EventFd::new().map(Arc::new)).take(MAX_WORKERS);
        let wakeups = wakeups.collect::<Result<_, _>>()?;
        let journal = Arc::new(EventFd::new()?);
        let has_web = listeners[Service::Web.index()].is_some();
        let access_log = has_web.then(|| make_access_log(instance, settings)).transpose()?;
        let moves_connections = settings.accept == AcceptMode::Dispatch;
        let supervisor =
            Supervisor::new(process::monotonic_ns(), settings.workers, directory.is_some(), moves_connections);
        let common = Common {
            instance,
            settings,
            program,
            read_settings,
            users,
            wakeups,
            journal,
            access_log,
            directory,
            data_lock,
        };
        let mut driver = Driver::new(common, supervisor, EventSources::new()?, addresses, Connections::new(instance));
        driver.begin(listeners)?;
        announce(instance, settings, &driver.worker_pids());
        Ok((driver, unlinker))
    }
}

/// Gives each user a number of his own, durably: before any of them is let in, by who holds the data directory's lock.
fn number_users(users: Users, settings: &Settings) -> Result<Users, PrincipalsError> {
    let principals = Principals::admit(&settings.data, users.names())?;
    Ok(users.numbered(|name| principals.of(name)))
}

fn check_environment(needs: &Needs) -> Result<(), MasterError> {
    let needed = needs.descriptors;
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
        ledger: needs::shape(
            settings,
            directory.map_or(settings.accounts, |directory| directory.openings().accounts()),
        ),
        connections: needs::connections_of(settings),
        queue_depth: settings.queue_depth,
        accept_mode: settings.accept as u32,
        data: &served::full_path(&settings.data).display().to_string(),
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
    logging::announce(&line);
}
