//! What the server's processes know of a service: the master reads an [`Entry`], and a worker opens the service with a [`Context`].

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::config::Settings;
use crate::ipc::event::EventFd;
use crate::service::host::Hosted;
use crate::service::log_queue::SharedLog;
use crate::service::status_pages::StatusPages;
use crate::store::access_log::Target;
use crate::store::cache_channel::CacheChannel;
use crate::store::connection::{RingBytes, ServiceId};
use crate::store::instance::Instance;
use crate::store::journal::Directory;
use crate::store::transfer::Shape;
use crate::store::users::Users;

/// A line of the table of services.
pub struct Entry {
    /// What it is called in log lines, metrics and tools, in at most 31 bytes.
    pub name: &'static str,
    /// Where it listens; `None` where the settings have switched it off.
    pub listen: fn(&Settings) -> Option<Listen>,
    /// The address as a user would type it, from `HOST:PORT`.
    pub url: fn(&str) -> String,
    /// What it needs beside its connections; a start is refused where it is not there.
    pub needs: fn(&Settings) -> Needs,
    /// Whether what the settings have it serve can be used, beside what it needs; a start is refused where it cannot.
    ///
    /// # Errors
    /// Why not, and which option changes that.
    pub check: fn(&Settings) -> Result<(), String>,
    /// Options with which it takes less; a start that is refused proposes them.
    pub tunables: &'static [Tunable],
    /// Where its requests are logged, if they are. Services share one log: that of the first of them that is on.
    pub access_log: Option<fn(&Settings) -> Target>,
    /// The pool of segments through which contents come to it from the cache process; `None` where it needs no such process.
    pub transfers: fn(&Settings) -> Option<Shape>,
    /// How large the byte rings of its connections are.
    pub rings: RingBytes,
    /// Opens the service in a worker.
    ///
    /// # Errors
    /// No thread can be had.
    pub open: fn(Context) -> io::Result<Box<dyn Hosted>>,
}

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub host: IpAddr,
    /// The TCP port; 0 for any that is free.
    pub port: u16,
    /// The option that says which port, with what 0 is to it, for error messages.
    pub option: &'static str,
    /// Whether the server starts without the service if the port is taken.
    pub optional: bool,
    /// Seconds that the kernel keeps a connection to itself until its client sends something (TCP_DEFER_ACCEPT of `tcp(7)`);
    /// `None` where the server speaks first, or silent clients are to be seen.
    pub defer_seconds: Option<i32>,
    /// Connections that it may have at a time.
    pub connections: u32,
}

/// What a service needs beside its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Threads in each worker.
    pub threads: u64,
    /// Bytes of memory that it may grow to have in each worker.
    pub growth: u64,
    /// Descriptors in each worker.
    pub descriptors: u64,
    /// Bytes of the largest file that it makes.
    pub file: u64,
    /// Folders whose files it gives to clients: they must be there, and have nothing private in them.
    pub folders: Vec<NamedPath>,
    /// Logs that must be writable.
    pub logs: Vec<NamedPath>,
    /// Threads without which the cache process can do nothing for it.
    pub cache_threads: u64,
    /// Bytes of memory that the cache process may grow to have for it.
    pub cache_growth: u64,
    /// Descriptors in the cache process.
    pub cache_descriptors: u64,
}

/// A path, and the option that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// The path.
    pub path: PathBuf,
    /// The option, for error messages.
    pub option: &'static str,
}

impl NamedPath {
    /// The path, if the settings name one.
    #[must_use]
    pub fn of(path: Option<&PathBuf>, option: &'static str) -> Vec<Self> {
        path.map(|path| NamedPath { path: path.clone(), option }).into_iter().collect()
    }
}

/// An option that says how much of something the server takes.
#[derive(Clone, Copy)]
pub struct Tunable {
    /// The option, as it is written.
    pub option: &'static str,
    /// What a smaller value saves.
    pub saves: Saves,
    /// Where the settings have it.
    pub field: fn(&mut Settings) -> &mut dyn Quantity,
    /// What one of the option is in the settings.
    pub unit: u64,
    /// The option's least value.
    pub least: u64,
}

impl Tunable {
    /// An option whose least value is 1.
    #[must_use]
    pub const fn new(option: &'static str, saves: Saves, field: fn(&mut Settings) -> &mut dyn Quantity) -> Self {
        Tunable { option, saves, field, unit: 1, least: 1 }
    }

    /// An option that counts mebibytes of what the settings have in bytes.
    #[must_use]
    pub const fn mebibytes(option: &'static str, saves: Saves, field: fn(&mut Settings) -> &mut dyn Quantity) -> Self {
        Tunable { unit: 1 << 20, ..Tunable::new(option, saves, field) }
    }
}

/// A number of the settings.
pub trait Quantity {
    /// What it is.
    fn get(&self) -> u64;

    /// Changes it to a number that is not above what it was.
    fn set(&mut self, value: u64);
}

impl<T: Copy + TryFrom<u64> + TryInto<u64>> Quantity for T {
    fn get(&self) -> u64 {
        (*self).try_into().unwrap_or(u64::MAX)
    }

    fn set(&mut self, value: u64) {
        *self = value.try_into().unwrap_or(*self);
    }
}

/// What a smaller value of an option saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saves {
    /// Accounts.
    Accounts,
    /// Known keys.
    Keys,
    /// Slots for connections, and descriptors of their sockets.
    Connections,
    /// Worker processes.
    Workers,
    /// Threads of each worker.
    Threads,
    /// Memory into which a worker grows, or the cache process.
    Growth,
    /// Bytes of a segment of the journal.
    Segment,
    /// Bytes of another file.
    File,
    /// Segments through which contents come from the cache process.
    Transfers,
    /// Blocks of the key-value table.
    KeyValues,
}

/// What a service is opened with, in a worker.
#[derive(Clone)]
pub struct Context {
    /// Its number.
    pub service: ServiceId,
    /// The worker's number.
    pub worker: usize,
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Who may log in.
    pub users: Arc<Users>,
    /// Where the journal's files are; `None` where the ledger is in memory only.
    pub directory: Option<Directory>,
    /// How the process is woken that takes records from the ring, and confirms reads: the replica process; without peers the journal process.
    pub recorder: Arc<EventFd>,
    /// Where requests are logged; `None` where no service that is on writes to it.
    pub access_log: Option<SharedLog>,
    /// How the cache process is asked; `None` where no service needs it.
    pub cache: Option<&'static CacheChannel>,
    /// Makes the pages that show the instance.
    pub status_pages: fn(&'static Instance) -> Box<dyn StatusPages>,
    /// Wakes the event loop, from any thread: there is something for [`crate::service::interface::Service::advance`].
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Has the event loop watch a descriptor of the service's own.
    pub watcher: Rc<dyn Watcher>,
}

/// The event loop, for a service that waits for a descriptor other than those of its connections. It does not know what the descriptor is.
pub trait Watcher {
    /// From now on the loop takes a turn when `fd` has become writable, and once at first if it is.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` gives.
    fn watch_writable(&self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Undoes [`Watcher::watch_writable`].
    fn unwatch(&self, fd: BorrowedFd<'_>);
}
