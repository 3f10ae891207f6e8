//! Programs on a terminal: what they show, what is typed, and in which modes they leave it.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::server::{DEADLINE, await_that, send};

/// What switches a terminal to its other screen, and back.
pub const OTHER_SCREEN: &str = "\x1b[?1049h";
pub const FIRST_SCREEN: &str = "\x1b[?1049l";

/// A program on a terminal of 80 columns and 24 lines.
pub struct OnTerminal {
    process: Child,
    /// The side of whoever sits before it.
    keys: Option<File>,
    /// The side that the program has: here so that its modes can be asked for.
    terminal: OwnedFd,
    /// What was shown so far.
    pub said: String,
}

impl OnTerminal {
    /// Starts it, in a process group of its own as a shell does: one that has no parent to wake it cannot be stopped.
    pub fn start(program: &str, args: &[&str]) -> OnTerminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        assert!(!is_raw(&slave), "a new terminal edits lines and echoes");
        // openpty(3) leaves them to every child: the window of one that has its outer side as well would never close.
        for fd in [&master, &slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let end = || slave.try_clone().unwrap();
        let mut command = Command::new(program);
        command.args(args).process_group(0).stdin(end()).stdout(end()).stderr(end());
        let process = command.spawn().unwrap();
        OnTerminal { process, keys: Some(master.into()), terminal: slave, said: String::new() }
    }

    /// Reads what is shown until it has `text` in it.
    pub fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        let keys = self.keys.as_mut().unwrap();
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(keys.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            assert_ne!(ready, 0, "waited in vain for {text:?} in {:?}", self.said);
            let mut part = [0; 4096];
            let count = keys.read(&mut part).unwrap();
            self.said.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Whether keys are neither shown nor made into lines.
    pub fn is_raw(&self) -> bool {
        is_raw(&self.terminal)
    }

    pub fn signal(&self, signal: Signal) {
        send(self.process.id(), signal);
    }

    /// Waits until the process is stopped, not ended.
    pub fn await_stop(&self) {
        await_that("it is stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
    }

    /// Waits until the modes are those of a program that reads keys.
    pub fn await_raw(&self) {
        await_that("it reads keys again", || self.is_raw());
    }

    /// Closes the window.
    pub fn go_away(&mut self) {
        self.keys = None;
    }

    /// Types until the process ends. A key that comes in the instant of a new size may wait for the next one: the library reads
    /// descriptors by their edges, and returns with the first event.
    pub fn press_until_end(&mut self, key: &str) -> ExitStatus {
        let mut status = None;
        await_that("it ends", || {
            // The terminal may be gone already.
            let _ = self.keys.as_mut().unwrap().write_all(key.as_bytes());
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        await_that("it ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

fn is_raw(terminal: &OwnedFd) -> bool {
    !tcgetattr(terminal).unwrap().local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO)
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Until it is collected, the pid means no other process.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
