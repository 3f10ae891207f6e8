//! The `client` binary as a load of keyed operations that a test does things to, with its acknowledgement log.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::checker::{Ack, acks_of};
use crate::server::{await_that, send};

/// Only what moves money: everything else leaves no trace in the journal.
const MIX: &str = "transfer=50,withdraw=25,deposit=25";

/// The `--duration` of a load that lasts until it is told to end: longer than any test.
pub const UNTIL_TOLD: &str = "200s";

/// About the length of the log's first line.
const HEADING_BYTES: u64 = 100;

/// A running client.
pub struct Load {
    directory: TempDir,
    process: Child,
    is_told_to_end: bool,
}

/// What a client brought home.
pub struct Brought {
    /// Its acknowledgement log.
    pub acks: Vec<Ack>,
    /// Its report, as `docs/CLIENT.md` describes it.
    pub report: Value,
    /// What it said.
    pub said: String,
}

impl Load {
    /// Starts a client that does `ops` operations on each of `connections` connections, however long it takes, and compares the
    /// books at the end.
    pub fn start(address: SocketAddr, connections: u32, ops: u32) -> Load {
        let (connections, ops) = (connections.to_string(), ops.to_string());
        Load::start_with(address, &["--connections", &connections, "--ops", &ops, "--verify", "--pipeline", "4"])
    }

    /// Starts a client with these arguments beside those that say where the server is, what it is asked for, and that losses
    /// are to be sent again.
    pub fn start_with(address: SocketAddr, args: &[&str]) -> Load {
        Load::spawn(&["--host", &address.ip().to_string(), "--port", &address.port().to_string()], args)
    }

    /// As [`Load::start_with`], for servers that are one ledger.
    pub fn start_at(servers: &[SocketAddr], args: &[&str]) -> Load {
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        Load::spawn(&["--server", &servers.join(",")], args)
    }

    fn spawn(place: &[&str], args: &[&str]) -> Load {
        let directory = tempfile::tempdir().unwrap();
        let said = fs::File::create(directory.path().join("said")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_client"))
            .args(place)
            .args(["--mix", MIX, "--retry-for", "30", "--loops", "1", "--ack-log"])
            .arg(directory.path().join("acks"))
            .arg("--json")
            .arg(directory.path().join("report"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        Load { directory, process, is_told_to_end: false }
    }

    /// Whether it was answered already: until then it has not logged in on all of its connections, and takes a loss for a reason
    /// to give up.
    pub fn has_begun(&self) -> bool {
        let log = fs::metadata(self.directory.path().join("acks"));
        log.is_ok_and(|log| log.len() > 2 * HEADING_BYTES)
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Tells one that lasts [`UNTIL_TOLD`] to end; it must not have ended before.
    pub fn tell_to_end(&mut self) {
        // Until it is collected, the pid means no other process.
        if !self.is_over() {
            send(self.process.id(), Signal::SIGINT);
        }
        self.is_told_to_end = true;
    }

    /// As [`Load::tell_to_end`], and waits for that.
    ///
    /// # Panics
    /// As [`Load::finish`].
    pub fn end(mut self) -> Brought {
        self.tell_to_end();
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end well: a connection was given up, or the books differ.
    pub fn finish(mut self) -> Brought {
        await_that("the client is done", || self.is_over());
        let said = fs::read_to_string(self.directory.path().join("said")).unwrap();
        let status = self.process.wait().unwrap();
        let is_well = if self.is_told_to_end { has_been_told(&status) } else { status.success() };
        assert!(is_well, "the client ends by {status}, and says {said}");
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap();
        Brought { acks: acks_of(&read("acks")), report: serde_json::from_str(&read("report")).unwrap(), said }
    }
}

/// Tells a client that lasts [`UNTIL_TOLD`] to end: it sends nothing new, waits for the answers that are due, and reports. Returns what it
/// says.
///
/// # Panics
/// It finds something wrong, or it has ended before.
pub fn end(client: Child) -> String {
    // Until it is collected, the pid means no other process.
    send(client.id(), Signal::SIGINT);
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(has_been_told(&output.status), "the client ends by {}, and says {said}", output.status);
    said
}

/// A client that is told to end, and finds nothing wrong, dies of the signal in the end.
fn has_been_told(status: &ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGINT as i32)
}

impl Brought {
    /// What the report says under `key`.
    pub fn count(&self, key: &str) -> u64 {
        self.report[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.report))
    }

    /// The longest time in which nothing was answered, between the first answer and the last one.
    pub fn longest_pause(&self) -> Duration {
        let mut ends: Vec<u64> = self.acks.iter().map(|ack| ack.end).collect();
        ends.sort_unstable();
        Duration::from_nanos(ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap())
    }

    /// Holds that every operation was answered, by its result: done, or refused for want of money.
    ///
    /// # Panics
    /// Something else became of one.
    pub fn must_have_all_answers(&self) {
        self.must_have_answers(&["ERR_INSUFFICIENT"]);
    }

    /// Holds that every operation was answered, by its result or by one of these errors.
    ///
    /// # Panics
    /// Something else became of one.
    pub fn must_have_answers(&self, expected: &[&str]) {
        let errors = self.report["errors"].as_array().unwrap();
        let all_expected = errors.iter().all(|error| expected.contains(&error["error"].as_str().unwrap()));
        assert!(all_expected, "{}", self.report);
        assert_eq!(self.report["failures"].as_array().map(Vec::len), Some(0), "{}", self.report);
        assert_eq!(self.count("total_ops"), self.acks.len() as u64, "a line for each answer");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Until it is collected, the pid means no other process.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
