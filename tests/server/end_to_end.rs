//! The two programs that a user starts, against each other.

use crate::{load, server};

use std::process::{Command, Output};

use load::{UNTIL_TOLD, end};
use nix::sys::signal::Signal;
use server::{Server, send};

/// Runs `client` against the server and waits for its end.
fn client(server: &Server, args: &[&str]) -> Output {
    let port = server.address.port().to_string();
    Command::new(env!("CARGO_BIN_EXE_client")).args(["--port", &port]).args(args).output().unwrap()
}

/// What `client` said, when it ended with `code`.
fn said(server: &Server, args: &[&str], code: i32) -> String {
    let output = client(server, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "client {args:?}: {text}");
    text
}

#[test]
fn a_verified_load_leaves_the_books_equal_however_it_is_driven() {
    let server = Server::start(&["--workers", "3", "--accounts", "500", "--initial-balance", "100.00"]);
    let ways: [&[&str]; 5] = [
        &["--threads", "100", "--ops", "100"],
        &["--threads", "8", "--ops", "5000", "--pipeline", "64"],
        &["--connections", "300", "--ops", "40", "--xor"],
        &["--threads", "20", "--duration", "1s", "--rate", "3000"],
        &["--threads", "10", "--ops", "500", "--skew", "zipf:0.99", "--mix", "transfer=90,balance=10"],
    ];
    for way in ways {
        let text = said(&server, &[way, &["--verify"]].concat(), 0);
        assert!(text.contains("RESULT:") && text.contains("reconnects=0 timeouts=0"), "{way:?}: {text}");
    }
    assert!(server.stop().status.success());
}

#[test]
fn every_fault_gets_the_answer_that_the_document_names() {
    let server = Server::start(&["--workers", "2"]);
    let text = said(&server, &["faults"], 0);
    assert!(text.lines().count() >= 6, "{text}");
    assert!(text.lines().all(|line| !line.starts_with("WRONG") && !line.starts_with("wrong")), "{text}");
}

#[test]
fn one_shots_say_what_the_server_said() {
    let server = Server::start(&["--accounts", "20", "--initial-balance", "10.00"]);
    assert!(said(&server, &["deposit", "12", "25.00"], 0).contains("35.00"));
    assert!(said(&server, &["withdraw", "12", "5.5"], 0).contains("29.50"));
    assert!(said(&server, &["transfer", "12", "13", "5"], 0).contains("24.50"));
    assert!(said(&server, &["balance", "13"], 0).contains("15.00"));
    assert!(said(&server, &["totals"], 0).contains("219.50"));
    said(&server, &["ping"], 0);
    assert!(said(&server, &["withdraw", "12", "1000"], 1).contains("ERR_INSUFFICIENT"));
    assert!(said(&server, &["balance", "20"], 1).contains("ERR_NO_ACCOUNT"));
    assert!(said(&server, &["--pass", "wrong", "totals"], 1).contains("ERR_AUTH"));
    said(&server, &["deposit", "12", "1.234"], 2);
}

#[test]
fn killed_workers_cost_no_connection_and_no_cent() {
    let server = Server::start(&["--workers", "3", "--accounts", "100", "--initial-balance", "1000.00"]);
    let port = server.address.port().to_string();
    let load = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--port", &port, "--threads", "30", "--duration", UNTIL_TOLD, "--verify"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let running = bank_vault::store::instance::stale::open_running(&server.instance).unwrap();
    let await_traffic = || {
        let before = running.table().order().now().lsn.0;
        server::await_that("there is traffic", || running.table().order().now().lsn.0 > before + 500);
    };
    for _ in 0..3 {
        await_traffic();
        send(server.workers_now()[0], Signal::SIGKILL);
        server::await_that("the dead one is replaced", || server.workers_now().len() == 3);
    }
    await_traffic();
    let text = end(load);
    assert!(text.contains("reconnects=0 timeouts=0") && !text.contains("doubt"), "{text}");
}
