//! What an operator asks of a running server, under load: no client notices.

use crate::{bank, load, server};

use std::process::{Child, Command, Output, Stdio};

use bank::Bank;
use bank_vault::store::instance::{Instance, stale};
use load::{UNTIL_TOLD, end};
use nix::sys::signal::Signal;
use server::{Server, await_that};

fn vaultctl(server: &Server, words: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).args(["--instance", &server.instance]).output();
    said(&output.unwrap())
}

fn said(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// A verified load that goes on until it is told to end.
fn begin_load(server: &Server) -> Child {
    Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--port", &server.address.port().to_string(), "--connections", "30", "--rate", "4000", "--verify"])
        .args(["--duration", UNTIL_TOLD])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn well(load: Child) {
    let text = end(load);
    assert!(text.contains("verify: OK") && text.contains("err=0"), "{text}");
    assert!(text.contains("reconnects=0 timeouts=0 retries=0"), "{text}");
}

/// Waits until the server has done so many operations more.
fn await_traffic(running: &Instance, operations: u64) {
    let before = running.table().order().now().lsn.0;
    await_that("there is traffic", || running.table().order().now().lsn.0 > before + operations);
}

#[test]
fn workers_are_drained_and_rebalanced_under_load() {
    let server = Server::start(&["--workers", "3", "--accounts", "100", "--initial-balance", "1000.00"]);
    let running = stale::open_running(&server.instance).unwrap();
    let client = begin_load(&server);
    await_traffic(&running, 300);
    for worker in ["0", "2"] {
        let (code, text) = vaultctl(&server, &["drain", worker]);
        assert!(code == 0 && text.contains(&format!("worker {worker} has left")), "{text}");
        await_traffic(&running, 300);
    }
    let (code, text) = vaultctl(&server, &["drain", "1"]);
    assert!(code == 1 && text.contains("the last that serves"), "{text}");
    let (code, text) = vaultctl(&server, &["drain", "0"]);
    assert!(code == 1 && text.contains("no worker 0"), "{text}");
    server.signal(Signal::SIGTTIN);
    await_that("a worker joins", || server.workers_now().len() == 2);
    let held = || running.workers().iter().map(|row| row.connections.get()).collect::<Vec<_>>();
    assert_eq!(held()[0], 0, "it has no connections yet: {:?}", held());
    let (code, text) = vaultctl(&server, &["rebalance"]);
    assert!(code == 0 && text.contains("connections move"), "{text}");
    await_that("connections are even", || held()[0].abs_diff(held()[1]) <= 1);
    await_traffic(&running, 300);
    well(client);
    assert!(server.stop().status.success());
}

#[test]
fn a_snapshot_is_taken_under_load_and_spares_reading_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let args = ["--workers", "2", "--accounts", "100", "--initial-balance", "1000.00"];
    let server = Server::start_on(&data, &args);
    let running = stale::open_running(&server.instance).unwrap();
    let client = begin_load(&server);
    await_traffic(&running, 300);
    let (code, text) = vaultctl(&server, &["snapshot"]);
    assert!(code == 0 && text.contains("the newest snapshot is of operation"), "{text}");
    let snapshot = running.journal_row().snapshot();
    assert!(snapshot.0 > 300);
    await_traffic(&running, 100);
    well(client);
    let totals = Bank::demo(server.address).totals();
    assert!(server.stop().status.success());
    let again = Server::start_on(&data, &args);
    assert_eq!(Bank::demo(again.address).totals(), totals);
    let text = again.stderr();
    assert!(text.contains(&format!("snapshot of {snapshot}")), "{text}");
    assert!(again.stop().status.success());
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    let server = Server::start(&["--workers", "2", "--accept", "shared", "--durability", "none"]);
    let (code, text) = vaultctl(&server, &["rebalance"]);
    assert!(code == 1 && text.contains("--accept dispatch"), "{text}");
    let (code, text) = vaultctl(&server, &["snapshot"]);
    assert!(code == 1 && text.contains("no journal"), "{text}");
    assert!(server.stop().status.success());
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(["snapshot", "--instance", "nobody"]).output();
    let (code, text) = said(&output.unwrap());
    assert!(code == 2 && text.contains("no instance `nobody`"), "{text}");
}
