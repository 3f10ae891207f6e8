//! Two users never share keys, also when a checksum of their names is the same, one of them is gone, or a worker dies.

use crate::{bank, server};

use std::path::Path;
use std::process::Command;

use bank::{Bank, deposit};
use bank_vault::base::vocab::Cents;
use bank_vault::service::bank::wire::Response;
use bank_vault::store::users::{self, Role};
use nix::sys::signal::Signal;
use server::{Server, await_that, master, send, unused_name};

/// Two names of one CRC-32.
const FIRST: &str = "plumless";
const SECOND: &str = "buckeroo";
const KEY: [u8; 16] = [9; 16];

fn log_in(server: &Server, name: &str) -> Bank {
    let mut bank = Bank::connect(server.address);
    bank.login(name, "secret").unwrap().unwrap();
    bank
}

/// Deposits a cent under [`KEY`]; what the account holds by the answer.
fn deposit_one(bank: &mut Bank) -> Cents {
    match bank.call_with_key(&deposit(1, 1), Some(KEY)).unwrap() {
        Response::Deposit { balance } => balance,
        other => panic!("{other:?}"),
    }
}

fn args(file: &Path) -> [String; 6] {
    ["--workers", "1", "--accounts", "10", "--users", file.to_str().unwrap()].map(str::to_owned)
}

#[test]
fn users_whose_names_have_one_checksum_share_no_key() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("users"));
    users::add(&file, FIRST, b"secret", Role::Teller).unwrap();
    let args = args(&file);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = Server::start_on(&data, &args);
    let mut first = log_in(&server, FIRST);
    assert_eq!(deposit_one(&mut first), Cents(1));

    // The other one comes while the server runs.
    users::add(&file, SECOND, b"secret", Role::Teller).unwrap();
    let reloads = server.stats().control().reloads();
    server.signal(Signal::SIGHUP);
    await_that("the users are read again", || server.stats().control().reloads() > reloads);
    await_that("the worker has them", || Bank::connect(server.address).login(SECOND, "secret").unwrap().is_ok());
    let mut second = log_in(&server, SECOND);
    assert_eq!(deposit_one(&mut second), Cents(2), "a key of his own");
    assert_eq!([deposit_one(&mut first), deposit_one(&mut second)], [Cents(1), Cents(2)], "which he may repeat");

    // His session outlives the worker, and so does whose keys are his.
    send(server.workers[0], Signal::SIGKILL);
    assert_eq!([deposit_one(&mut first), deposit_one(&mut second)], [Cents(1), Cents(2)]);
    assert!(server.stop().status.success());

    // The first one is gone, and so nobody's name has his number any more; his keys are still his.
    users::remove(&file, FIRST).unwrap();
    let server = Server::start_on(&data, &args);
    assert_eq!(deposit_one(&mut log_in(&server, SECOND)), Cents(2));
    assert_eq!(Bank::connect(server.address).login(FIRST, "secret").unwrap().ok(), None);
    assert!(server.stop().status.success());
    users::add(&file, FIRST, b"secret", Role::Teller).unwrap();
    let server = Server::start_on(&data, &args);
    assert_eq!(deposit_one(&mut log_in(&server, FIRST)), Cents(1));
    assert!(server.stop().status.success());
    let audit = Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(["audit", "--data"]).arg(&data).output().unwrap();
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn without_numbers_that_can_be_relied_on_nothing_starts() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(Server::start_on(&data, &["--accounts", "10"]).stop().status.success());
    let file = data.join("principals");
    let mut text = std::fs::read(&file).unwrap();
    let middle = text.len() / 2;
    text[middle] ^= 1;
    std::fs::write(&file, text).unwrap();
    let output = master(&unused_name(), &data, &["--accounts", "10"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("principals is damaged"), "{said}");
}
