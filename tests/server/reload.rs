//! SIGHUP: users and settings are read again while the server runs.

use crate::{bank, server};

use std::fs;
use std::path::Path;

use bank::Bank;
use bank_vault::service::bank::wire::{Request, Response, Status};
use bank_vault::store::users::{Role, add};
use nix::sys::signal::Signal;
use server::{Server, await_that};

/// Sends SIGHUP and waits until the server says what came of it, for the `time`-th time.
fn reload(server: &Server, time: usize) -> String {
    server.signal(Signal::SIGHUP);
    await_that("SIGHUP is seen to", || server.stderr().matches("SIGHUP: ").count() >= time);
    server.stderr()
}

fn add_user(file: &Path, name: &str) {
    add(file, name, b"a long password", Role::Teller).unwrap();
}

#[test]
fn users_and_settings_change_while_clients_stay_connected() {
    let home = tempfile::tempdir().unwrap();
    let (users, config) = (home.path().join("users"), home.path().join("vault.toml"));
    add_user(&users, "ann");
    fs::write(&config, "rate-limit = 0\n").unwrap();
    let args = ["--users", users.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let server = Server::start(&args);
    let mut ann = Bank::connect(server.address);
    ann.login("ann", "a long password").unwrap().unwrap();
    let login = |name: &str| Bank::connect(server.address).login(name, "a long password").unwrap();
    assert_eq!(login("bob"), Err(Status::Auth));

    add_user(&users, "bob");
    fs::write(&config, "rate-limit = 2\nworkers = 64\n").unwrap();
    let text = reload(&server, 2);
    assert!(text.contains("changed: rate-limit"), "{text}");
    await_that("bob is known to all workers", || (0..4).all(|_| login("bob").is_ok()));
    // Ann's connection has the new limit: of many requests at once some are refused.
    let busy = (0..20)
        .map(|_| ann.call(&Request::Ping).unwrap())
        .filter(|response| matches!(response, Response::Error { status: Status::Busy, .. }));
    assert!(busy.count() >= 10);

    fs::write(&config, "rate-limit = -1\n").unwrap();
    let text = reload(&server, 3);
    assert!(text.contains("all stays as it is") && text.contains("rate-limit"), "{text}");
    assert!(server.stop().status.success());
}

#[test]
fn what_cannot_change_is_named() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("vault.toml");
    fs::write(&config, "queue-depth = 16\n").unwrap();
    let server = Server::start(&["--config", config.to_str().unwrap()]);
    fs::write(&config, "queue-depth = 17\nmax-connections = 7\nidle-timeout = 5\n").unwrap();
    let text = reload(&server, 2);
    assert!(text.contains("changed: idle-timeout"), "{text}");
    assert!(text.contains("with the next start only: max-connections, queue-depth"), "{text}");
    assert!(server.stop().status.success());
}
