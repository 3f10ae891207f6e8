//! What one program hands over to the next, and what the two must agree on.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::config::Settings;
use crate::ipc::inherit::Inheritance;
use crate::ipc::process::Child;
use crate::process::master::children::Listeners;
use crate::process::master::error::MasterError;
use crate::process::master::supervisor::Supervisor;
use crate::service::entry::Entry;
use crate::store::connection::PerService;
use crate::store::instance;
use crate::store::users::Users;

/// The environment variable that names the descriptor of the [`HandOver`].
pub const VARIABLE: &str = "VAULT_UPGRADE";
/// The environment variable that tells the old program, when the new one cannot go on and executes it again, why.
pub const RETURNED: &str = "VAULT_UPGRADE_RETURNED";
/// The option by which a program is asked whether it fits.
pub const ASK: &str = "--check-upgrade";
/// Goes up with every change of [`HandOver`].
pub const VERSION: u32 = 7;

/// What two programs must agree on for an upgrade.
pub fn layout(services: &[Entry]) -> String {
    let services = services.iter().map(|service| service.name).collect::<Vec<_>>().join(",");
    format!("layout {} services {services} hand-over {VERSION}", instance::layout())
}

/// What the old program hands over: its state, and the numbers of the descriptors that stay open.
#[derive(Serialize, Deserialize)]
pub struct HandOver {
    pub layout: String,
    pub instance: String,
    pub boot: u32,
    pub settings: Settings,
    /// Who may log in, as the text of a users file; none in demo mode. Should the file be gone, the old program goes on with this.
    pub users: Option<String>,
    /// The path by which the program was invoked.
    pub program: PathBuf,
    /// The file of the old program.
    pub old_program: RawFd,
    pub data_lock: RawFd,
    pub alive: RawFd,
    pub wakeups: Vec<RawFd>,
    pub journal_wakeup: RawFd,
    pub listeners: HandedOverListeners,
    pub shared_listeners: HandedOverListeners,
    pub workers: Vec<HandedOverWorker>,
    pub journal: Option<HandedOverChild>,
    pub cache: Option<HandedOverCache>,
    pub replica: Option<HandedOverReplica>,
    /// Slot and descriptor of each connection.
    pub connections: Vec<(u32, RawFd)>,
    pub supervisor: Supervisor,
}

pub type HandedOverListeners = PerService<Option<RawFd>>;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct HandedOverChild {
    pub pid: i32,
    pub pidfd: RawFd,
}

/// How the cache process is woken up, and the process, if there is one.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct HandedOverCache {
    pub wakeup: RawFd,
    pub child: Option<HandedOverChild>,
}

/// How the replica process is woken up, where peers connect to, and the process, if there is one.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct HandedOverReplica {
    pub wakeup: RawFd,
    pub listener: RawFd,
    pub child: Option<HandedOverChild>,
}

#[derive(Serialize, Deserialize)]
pub struct HandedOverWorker {
    pub index: usize,
    pub leaving: bool,
    pub owes_retraction: bool,
    pub connections: u32,
    pub listeners: HandedOverListeners,
    pub process: Option<HandedOverProcess>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct HandedOverProcess {
    pub child: HandedOverChild,
    pub lane: RawFd,
    pub turns_before: u64,
}

impl HandOver {
    /// Every descriptor that stays open.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let single = [self.old_program, self.data_lock, self.alive, self.journal_wakeup];
        let workers = self.workers.iter().flat_map(|worker| {
            let process = worker.process.iter().flat_map(|process| [process.child.pidfd, process.lane]);
            worker.listeners.iter().flatten().copied().chain(process)
        });
        single
            .into_iter()
            .chain(self.wakeups.iter().copied())
            .chain(self.listeners.iter().chain(&self.shared_listeners).flatten().copied())
            .chain(workers)
            .chain(self.journal.iter().map(|child| child.pidfd))
            .chain(
                self.cache
                    .iter()
                    .flat_map(|cache| cache.child.map(|child| child.pidfd).into_iter().chain([cache.wakeup])),
            )
            .chain(self.replica.iter().flat_map(|replica| {
                let own = [replica.wakeup, replica.listener];
                replica.child.map(|child| child.pidfd).into_iter().chain(own)
            }))
            .chain(self.connections.iter().map(|(_, socket)| *socket))
    }
}

/// What a program that was asked says of itself.
#[derive(Serialize, Deserialize)]
pub struct Introduction {
    pub layout: String,
    pub version: String,
    /// Settings that differ and stay as they are, by name.
    pub stay: Vec<String>,
}

/// Takes ownership of the descriptors that were handed over.
pub struct Descriptors<'a>(pub &'a mut Inheritance);

impl Descriptors<'_> {
    pub fn take(&mut self, number: RawFd) -> Result<OwnedFd, MasterError> {
        self.0.take(number).map_err(|source| MasterError::Io { step: "take over a descriptor", source })
    }

    pub fn take_listeners(&mut self, left: HandedOverListeners) -> Result<Listeners, MasterError> {
        let mut listeners = Listeners::default();
        for (listener, number) in listeners.iter_mut().zip(left) {
            *listener = number.map(|number| self.take(number)).transpose()?;
        }
        Ok(listeners)
    }

    pub fn take_child(&mut self, child: HandedOverChild) -> Result<Child, MasterError> {
        Ok(Child::adopt(child.pid, self.take(child.pidfd)?))
    }
}

/// The users as they were. The users file may be why the new program could not go on.
pub fn users_that_were_known(left: &HandOver) -> Result<Users, MasterError> {
    let Some(text) = &left.users else { return Ok(Users::demo()) };
    Users::from_text(text).map_err(|(line, why)| MasterError::Io {
        step: "use the users that were known",
        source: io::Error::new(io::ErrorKind::InvalidData, format!("line {line}: {why}")),
    })
}
