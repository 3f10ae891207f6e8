//! Upgrade: the master executes the program that now stands where its own stood, and that goes on with everything: listening
//! sockets, connections, shared memory, children. Then the children are replaced one by one.
//!
//! 1. *Ask* (`ask.rs`): the new program runs beside this one, is told what it would be left, makes every check that it will make after
//!    `execve(2)`, and says what it is. Nothing is touched, the loop goes on serving, and there is a deadline.
//! 2. *Execute* (`execute.rs`): descriptors lose CLOEXEC, their numbers and the supervisor's state go into a memfd ([`HandOver`]).
//!    Workers and journal go on meanwhile, and who connects waits in the backlog.
//! 3. *Resume* (`resume.rs`): the new program first does all that can fail, without touching what it was left. If something does
//!    fail, it executes the old program again, whose file it was left open, and that goes on as before. If that cannot either, since shared
//!    memory is gone, it starts anew from the journal (`start_over.rs`).
//! 4. The supervisor replaces the children.

mod ask;
mod execute;
mod resume;
mod start_over;

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::config::Settings;
use crate::process::master::supervisor::Supervisor;
use crate::service::entry::Entry;
use crate::store::connection::PerService;
use crate::store::instance;
pub use ask::{NewProgram, check};
pub use resume::{Left, resume};

/// The environment variable that names the descriptor of the [`HandOver`].
const VARIABLE: &str = "VAULT_UPGRADE";
/// The environment variable by which a new program that cannot go on tells the old one, which it executes again, why.
const RETURNED: &str = "VAULT_UPGRADE_RETURNED";
/// The option by which a program is asked whether it fits.
const ASK: &str = "--check-upgrade";
/// Goes up with every change of [`HandOver`].
const VERSION: u32 = 4;

/// What two programs must agree on for one to go on where the other was.
fn layout(services: &[Entry]) -> String {
    let services = services.iter().map(|service| service.name).collect::<Vec<_>>().join(",");
    format!("layout {} services {services} hand-over {VERSION}", instance::layout())
}

/// What the old program leaves to the new one: its state, and names and numbers of what stays open.
#[derive(Serialize, Deserialize)]
pub struct HandOver {
    layout: String,
    instance: String,
    boot: u32,
    settings: Settings,
    /// Who may log in, as the text of a users file; none in demo mode. Should the file be gone, the old program goes on with this.
    users: Option<String>,
    /// The path by which the program was invoked.
    program: PathBuf,
    /// The file of the old program.
    old_program: RawFd,
    data_lock: RawFd,
    alive: RawFd,
    wakeups: Vec<RawFd>,
    journal_wakeup: RawFd,
    listeners: ListenersLeft,
    shared_listeners: ListenersLeft,
    workers: Vec<WorkerLeft>,
    journal: Option<ChildLeft>,
    /// Slot and descriptor of each connection.
    connections: Vec<(u32, RawFd)>,
    supervisor: Supervisor,
}

type ListenersLeft = PerService<Option<RawFd>>;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct ChildLeft {
    pid: i32,
    pidfd: RawFd,
}

#[derive(Serialize, Deserialize)]
struct WorkerLeft {
    index: usize,
    leaving: bool,
    owes_retraction: bool,
    connections: u32,
    listeners: ListenersLeft,
    process: Option<ProcessLeft>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct ProcessLeft {
    child: ChildLeft,
    lane: RawFd,
    turns_before: u64,
}

impl HandOver {
    /// Every descriptor that stays open.
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
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
            .chain(self.connections.iter().map(|(_, socket)| *socket))
    }
}

/// What a program that was asked says of itself.
#[derive(Serialize, Deserialize)]
struct Introduction {
    layout: String,
    version: String,
    /// Settings that differ and stay as they are, by name.
    stay: Vec<String>,
}

/// The path by which this program was invoked, made absolute and not resolved: a release is often switched by a symbolic link, and
/// what it points to later is what an upgrade is to execute. If it does not lead to this program, the path that the kernel knows.
///
/// # Errors
/// The kernel knows none (`readlink(2)` of `/proc/self/exe`).
pub fn invoked_program() -> std::io::Result<PathBuf> {
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
