//! Upgrade: the master executes the program that now stands where its own stood, and that goes on with everything: listening
//! sockets, connections, shared memory, children. Then the children are replaced one by one.
//!
//! The new program is asked first whether it knows this layout of shared memory and accepts the command line; if not, nothing is
//! touched. Between the last turn of the old loop and the first of the new one, workers and journal go on; who connects waits
//! in the backlog.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::config::AcceptMode;
use crate::connection::PerService;
use crate::instance;
use crate::instance::control::WorkerState;
use crate::ipc::inherit::{self, Inheritance};
use crate::ipc::process::{Child, monotonic_ns};
use crate::master::crew::{Common, Crewman, Post};
use crate::master::dispatch::Connections;
use crate::master::watch::{Doors, Master, Stopping, Which};
use crate::master::{MasterError, watch};

/// The environment variable that names the descriptor of the [`HandOver`].
pub const VARIABLE: &str = "VAULT_UPGRADE";
/// The option by which a program is asked for its [`layout`].
const ASK: &str = "--layout";
/// Goes up with every change of [`HandOver`].
const VERSION: u32 = 3;

/// What two programs must agree on for one to go on where the other was.
#[must_use]
pub fn layout() -> String {
    format!("layout {} hand-over {VERSION}", instance::layout())
}

/// What the old program leaves to the new one: names and numbers of what stays open.
#[derive(Serialize, Deserialize)]
pub struct HandOver {
    pub instance: String,
    pub boot: u32,
    pub data_lock: RawFd,
    pub alive: RawFd,
    pub nudges: Vec<RawFd>,
    pub journal_nudge: RawFd,
    doors: DoorsLeft,
    shared_listeners: DoorsLeft,
    posts: Vec<PostLeft>,
    scribe: Option<ChildLeft>,
    /// Slot and descriptor of each connection.
    connections: Vec<(u32, RawFd)>,
    /// The letter that asked for the upgrade.
    letter: Option<u32>,
}

type DoorsLeft = PerService<Option<RawFd>>;

#[derive(Serialize, Deserialize)]
struct ChildLeft {
    pid: i32,
    pidfd: RawFd,
}

#[derive(Serialize, Deserialize)]
struct PostLeft {
    index: usize,
    leaving: bool,
    unsettled: bool,
    owes_retraction: bool,
    connections: u32,
    listeners: DoorsLeft,
    worker: Option<(ChildLeft, RawFd)>,
}

/// The replacement of the children, one after the other.
#[derive(Debug)]
pub struct Rolling {
    /// Posts that are still to be filled anew, the one under way first.
    posts: VecDeque<usize>,
    letter: Option<u32>,
}

impl Rolling {
    /// The letter that asked for it.
    pub fn letter(&self) -> Option<u32> {
        self.letter
    }
}

/// Notes that `fd` stays open, and gives its number.
fn note<'m>(kept: &mut Vec<BorrowedFd<'m>>, fd: BorrowedFd<'m>) -> RawFd {
    kept.push(fd);
    fd.as_raw_fd()
}

fn note_doors<'m>(kept: &mut Vec<BorrowedFd<'m>>, doors: &'m Doors) -> DoorsLeft {
    doors.each_ref().map(|door| door.as_ref().map(|fd| note(kept, fd.as_fd())))
}

impl Master {
    /// Executes the program anew; comes back only when that is not possible, with the reason, and then nothing has changed.
    pub(super) fn upgrade(&mut self, letter: Option<u32>) -> String {
        match self.try_upgrade(letter) {
            Err(why) => {
                log::error!("no upgrade, the server goes on as it is: {why}");
                why
            }
            Ok(never) => match never {},
        }
    }

    fn try_upgrade(&mut self, letter: Option<u32>) -> Result<std::convert::Infallible, String> {
        if self.stopping != Stopping::No || self.rolling.is_some() {
            return Err("the server is stopping, or being upgraded".to_owned());
        }
        let program = self.common.program.clone();
        ask_for_layout(&program)?;
        let (hand_over, kept) = self.hand_over(letter);
        let bytes = serde_json::to_vec(&hand_over).map_err(|error| error.to_string())?;
        let message = inherit::message(&bytes).map_err(|error| error.to_string())?;
        let kept: Vec<BorrowedFd<'_>> = kept.into_iter().chain([message.as_fd()]).collect();
        log::info!("upgrade: executing {}", program.display());
        let stay = |close| kept.iter().try_for_each(|fd| inherit::close_on_exec(*fd, close));
        let failed =
            stay(false).map_err(|error| error.to_string()).and_then(|()| execute(&program, message.as_raw_fd()));
        // Still here: what was to survive must not leak into programs that this one may start.
        let _ = stay(true);
        failed
    }

    /// What stays, by number for the new program, and borrowed for this one.
    fn hand_over(&self, letter: Option<u32>) -> (HandOver, Vec<BorrowedFd<'_>>) {
        let common = &self.common;
        let mut kept: Vec<BorrowedFd<'_>> = Vec::new();
        let generation = common.instance.generation();
        let posts = self.posts.iter().flatten().map(|post| PostLeft {
            index: post.index,
            leaving: post.leaving,
            unsettled: post.unsettled,
            owes_retraction: post.producer.owes_retraction(),
            connections: post.connections,
            listeners: note_doors(&mut kept, &post.listeners),
            worker: post.crewman.as_ref().map(|crewman| {
                let pidfd = note(&mut kept, crewman.child.as_fd());
                (ChildLeft { pid: crewman.child.pid(), pidfd }, note(&mut kept, crewman.lane.as_fd()))
            }),
        });
        let posts = posts.collect();
        let hand_over = HandOver {
            instance: generation.instance.clone(),
            boot: generation.boot,
            data_lock: note(&mut kept, common.data_lock.as_fd()),
            alive: common.instance.alive().map_or(-1, |file| note(&mut kept, file.as_fd())),
            nudges: common.nudges.iter().map(|nudge| note(&mut kept, nudge.as_fd())).collect(),
            journal_nudge: note(&mut kept, common.journal.as_fd()),
            doors: note_doors(&mut kept, &self.doors),
            shared_listeners: note_doors(&mut kept, &self.shared_listeners),
            posts,
            scribe: self
                .scribe
                .as_ref()
                .and_then(|scribe| scribe.child.as_ref())
                .map(|child| ChildLeft { pid: child.pid(), pidfd: note(&mut kept, child.as_fd()) }),
            connections: self.connections.duplicates().map(|(slot, fd)| (slot, note(&mut kept, fd))).collect(),
            letter,
        };
        (hand_over, kept)
    }

    /// Goes on with what the program before this one left.
    pub(super) fn resume(
        common: Common,
        addresses: PerService<Option<SocketAddr>>,
        left: HandOver,
        inheritance: &mut Inheritance,
    ) -> Result<Self, MasterError> {
        let io_error = |source| MasterError::Io { step: "take over a descriptor", source };
        let mut take = |number: RawFd| inheritance.take(number).map_err(io_error);
        let mut duplicates = Vec::new();
        for (slot, number) in left.connections {
            duplicates.push((slot, take(number)?));
        }
        let mut doors = |[bank, web]: DoorsLeft| -> Result<Doors, MasterError> {
            Ok([bank.map(&mut take).transpose()?, web.map(&mut take).transpose()?])
        };
        let mut master = Master::bare(common, addresses)?;
        master.connections = Connections::adopt(master.common.instance, duplicates);
        master.doors = doors(left.doors)?;
        master.shared_listeners = doors(left.shared_listeners)?;
        master.watch_doors()?;
        if let (Some(scribe), Some(child)) = (master.scribe.as_mut(), left.scribe) {
            scribe.child = Some(Child::adopt(child.pid, take(child.pidfd)?));
            master.watch_fd(watch::JOURNAL, Which::Journal)?;
        }
        for post_left in left.posts {
            let index = post_left.index;
            let [bank, web] = post_left.listeners;
            let listeners = [bank.map(&mut take).transpose()?, web.map(&mut take).transpose()?];
            let mut post = Post::adopt(&master.common, index, listeners, post_left.owes_retraction)?;
            (post.leaving, post.unsettled, post.connections) =
                (post_left.leaving, post_left.unsettled, post_left.connections);
            if let Some((child, lane)) = post_left.worker {
                let child = Child::adopt(child.pid, take(child.pidfd)?);
                post.crewman = Some(Crewman::adopt(child, take(lane)?));
            }
            master.posts[index] = Some(post);
            master.watch_crewman(index)?;
        }
        // Whatever came while nobody looked: events of descriptors that are registered now are told once more.
        master.knocked = true;
        let serving = master.posts.iter().flatten().filter(|post| !post.leaving).map(|post| post.index).collect();
        master.rolling = Some(Rolling { posts: serving, letter: left.letter });
        log::info!("upgrade: this program goes on with everything; replacing the children");
        Ok(master)
    }

    /// Takes the next step of replacing the children: the journal process first, then one worker after the other.
    pub(super) fn roll(&mut self) {
        let Some(rolling) = self.rolling.as_mut() else { return };
        let instance = self.common.instance;
        let moving = self.common.settings.accept == AcceptMode::Dispatch && self.stopping == Stopping::No;
        while let Some(&index) = rolling.posts.front().filter(|_| moving) {
            let Some(post) = self.posts[index].as_mut() else {
                rolling.posts.pop_front();
                continue;
            };
            if post.is_of_this_program() {
                if instance.workers()[index].state() != WorkerState::Serving {
                    return;
                }
                rolling.posts.pop_front();
                continue;
            }
            if !post.leaving {
                post.leaving = true;
                post.refill = true;
                instance.workers()[index].ask_to_leave();
                post.nudge();
            }
            return;
        }
        log::info!("upgrade: done");
        if let Some(letter) = self.rolling.take().and_then(|rolling| rolling.letter()) {
            let text = if moving {
                format!("upgraded: master {}, all children are of the new program", std::process::id())
            } else {
                format!(
                    "upgraded: master {}; workers that accept by themselves stay of the old program",
                    std::process::id()
                )
            };
            instance.control().mailbox.answer(letter, &Ok(text));
        }
    }

    /// Has the journal process replaced by one of this program: it writes what waits, and ends.
    pub(super) fn replace_scribe(&mut self) {
        if self.scribe.is_some() {
            self.common.instance.journal_row().ask_to_leave();
            self.common.journal.send();
        }
        self.last_turn_ns = monotonic_ns();
    }
}

/// Asks the program, with this process' own arguments, for its layout.
fn ask_for_layout(program: &Path) -> Result<(), String> {
    let asked = Command::new(program).args(std::env::args_os().skip(1)).arg(ASK).output();
    let output = asked.map_err(|error| format!("{} cannot be executed: {error}", program.display()))?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{} does not start with this command line: {said}", program.display()));
    }
    if answer != layout() {
        return Err(format!(
            "{} has `{answer}`, this server has `{}`: restart it instead",
            program.display(),
            layout()
        ));
    }
    Ok(())
}

/// Executes the program with this process' arguments; comes back only when that fails.
fn execute(program: &Path, message: RawFd) -> Result<std::convert::Infallible, String> {
    let text = |text: &std::ffi::OsStr| CString::new(text.as_bytes()).map_err(|error| error.to_string());
    let path = text(program.as_os_str())?;
    let arguments = std::env::args_os().map(|word| text(&word)).collect::<Result<Vec<_>, _>>()?;
    let variable = format!("{VARIABLE}={message}");
    let own = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
    let own = own.map(|(name, value)| {
        let mut word = name;
        word.push("=");
        word.push(value);
        word
    });
    let environment = own.chain([variable.into()]).map(|word| text(&word)).collect::<Result<Vec<_>, _>>()?;
    nix::unistd::execve(&path, &arguments, &environment).map_err(|errno| io::Error::from(errno).to_string())
}
