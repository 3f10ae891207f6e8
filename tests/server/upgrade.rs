//! Upgrade: the program is replaced under load, and no client notices.

use crate::{bank, load, server};

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bank::{Bank, deposit};
use bank_vault::service::bank::wire::Response;
use bank_vault::store::instance::{Instance, stale};
use load::{UNTIL_TOLD, end};
use nix::sys::signal::Signal;
use server::{Server, await_that, lives};

const ARGS: [&str; 6] = ["--workers", "3", "--accounts", "100", "--initial-balance", "1000.00"];

fn said(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn vaultctl(server: &Server, words: &[&str]) -> (i32, String) {
    let vaultctl = env!("CARGO_BIN_EXE_vaultctl");
    said(&Command::new(vaultctl).args(words).args(["--instance", &server.instance]).output().unwrap())
}

/// A load that goes on until it is told to end.
fn begin_load(server: &Server, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--port", &server.address.port().to_string(), "--no-keys", "--duration", UNTIL_TOLD])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn await_traffic(running: &Instance, operations: u64) {
    let before = running.table().order().now().lsn.0;
    await_that("there is traffic", || running.table().order().now().lsn.0 > before + operations);
}

#[test]
fn an_upgrade_under_load_is_not_noticed() {
    let server = Server::start(&ARGS);
    let running = stale::open_running(&server.instance).unwrap();
    let children = || {
        let mut pids = server.workers_now();
        pids.extend(server.journal_now());
        pids
    };
    let mut idle = Bank::demo(server.address);
    let client = begin_load(&server, &["--verify", "--connections", "30", "--rate", "4000"]);
    // Clients that come and go, so that some come while nobody is there to accept.
    let churn = begin_load(&server, &["--churn", "--threads", "4"]);
    await_traffic(&running, 300);
    for round in 0..3 {
        let before = children();
        assert_eq!(before.len(), 4, "round {round}");
        if round == 1 {
            server.signal(Signal::SIGUSR2);
        } else {
            let (code, text) = vaultctl(&server, &["upgrade"]);
            assert!(code == 0 && text.contains("upgraded"), "{text} {}", server.stderr());
        }
        await_that("all children are new", || {
            let now = children();
            now.len() == 4 && now.iter().all(|pid| !before.contains(pid))
        });
        await_that("it is done", || server.stderr().matches("upgrade: done").count() == round + 1);
        assert!(lives(server.master) && before.iter().all(|&pid| !lives(pid)));
        await_traffic(&running, 300);
    }
    // The load compares the books when nobody else changes them.
    for client in [churn, client] {
        let text = end(client);
        assert!(text.contains("err=0") && text.contains("reconnects=0 timeouts=0"), "{text}");
    }
    assert!(matches!(idle.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }), "a session from before goes on");
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
}

/// A program in place of the server's own, which it is asked to execute.
fn replace(program: &Path, script: &str) {
    let new = program.with_extension("new");
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program).unwrap();
}

#[test]
fn a_program_that_does_not_fit_is_refused_and_the_server_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("master");
    fs::copy(env!("CARGO_BIN_EXE_master"), &program).unwrap();
    let server = Server::start_program(&program, &ARGS);
    let before = server.workers_now();
    let mut bank = Bank::demo(server.address);
    for (script, wanted) in [
        ("#!/bin/sh\necho layout of tomorrow\n", "layout of tomorrow"),
        ("#!/bin/sh\necho no such option >&2; exit 2\n", "no such option"),
    ] {
        replace(&program, script);
        let (code, text) = vaultctl(&server, &["upgrade"]);
        assert!(code == 1 && text.contains(wanted), "{text}");
        assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    }
    assert_eq!(server.workers_now(), before, "nobody was replaced");
    let new = fs::read(env!("CARGO_BIN_EXE_master")).unwrap();
    fs::write(program.with_extension("new"), new).unwrap();
    fs::set_permissions(program.with_extension("new"), Permissions::from_mode(0o755)).unwrap();
    fs::rename(program.with_extension("new"), &program).unwrap();
    let (code, text) = vaultctl(&server, &["upgrade"]);
    assert!(code == 0, "{text}");
    assert!(server.workers_now().iter().all(|pid| !before.contains(pid)));
    assert!(server.stop().status.success());
}
