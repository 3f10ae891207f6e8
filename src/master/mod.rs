//! The master: accepts connections and hands them over; has the workers, and replaces those that die.
//!
//! It has one thread for ever (its forks must be safe), waits for nothing but its poll, and never reads a byte that a
//! client sent.

mod care;
mod claim;
mod crew;
mod dispatch;
mod orders;
mod watch;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};

use crate::config::{AcceptMode, Settings};
use crate::crash_point;
use crate::instance::{Blueprint, Instance};
use crate::ipc::names::{Generation, SHM_FOLDER};
use crate::ipc::{IpcError, net, process};
use crate::ledger::{Totals, cut};
use crate::limits::MAX_WORKERS;
use crate::service::users::{Users, UsersError};
pub use claim::ClaimError;
use crew::Common;

/// Open files beside one per connection: standard ones, listeners, locks, and three per worker.
const OTHER_FILES: u64 = 64 + 4 * MAX_WORKERS as u64;

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
        "{needed} open files are needed for --max-connections {connections}, the hard limit is {limit}: \
         raise it (ulimit -Hn), or take fewer connections"
    )]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many may be.
        limit: u64,
        /// What they are needed for.
        connections: u32,
    },
    /// The environment names a crash point that does not exist.
    #[error("{variable}: `{0}` is not of the form WORKER:NAME[#HIT][/stop] with a known name", variable = crash_point::VARIABLE)]
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
        if let Err(error) = self.0.unlink() {
            log::error!("{error}");
        }
    }
}

/// Runs a server until it is told to stop.
///
/// # Errors
/// See [`MasterError`]. Nothing is left behind then either.
pub fn run(settings: Settings) -> Result<(), MasterError> {
    process::set_name("vault-master");
    process::open_standard_descriptors().map_err(|source| MasterError::Io { step: "open /dev/null", source })?;
    let settings: &'static Settings = Box::leak(Box::new(settings));
    let users: &'static Users = Box::leak(Box::new(match &settings.users {
        Some(path) => Users::load(path)?,
        None => Users::demo(),
    }));
    check_environment(settings)?;
    let data_lock = claim::lock_data(&settings.data, &settings.instance)?;
    claim::clear_stale(&settings.instance)?;
    let (listeners, address) = open_listeners(settings)?;
    // Before the first child, which takes the mask off again.
    watch::handled_signals()
        .thread_block()
        .map_err(|errno| IpcError::system("block", "the signals that are read", errno))?;
    let instance: &'static Instance = Box::leak(Box::new(make_instance(settings)?));
    let _unlinker = Unlinker(instance);
    instance.control().set_address(&address.to_string());
    let common = Common { instance, settings, users, data_lock };
    let mut master = watch::Master::new(common, listeners, address)?;
    announce(instance, settings, address, &master.worker_pids());
    master.watch()?;
    close_books(instance)
}

fn check_environment(settings: &Settings) -> Result<(), MasterError> {
    let needed = u64::from(settings.max_connections) + OTHER_FILES;
    let connections = settings.max_connections;
    process::raise_open_files(needed).map_err(|limit| MasterError::OpenFiles { needed, limit, connections })?;
    if let Ok(text) = std::env::var(crash_point::VARIABLE) {
        crash_point::armed_for(&text, 0).map_err(MasterError::CrashPoint)?;
        log::warn!("{} is set: workers will die of it, or halt", crash_point::VARIABLE);
    }
    Ok(())
}

/// One listening socket, or with `reuseport` one for each of the first workers, all on the same port.
fn open_listeners(settings: &Settings) -> Result<(Vec<OwnedFd>, SocketAddr), MasterError> {
    let wanted = SocketAddr::new(settings.host, settings.port);
    let per_worker = settings.accept == AcceptMode::Reuseport;
    let first = net::listener(wanted, per_worker)?;
    let address = net::local_address(first.as_fd())?;
    let mut listeners = vec![first];
    if per_worker {
        for _ in 1..settings.workers {
            listeners.push(net::listener(address, true)?);
        }
    }
    Ok((listeners, address))
}

fn make_instance(settings: &Settings) -> Result<Instance, MasterError> {
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
        accounts: settings.accounts,
        initial_balance: settings.initial_balance,
        max_connections: settings.max_connections,
        queue_depth: settings.queue_depth,
        accept_mode: settings.accept as u32,
        data: &claim::full_path(&settings.data),
    })?)
}

/// One line on the standard output that says all that a reader, or a script, needs to know.
fn announce(instance: &Instance, settings: &Settings, address: SocketAddr, pids: &[i32]) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let mode = format!("{:?}", settings.accept).to_lowercase();
    let objects = instance.generation().name("*");
    let line = format!(
        "ready: {address} pid {} workers {} accept {mode} accounts {} durability none objects {SHM_FOLDER}{objects} \
         {SHM_FOLDER}/sem.{}",
        std::process::id(),
        pids.join(","),
        settings.accounts,
        &objects[1..],
    );
    // Nobody may be listening; the server runs all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Sums up when all workers are gone, and says what happened.
fn close_books(instance: &Instance) -> Result<(), MasterError> {
    let rows = instance.workers();
    let sum = |counter: fn(&crate::instance::stats::WorkerStats) -> u64| -> u64 {
        rows.iter().map(|row| counter(&row.stats)).sum()
    };
    let requests = sum(|stats| stats.requests.iter().map(|counter| counter.get()).sum());
    let seconds = (process::monotonic_ns() - instance.control().started_ns()) / 1_000_000_000;
    // No worker is left that could die under it.
    let Some(totals) = cut::take(instance.table()) else { return Ok(()) };
    let Totals { accounts, sum: held, deposited, withdrawn, lsn } = totals;
    let line = format!(
        "stopped: after {seconds} s, {} connections, {requests} requests, {lsn} operations; {accounts} accounts hold \
         {held}, deposited {deposited}, withdrawn {withdrawn}",
        sum(|stats| stats.accepted.get()),
    );
    let _ = writeln!(io::stdout(), "{line}");
    let (expected, found) = (instance.table().opening(), totals.opening());
    if expected == found { Ok(()) } else { Err(MasterError::Books { expected, found }) }
}

/// The signals that the master reads instead of being interrupted by them.
fn signal_set(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}
