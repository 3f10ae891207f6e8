//! System calls that fail in the master: whatever it needs and cannot have, nobody who is served notices, and it is tried again.

use crate::{bank, group, injector, server, tools};

use std::fs;

use bank::{Bank, deposit};
use bank_vault::service::bank::wire::{Request, Response};
use group::Group;
use injector::Injector;
use nix::sys::signal::Signal;
use server::{Server, await_that, lives, send};
use tools::tool;

const ARGS: [&str; 4] = ["--workers", "2", "--accounts", "100"];

/// A client of each worker, which goes on being served whatever happens.
struct Clients(Vec<Bank>);

impl Clients {
    fn of(server: &Server) -> Clients {
        Clients((0..4).map(|_| Bank::demo(server.address)).collect())
    }

    fn are_served(&mut self) {
        for bank in &mut self.0 {
            assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
        }
    }
}

/// What makes the master need something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A worker was killed.
    Worker,
    /// The journal process was killed.
    Journal,
    /// SIGTTIN.
    OneMore,
    /// A client has come.
    Connection,
    /// Nothing: `drain`.
    OneLess,
}

/// A call, the errors that it is to fail with, and what makes the master call it.
const CALLS: &[(&str, &[&str], &[Need])] = &[
    ("socketpair", &["EMFILE", "ENFILE", "ENOBUFS"], &[Need::Worker, Need::OneMore]),
    ("clone,clone3,fork", &["EAGAIN", "ENOMEM"], &[Need::Worker, Need::Journal, Need::OneMore]),
    ("pidfd_open", &["EMFILE", "ENOMEM"], &[Need::Worker, Need::Journal, Need::OneMore]),
    ("epoll_ctl", &["ENOSPC", "ENOMEM"], &[Need::Worker, Need::Journal, Need::OneMore]),
    ("openat", &["EMFILE", "EACCES"], &[Need::OneMore]),
    ("mmap", &["ENOMEM"], &[Need::OneMore]),
    ("link", &["ENOSPC"], &[Need::OneMore]),
    ("accept4", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EPERM"], &[Need::Connection]),
    ("sendmsg", &["ETOOMANYREFS", "ENOBUFS", "EAGAIN"], &[Need::Connection]),
    ("waitid", &["EINVAL"], &[Need::Worker, Need::Journal]),
    ("unlink", &["EACCES", "EROFS"], &[Need::OneLess]),
    ("recvmsg", &["ENOMEM"], &[Need::OneLess]),
];

fn provoke(server: &Server, need: Need) -> Option<u32> {
    match need {
        Need::Worker => {
            let victim = server.workers_now()[0];
            send(victim, Signal::SIGKILL);
            return Some(victim);
        }
        Need::Journal => {
            let victim = server.journal_now().unwrap();
            send(victim, Signal::SIGKILL);
            return Some(victim);
        }
        Need::OneMore => server.signal(Signal::SIGTTIN),
        Need::OneLess => server.signal(Signal::SIGTTOU),
        Need::Connection => {}
    }
    None
}

fn survive(call: &str, error: &str, need: Need) {
    let case = format!("{call} gives {error}, {need:?}");
    let server = Server::start(&ARGS);
    let mut clients = Clients::of(&server);
    clients.are_served();
    let injector = Injector::attach(server.master, &format!("{call}:error={error}:when=1..3"));
    let victim = provoke(&server, need);
    // Whoever connects meanwhile waits at most.
    let mut new = Bank::connect(server.address);
    await_that(&format!("{case}: it did fail, so far {}", injector.seen()), || injector.injected() > 0);
    clients.are_served();
    new.login("demo", "demo").unwrap().unwrap();
    let wanted = match need {
        Need::OneMore => 3,
        Need::OneLess => 1,
        _ => 2,
    };
    await_that(&format!("{case}: all are there again"), || {
        lives(server.master)
            && server.workers_now().len() == wanted
            && server.journal_now().is_some()
            && victim.is_none_or(|victim| !lives(victim))
    });
    clients.are_served();
    assert!(matches!(new.call(&Request::Ping).unwrap(), Response::Ping { .. }), "{case}");
    drop(injector);
    let said = server.stderr();
    if matches!(need, Need::Worker | Need::Journal | Need::OneMore) && call != "waitid" {
        let warned = said.lines().any(|line| line.contains("WARN") && line.contains("cannot") && line.contains(error));
        assert!(warned, "{case}: a line names the error: {said}");
    }
    drop((clients, new));
    let output = server.stop();
    assert!(output.status.success(), "{case}: {output:?}");
}

/// The table's rows of some calls; several tests, so that they run side by side.
fn survive_all(calls: &[&str]) {
    for &(call, errors, needs) in CALLS.iter().filter(|(call, ..)| calls.contains(call)) {
        for &need in needs {
            for error in errors {
                survive(call, error, need);
            }
        }
    }
}

#[test]
#[ignore = "needs strace"]
fn a_process_that_cannot_be_forked_or_watched_is_started_later() {
    survive_all(&["clone,clone3,fork", "pidfd_open"]);
}

#[test]
#[ignore = "needs strace"]
fn a_worker_without_a_lane_is_started_later() {
    survive_all(&["socketpair", "openat", "mmap", "link"]);
}

#[test]
#[ignore = "needs strace"]
fn what_cannot_be_watched_or_collected_at_once_is_later() {
    survive_all(&["epoll_ctl", "waitid"]);
}

#[test]
#[ignore = "needs strace"]
fn connections_that_cannot_be_accepted_or_handed_over_at_once_are_later() {
    survive_all(&["accept4", "sendmsg"]);
}

#[test]
#[ignore = "needs strace"]
fn a_worker_leaves_also_when_its_names_cannot_be_removed() {
    survive_all(&["unlink", "recvmsg"]);
}

#[test]
fn every_call_of_the_table_is_in_a_test() {
    let tested = [
        "clone,clone3,fork",
        "pidfd_open",
        "socketpair",
        "openat",
        "mmap",
        "link",
        "epoll_ctl",
        "waitid",
        "accept4",
        "sendmsg",
        "unlink",
        "recvmsg",
    ];
    assert_eq!(CALLS.iter().filter(|(call, ..)| !tested.contains(call)).count(), 0);
}

/// The limits of a running process (`prlimit(1)`).
fn limit(pid: u32, what: &str) {
    assert!(tool("prlimit", "util-linux").args(["--pid", &pid.to_string(), what]).status().unwrap().success());
}

#[test]
fn a_master_without_descriptors_keeps_serving_and_replaces_everybody_later() {
    for accept in ["dispatch", "shared", "reuseport"] {
        let server = Server::start(&[&ARGS[..], &["--accept", accept]].concat());
        let mut survivor = Bank::demo(server.address);
        limit(server.master, "--nofile=3:");
        let victims = [server.workers_now(), server.journal_now().into_iter().collect()].concat();
        for &victim in &victims {
            send(victim, Signal::SIGKILL);
        }
        await_that("it says so", || server.stderr().matches("cannot be started").count() >= 2);
        assert!(lives(server.master), "{accept}");
        limit(server.master, "--nofile=1024:");
        await_that(&format!("{accept}: all are back"), || {
            server.workers_now().len() == 2 && server.journal_now().is_some()
        });
        if accept == "dispatch" {
            assert!(matches!(survivor.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
        }
        // The kernel chooses among the sockets of `reuseport`, the dead worker's included, which its successor has now.
        Bank::demo(server.address).call(&deposit(1, 1)).unwrap();
        assert!(server.stop().status.success(), "{accept}");
    }
}

#[test]
#[ignore = "needs root, to make a control group"]
fn a_full_pids_cgroup_is_survived() {
    let group = Group::new("pids");
    let server = Server::start(&ARGS);
    let mut clients = Clients::of(&server);
    group.add(server.master);
    group.set("pids.max", "1");
    for victim in [server.workers_now()[0], server.journal_now().unwrap()] {
        send(victim, Signal::SIGKILL);
    }
    await_that("both cannot be started", || {
        let said = server.stderr();
        said.contains("the journal process cannot be started: cannot fork") && said.matches("EAGAIN").count() >= 2
    });
    group.set("pids.max", "max");
    await_that("both are back", || server.workers_now().len() == 2 && server.journal_now().is_some());
    clients.are_served();
    drop(clients);
    assert!(server.stop().status.success());
}

/// A worker whose threads cannot be started ends, and is tried again; so is a journal process.
#[test]
#[ignore = "needs root, to make a control group"]
fn children_without_threads_are_started_again() {
    let group = Group::new("pids");
    let server = Server::start(&ARGS);
    let mut clients = Clients::of(&server);
    group.add(server.master);
    // The process itself, and no thread of it.
    group.admit(1);
    send(server.journal_now().unwrap(), Signal::SIGKILL);
    await_that("it cannot go on without threads", || server.stderr().matches("cannot go on").count() >= 2);
    group.set("pids.max", "max");
    await_that("it is there", || server.journal_now().is_some());
    clients.are_served();
    group.admit(1);
    send(server.workers_now()[0], Signal::SIGKILL);
    await_that("a worker cannot go on without threads", || {
        server.stderr().contains("worker 0 cannot go on") || server.stderr().contains("worker 1 cannot go on")
    });
    group.set("pids.max", "max");
    await_that("both workers are there", || server.workers_now().len() == 2);
    clients.are_served();
    drop(clients);
    assert!(server.stop().status.success());
}

/// SIGCHLD may have been ignored by whoever started the server: then the kernel would collect its children by itself.
#[test]
fn an_inherited_ignored_sigchld_does_no_harm() {
    let script = format!("trap '' CHLD; exec {} \"$@\"", env!("CARGO_BIN_EXE_master"));
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("start");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::start_program(&program, &ARGS);
    let victim = server.workers_now()[0];
    send(victim, Signal::SIGKILL);
    await_that("it is told how it ended", || server.stderr().contains("ended: killed by SIGKILL"));
    await_that("it is replaced", || server.workers_now().len() == 2 && !lives(victim));
    assert!(server.stop().status.success());
}
