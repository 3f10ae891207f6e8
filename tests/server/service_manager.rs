//! The server under a service manager, and as the first process of a container.

use crate::{bank, server, tools};

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::Duration;

use bank::Bank;
use bank_vault::service::bank::wire::{Request, Response};
use nix::sys::signal::Signal;
use server::{Server, await_that, lives, send};
use tools::tool;

const ARGS: [&str; 4] = ["--workers", "2", "--accounts", "100"];

/// The next message that is not of the watchdog.
fn next(socket: &UnixDatagram) -> String {
    loop {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("a message comes");
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

fn manager(address: &SocketAddr) -> UnixDatagram {
    let socket = UnixDatagram::bind_addr(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

#[test]
fn the_manager_is_told_of_every_state() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let name = server::unused_name();
    for (address, variable) in [
        (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
        (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
    ] {
        let socket = manager(&address);
        let server = Server::start_with(&server::unused_name(), &ARGS, &[("NOTIFY_SOCKET", &variable)]);
        assert_eq!(next(&socket), "READY=1");
        server.signal(Signal::SIGHUP);
        let reloading = next(&socket);
        let (word, time) = reloading.split_once('\n').unwrap();
        assert_eq!(word, "RELOADING=1");
        assert!(time.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(next(&socket), "READY=1");
        server.signal(Signal::SIGUSR2);
        assert!(next(&socket).starts_with("RELOADING=1"), "an upgrade begins");
        assert_eq!(next(&socket), "READY=1", "the new program serves, under the same pid");
        await_that("the upgrade is done", || server.stderr().contains("upgrade: done"));
        server.signal(Signal::SIGTERM);
        assert_eq!(next(&socket), "STOPPING=1");
        let mut server = server;
        assert!(server.wait().status.success());
    }
}

#[test]
fn the_watchdog_hears_that_the_loop_turns_and_that_it_does_not() {
    let name = server::unused_name();
    let socket = manager(&SocketAddr::from_abstract_name(&name).unwrap());
    let variables = [("NOTIFY_SOCKET", format!("@{name}")), ("WATCHDOG_USEC", "100000".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = Server::start_with(&server::unused_name(), &ARGS, &variables);
    assert_eq!(next(&socket), "READY=1");
    let mut bytes = [0; 64];
    for _ in 0..10 {
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"WATCHDOG=1");
    }
    send(server.master, Signal::SIGSTOP);
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let heard = std::iter::from_fn(|| socket.recv(&mut bytes).ok()).take(100).count();
    assert!(heard < 100, "a master that stands still says nothing");
    send(server.master, Signal::SIGCONT);
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(socket.recv(&mut bytes).unwrap(), "WATCHDOG=1".len());
    assert!(server.stop().status.success());
}

#[test]
fn a_manager_that_does_not_listen_holds_up_nothing() {
    let name = server::unused_name();
    // Its queue fills, since nobody reads it.
    let _socket = manager(&SocketAddr::from_abstract_name(&name).unwrap());
    let notify = format!("@{name}");
    let server =
        Server::start_with(&server::unused_name(), &ARGS, &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "2000")]);
    await_that("it has been told more than it takes", || {
        for _ in 0..20 {
            server.signal(Signal::SIGHUP);
        }
        server.stderr().matches("SIGHUP: users read again").count() > 100
    });
    let victim = server.workers_now()[0];
    send(victim, Signal::SIGKILL);
    await_that("a worker is replaced", || !lives(victim) && server.workers_now().len() == 2);
    assert!(matches!(Bank::demo(server.address).call(&Request::Ping).unwrap(), Response::Ping { .. }));
    assert!(server.stop().status.success());
    let server = Server::start_with(&server::unused_name(), &ARGS, &[("NOTIFY_SOCKET", "/nonexistent/socket")]);
    assert!(server.stderr().contains("cannot be reached"));
    assert!(server.stop().status.success());
}

/// In a container without an init the server is process 1: the kernel gives it every orphan, and only it can collect them.
#[test]
#[ignore = "needs root, for a namespace of processes"]
fn as_process_1_it_collects_orphans() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("start");
    let master = env!("CARGO_BIN_EXE_master");
    // An orphan from before, one that the program inherits as its child, and orphans that come while it serves.
    let inner = format!("(sleep 0.2 & ) ; sleep 0.1 & exec {master} \"$@\"");
    let script = format!("#!/bin/sh\nexec unshare --fork --pid --mount-proc --kill-child sh -c '{inner}' sh \"$@\"\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let instance = server::unused_name();
    let mut start = Command::new(&program);
    start.args(ARGS).args(["--port", "0", "--http-port", "0", "--segment-records", "4096", "--key-window", "10000"]);
    start.args(["--instance", &instance, "--data"]).arg(home.path().join("data"));
    let log = fs::File::create(home.path().join("log")).unwrap();
    let mut outer = start.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut ready = String::new();
    let mut stdout = std::io::BufReader::new(outer.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut ready).unwrap();
    let said = || fs::read_to_string(home.path().join("log")).unwrap();
    assert!(ready.starts_with("ready: ") && ready.contains(" pid 1 "), "root is needed: {ready} {}", said());
    let children = |parent: u32| -> Vec<(u32, char)> {
        let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
        let state =
            |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next();
        pids.filter_map(|pid| Some((pid, state(pid)?))).collect()
    };
    let master = children(outer.id())[0].0;
    let enter = |script: &str| {
        let mut enter = tool("nsenter", "util-linux");
        enter.args(["--target", &master.to_string(), "--pid", "sh", "-c", script]);
        assert!(enter.status().unwrap().success());
    };
    for _ in 0..20 {
        enter("(true &) ; (sleep 0.05 &)");
    }
    await_that("only its own children are left, and none of them is dead", || {
        let now = children(master);
        now.len() == 3 && now.iter().all(|(_, state)| *state != 'Z')
    });
    // It tells its own from strangers also when they end at the same time.
    let victim = children(master)[0].0;
    enter("(true &) ; (true &)");
    send(victim, Signal::SIGKILL);
    await_that("its own is replaced", || {
        let now = children(master);
        now.len() == 3 && now.iter().all(|(pid, state)| *state != 'Z' && *pid != victim)
    });
    send(master, Signal::SIGTERM);
    let status = outer.wait().unwrap();
    assert!(status.success(), "{status:?} {}", said());
}
