//! What the server's processes know of a service: the master reads an [`Entry`], and a worker opens the service with a [`Context`].

use std::io;
use std::sync::Arc;

use crate::base::config::Settings;
use crate::ipc::event::EventFd;
use crate::service::host::Hosted;
use crate::service::status_pages::StatusPages;
use crate::store::access_log::AccessLog;
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::journal::Directory;
use crate::store::users::Users;

/// A line of the table of services.
pub struct Entry {
    /// What it is called in log lines, metrics and tools, in at most 31 bytes.
    pub name: &'static str,
    /// Where it listens; `None` where the settings have switched it off.
    pub listen: fn(&Settings) -> Option<Listen>,
    /// The address as a user would type it, from `HOST:PORT`.
    pub url: fn(&str) -> String,
    /// What it needs in each worker, beside its connections.
    pub needs: fn(&Settings) -> Needs,
    /// Whether it writes to the access log, which is opened only if one of the services does.
    pub writes_access_log: bool,
    /// Opens the service in a worker.
    ///
    /// # Errors
    /// No thread can be had.
    pub open: fn(Context) -> io::Result<Box<dyn Hosted>>,
}

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
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

/// What a service needs in each worker, beside its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Threads.
    pub threads: u64,
    /// Bytes of memory that it may grow to have.
    pub growth: u64,
    /// Descriptors.
    pub descriptors: u64,
    /// Bytes of the largest file that it makes.
    pub file: u64,
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
    /// How the journal process is woken.
    pub journal: Arc<EventFd>,
    /// Where requests are logged; `None` where no service that is on writes to it.
    pub access_log: Option<&'static AccessLog>,
    /// Makes the pages that show the instance.
    pub status_pages: fn(&'static Instance) -> Box<dyn StatusPages>,
    /// Wakes the event loop, from any thread: there is something for [`crate::service::interface::Service::advance`].
    pub wake: Arc<dyn Fn() + Send + Sync>,
}
