//! `vaultctl top` on a terminal: it shows, leaves when asked to, ends when the instance ends, and gives the terminal back.

#[path = "support/server.rs"]
mod server;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use server::{DEADLINE, Server, unused_name};

/// What switches a terminal to its other screen, and back.
const OTHER_SCREEN: &str = "\x1b[?1049h";
const FIRST_SCREEN: &str = "\x1b[?1049l";

/// `vaultctl top` on a terminal of 80 columns and 24 lines.
struct OnTerminal {
    process: Child,
    /// The side of whoever sits before it.
    keys: File,
    /// The side that `top` has: here so that its modes can be asked for.
    terminal: OwnedFd,
    said: String,
}

impl OnTerminal {
    fn start(instance: &str) -> OnTerminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        assert!(!is_raw(&slave), "a new terminal edits lines and echoes");
        let end = || slave.try_clone().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
            .args(["top", "--interval", "0.1", "--instance", instance])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        OnTerminal { process, keys: master.into(), terminal: slave, said: String::new() }
    }

    /// Reads what is shown until it has `text` in it.
    fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.keys.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            assert_ne!(ready, 0, "waited in vain for {text:?} in {:?}", self.said);
            let mut part = [0; 4096];
            let count = self.keys.read(&mut part).unwrap();
            self.said.push_str(&String::from_utf8_lossy(&part[..count]));
        }
    }

    fn is_raw(&self) -> bool {
        is_raw(&self.terminal)
    }

    fn end(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
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

#[test]
fn it_shows_until_somebody_has_seen_enough_and_gives_the_terminal_back() {
    let server = Server::start(&["--workers", "2"]);
    for key in ["q", "\x1b", "\x03"] {
        let mut top = OnTerminal::start(&server.instance);
        top.await_text("running");
        assert!(top.said.contains(OTHER_SCREEN) && top.is_raw());
        for worker in &server.workers {
            top.await_text(&worker.to_string());
        }
        std::io::Write::write_all(&mut top.keys, key.as_bytes()).unwrap();
        top.await_text(FIRST_SCREEN);
        assert!(top.end().success(), "{key:?}: {:?}", top.said);
        assert!(!top.is_raw());
    }
    drop(server.stop());
}

#[test]
fn it_ends_with_the_instance_and_says_so() {
    let server = Server::start(&["--workers", "1"]);
    let mut top = OnTerminal::start(&server.instance);
    top.await_text("running");
    let instance = server.instance.clone();
    drop(server.stop());
    top.await_text(&format!("instance `{instance}` has ended"));
    assert!(top.end().success() && !top.is_raw(), "{:?}", top.said);
}

#[test]
fn without_an_instance_or_a_terminal_it_says_what_is_missing() {
    let instance = unused_name();
    let top = |words: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
        let output = command.args(["top", "--instance"]).args(words).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for words in [&[&*instance][..], &[&*instance, "--once"], &[&*instance, "--once", "--json"]] {
        let (code, said) = top(words);
        assert!(code == 2 && said.contains("runs here"), "{said}");
    }
    for words in [&[&*instance, "--interval", "0"][..], &[&*instance, "--json"], &[&*instance, "--interval", "x"]] {
        assert_eq!(top(words).0, 2);
    }
    let server = Server::start(&["--workers", "1"]);
    let (code, said) = top(&[&server.instance]);
    assert!(code == 2 && said.contains("--once"), "{said}");
    drop(server.stop());
}
