//! Executing the new program, with all that is handed over.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::hand_over::{
    HandOver, HandedOverCache, HandedOverChild, HandedOverListeners, HandedOverProcess, HandedOverReplica,
    HandedOverWorker, RETURNED, VARIABLE, layout,
};
use crate::ipc::inherit;
use crate::ipc::process::Child;
use crate::process::master::children::Listeners;
use crate::process::master::driver::Driver;

/// Descriptors that stay open, as they are noted one by one.
#[derive(Default)]
struct Kept<'m>(Vec<BorrowedFd<'m>>);

impl<'m> Kept<'m> {
    /// Notes that `fd` stays open, and gives its number.
    fn note(&mut self, fd: BorrowedFd<'m>) -> RawFd {
        self.0.push(fd);
        fd.as_raw_fd()
    }

    fn note_listeners(&mut self, listeners: &'m Listeners) -> HandedOverListeners {
        listeners.each_ref().map(|socket| socket.as_ref().map(|socket| self.note(socket.as_fd())))
    }

    fn note_child(&mut self, child: &'m Child) -> HandedOverChild {
        HandedOverChild { pid: child.pid(), pidfd: self.note(child.as_fd()) }
    }
}

impl Driver {
    /// Executes the new program; returns only if that fails, with the reason; then nothing has changed.
    pub fn execute(&mut self) -> String {
        let why = match self.try_to_execute() {
            Err(why) => why,
            Ok(never) => match never {},
        };
        self.new_program = None;
        why
    }

    fn try_to_execute(&self) -> Result<Infallible, String> {
        let program = self.new_program.as_ref().ok_or("no program was asked")?;
        if !program.is_unchanged() {
            return Err(format!("{} has changed while it was asked", program.path().display()));
        }
        let text = |error: io::Error| error.to_string();
        // Held open until the call below: if the new program cannot go on, it executes this one again.
        let (hand_over, own_file, kept) = self.hand_over().map_err(text)?;
        let message = serde_json::to_vec(&hand_over).map_err(|error| error.to_string())?;
        let message = inherit::message(&message).map_err(text)?;
        let kept: Vec<BorrowedFd<'_>> = kept.into_iter().chain([message.as_fd(), own_file.as_fd()]).collect();
        let path = CString::new(program.path().as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        let stay = |close| kept.iter().try_for_each(|fd| inherit::close_on_exec(*fd, close));
        let failed = stay(false).map_err(text).and_then(|()| {
            let (arguments, environment) = words(message.as_raw_fd(), None).map_err(text)?;
            nix::unistd::execve(&path, &arguments, &environment).map_err(|errno| text(errno.into()))
        });
        // It failed: these descriptors must not leak into programs that this one starts.
        let _ = stay(true);
        failed.map_err(|why| format!("{} cannot be executed: {why}", program.path().display()))
    }

    /// What is handed over, by number for the new program; the file of this program, and what else must stay open for it.
    pub fn hand_over(&self) -> io::Result<(HandOver, File, Vec<BorrowedFd<'_>>)> {
        let own_file = File::open("/proc/self/exe")?;
        let common = &self.common;
        let mut kept = Kept::default();
        let generation = common.instance.generation();
        let workers = self.workers.iter().flatten().map(|slot| HandedOverWorker {
            index: slot.index,
            leaving: slot.leaving,
            owes_retraction: slot.producer.owes_retraction(),
            connections: slot.connections,
            listeners: kept.note_listeners(&slot.listeners),
            process: slot.process.as_ref().map(|process| HandedOverProcess {
                child: kept.note_child(&process.child),
                lane: kept.note(process.lane.as_fd()),
                turns_before: process.turns_before,
            }),
        });
        let workers = workers.collect();
        let hand_over = HandOver {
            layout: layout(common.services),
            instance: generation.instance.clone(),
            boot: generation.boot,
            settings: common.settings.clone(),
            users: common.users.to_text(),
            program: common.program.clone(),
            old_program: own_file.as_raw_fd(),
            data_lock: kept.note(common.data_lock.as_fd()),
            alive: common.instance.alive().map_or(-1, |file| kept.note(file.as_fd())),
            wakeups: common.wakeups.iter().map(|wakeup| kept.note(wakeup.as_fd())).collect(),
            journal_wakeup: kept.note(common.journal.as_fd()),
            listeners: kept.note_listeners(&self.accepting.listeners),
            shared_listeners: kept.note_listeners(&self.shared_listeners),
            workers,
            journal: self
                .journal
                .as_ref()
                .and_then(|journal| journal.child.as_ref())
                .map(|child| kept.note_child(child)),
            cache: common.cache.map(|channel| HandedOverCache {
                wakeup: kept.note(channel.wake_ups.of_cache().as_fd()),
                child: self.cache.as_ref().and_then(|cache| cache.child.as_ref()).map(|child| kept.note_child(child)),
            }),
            replica: common.replica.as_ref().map(|channel| HandedOverReplica {
                wakeup: kept.note(channel.wakeup.as_fd()),
                listener: kept.note(channel.listener.as_fd()),
                child: self
                    .replica
                    .as_ref()
                    .and_then(|replica| replica.child.as_ref())
                    .map(|child| kept.note_child(child)),
            }),
            connections: self.connections.duplicates().map(|(slot, fd)| (slot, kept.note(fd))).collect(),
            supervisor: self.supervisor.clone(),
        };
        Ok((hand_over, own_file, kept.0))
    }
}

/// Executes the old program again, from its file, in place of a new one that cannot go on for the reason `why`. Nothing that was
/// handed over has changed. Returns only if that fails, too.
pub fn go_back(left: &HandOver, message: BorrowedFd<'_>, why: &str) -> io::Error {
    let prepared = inherit::close_on_exec(message, false).and_then(|()| words(message.as_raw_fd(), Some(why)));
    match prepared {
        Ok((arguments, environment)) => inherit::execute_file(left.old_program, &arguments, &environment),
        Err(error) => error,
    }
}

/// The arguments and the environment of the program that is executed in this one's place.
fn words(message: RawFd, returned: Option<&str>) -> io::Result<(Vec<CString>, Vec<CString>)> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let arguments = std::env::args_os().map(|word| text(&word)).collect::<Result<Vec<_>, _>>()?;
    let pair = |name: &OsStr, value: &OsStr| {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        word
    };
    let own = std::env::vars_os().filter(|(name, _)| name != VARIABLE && name != RETURNED);
    let own = own.map(|(name, value)| pair(&name, &value));
    let more = [Some(format!("{VARIABLE}={message}")), returned.map(|why| format!("{RETURNED}={why}"))];
    let environment = own.chain(more.into_iter().flatten().map(OsString::from));
    let environment = environment.map(|word| text(&word)).collect::<Result<Vec<_>, _>>()?;
    Ok((arguments, environment))
}
