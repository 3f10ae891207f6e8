//! Ctrl-C in a load run, and the like: the run ends as its `--duration` would, and reports what it found.

use crate::server;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use server::{Server, await_that, send};
use tempfile::TempDir;

/// Longer than the client waits for replies after an interruption, and much shorter than its timeouts.
const SOON: Duration = Duration::from_secs(8);

/// A load run under way, its files in a folder of its own.
struct Run {
    process: Child,
    folder: TempDir,
    has_log: bool,
}

/// What it left.
struct Left {
    status: ExitStatus,
    said: String,
    complaints: String,
    report: Option<Value>,
    acks: String,
}

impl Run {
    fn start(server: &Server, args: &str) -> Run {
        Run::start_by(Command::new(env!("CARGO_BIN_EXE_client")), server, args)
    }

    fn start_by(mut command: Command, server: &Server, args: &str) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let has_log = !args.contains("--churn");
        command.current_dir(folder.path()).args(["--port", &server.address.port().to_string(), "--json", "report"]);
        if has_log {
            command.args(["--mix", "deposit=1", "--ack-log", "acks"]);
        }
        let file = |name| File::create(folder.path().join(name)).unwrap();
        command.args(args.split(' ')).stdin(Stdio::null()).stdout(file("said")).stderr(file("complaints"));
        Run { process: command.spawn().unwrap(), folder, has_log }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Waits until operations were answered.
    fn begin(self, server: &Server) -> Run {
        let stats = server.stats();
        await_that("the load has begun", || match self.has_log {
            true => self.read("acks").lines().count() > 20,
            false => stats.workers()[0].stats.services[0].accepted.get() > 20,
        });
        self
    }

    fn signal(&self, signal: Signal) {
        send(self.process.id(), signal);
    }

    fn wait(mut self) -> Left {
        let mut status = None;
        await_that("the client ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        let report = self.read("report");
        let report = (!report.is_empty()).then(|| serde_json::from_str(&report).expect("a whole report"));
        let names = fs::read_dir(self.folder.path()).unwrap();
        assert!(names.count() <= 4, "nothing else is left");
        let (said, complaints, acks) = (self.read("said"), self.read("complaints"), self.read("acks"));
        Left { status: status.unwrap(), said, complaints, report, acks }
    }

    fn interrupt(self, signal: Signal) -> Left {
        let began = Instant::now();
        self.signal(signal);
        let left = self.wait();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        left
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

impl Left {
    fn number(&self, key: &str) -> u64 {
        self.report.as_ref().and_then(|report| report[key].as_u64()).unwrap_or_else(|| panic!("no {key}"))
    }

    fn must_hold_a_result(&self, signal: Signal, what: &str) {
        assert_eq!(self.status.signal(), Some(signal as i32), "{what}: {:?} {}", self.status, self.complaints);
        let report = self.report.as_ref().unwrap();
        assert_eq!(report["interrupted"], signal.as_str(), "{what}");
        assert!(self.said.starts_with(&format!("RESULT:\ntotal_ops={} ", self.number("total_ops"))), "{what}");
        assert!(self.said.contains(&format!("\nInterrupted: {signal} ")), "{what}: {}", self.said);
    }
}

fn small_server() -> Server {
    Server::start(&["--workers", "1", "--accounts", "20"])
}

fn stop_all(server: &Server) {
    let pids = server.workers_now().into_iter().chain(server.journal_now()).chain([server.master]);
    pids.for_each(|pid| send(pid, Signal::SIGSTOP));
}

#[test]
fn an_interrupted_run_tells_what_it_found_whichever_way_it_drives() {
    for (args, signal) in [
        ("--threads 2 --duration 60s --verify", Signal::SIGINT),
        ("--threads 2 --duration 60s --pipeline 16 --verify", Signal::SIGTERM),
        ("--connections 4 --loops 2 --duration 60s --verify", Signal::SIGHUP),
        ("--rate 500 --threads 4 --duration 60s --verify", Signal::SIGINT),
        ("--threads 2 --duration 60s --no-keys --verify", Signal::SIGTERM),
        ("--threads 2 --duration 60s --warmup 60s --verify", Signal::SIGINT),
        ("--churn --threads 2 --duration 60s", Signal::SIGINT),
    ] {
        let server = small_server();
        let left = Run::start(&server, args).begin(&server).interrupt(signal);
        left.must_hold_a_result(signal, args);
        assert_eq!(left.number("err"), 0, "{args}: {}", left.said);
        if args.contains("--verify") {
            assert!(left.said.contains("\nverify: OK, totals and 20 balances agree"), "{args}: {}", left.said);
            assert!(left.acks.ends_with('\n'), "{args}");
        }
        if args.contains("--warmup") {
            assert_eq!(left.number("total_ops"), 0, "{args}");
        } else {
            let acks = left.acks.lines().count().saturating_sub(1) as u64;
            assert!(left.number("total_ops") == acks || args.contains("--churn"), "{args}: {acks}");
        }
        assert!(server.stop().status.success());
    }
}

#[test]
fn operations_of_the_plan_that_were_not_sent_are_reported() {
    for args in ["--threads 2 --ops 1000000", "--connections 2 --ops 1000000", "--rate 900 --threads 2 --ops 1000000"] {
        let server = small_server();
        let left = Run::start(&server, args).begin(&server).interrupt(Signal::SIGINT);
        left.must_hold_a_result(Signal::SIGINT, args);
        assert_eq!(left.number("total_ops") + left.number("unsent"), 2_000_000, "{args}");
    }
}

#[test]
fn a_server_that_hangs_or_is_gone_does_not_prevent_the_result() {
    for args in ["--threads 2 --duration 60s --verify", "--connections 3 --duration 60s --verify"] {
        for gone in [false, true] {
            let mut server = small_server();
            let run = Run::start(&server, &format!("{args} --retry-for 60s --timeout 60s")).begin(&server);
            let what = format!("{args}, gone: {gone}");
            if gone {
                server.kill_all();
            } else {
                stop_all(&server);
            }
            let left = run.interrupt(Signal::SIGINT);
            left.must_hold_a_result(Signal::SIGINT, &what);
            assert!(left.number("ok") > 0 && left.number("err") > 0, "{what}: what was under way is in doubt");
            assert!(left.said.contains("\nverify: NOT DONE, the server could not be asked: "), "{what}: {}", left.said);
            let report = left.report.as_ref().unwrap();
            assert!(report["verify"].is_null() && report["unverified"].is_string(), "{what}: {report}");
            assert!(left.complaints.starts_with("client: cannot verify: "), "{what}: {}", left.complaints);
        }
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let server = small_server();
    let run = Run::start(&server, "--threads 2 --duration 60s --timeout 60s").begin(&server);
    stop_all(&server);
    let began = Instant::now();
    run.signal(Signal::SIGINT);
    // A different one: two pending signals of the same number are merged into one.
    run.signal(Signal::SIGTERM);
    let left = run.wait();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(left.status.signal().is_some() && left.said.is_empty() && left.report.is_none(), "{}", left.said);
    assert!(left.acks.ends_with('\n'), "the log has what was answered");
}

#[test]
fn before_the_run_there_is_nothing_to_report() {
    let server = small_server();
    stop_all(&server);
    let run = Run::start(&server, "--threads 2 --duration 60s");
    await_that("it has connected", || {
        let sockets = fs::read_dir(format!("/proc/{}/fd", run.process.id())).into_iter().flatten();
        sockets.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
    });
    let left = run.interrupt(Signal::SIGINT);
    assert_eq!(left.status.signal(), Some(Signal::SIGINT as i32));
    assert!(left.said.is_empty() && left.complaints.is_empty() && left.report.is_none());
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let server = small_server();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_client")]);
    let run = Run::start_by(shell, &server, "--threads 2 --duration 1s").begin(&server);
    run.signal(Signal::SIGHUP);
    let left = run.wait();
    assert!(left.status.success() && left.report.unwrap()["interrupted"].is_null(), "{}", left.complaints);
}

#[test]
fn a_check_that_failed_counts_more_than_the_interruption() {
    let server = small_server();
    let run = Run::start(&server, "--threads 2 --duration 60s --verify").begin(&server);
    // An operation that the run does not know of.
    let other = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["deposit", "1", "77", "--port", &server.address.port().to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(other.unwrap().success());
    let left = run.interrupt(Signal::SIGINT);
    assert_eq!(left.status.code(), Some(1), "{}", left.said);
    assert!(left.said.contains("verify: MISMATCH"), "{}", left.said);
}
