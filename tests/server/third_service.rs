//! A service more is a line in a table: `examples/daytime.rs` runs the whole server with one that nothing else in it knows.

use crate::cargo::cargo;
use crate::{bank, server};

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use bank::Bank;
use bank_vault::base::vocab::{AccountId, Cents};
use bank_vault::service::bank::wire::{Request, Response};
use nix::sys::signal::Signal;
use server::{Server, await_that, send};

/// Builds the example and says where it is.
fn daytime() -> PathBuf {
    let built = cargo().args(["build", "--quiet", "--locked", "--example", "daytime"]).status();
    assert!(built.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(|folder| folder.parent()).unwrap().join("examples/daytime")
}

/// Where the third service listens, by the line that says that the server is ready.
fn address(server: &Server) -> SocketAddr {
    let mut words = server.ready.split_whitespace().skip_while(|word| *word != "daytime");
    words.nth(1).unwrap().parse().unwrap()
}

fn line_of(address: SocketAddr) -> String {
    let mut line = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut line).unwrap();
    line
}

fn is_time(line: &str) -> bool {
    let seconds = line.strip_suffix(" seconds since 1970 (UTC)\r\n").and_then(|text| text.parse::<u64>().ok());
    seconds.is_some_and(|seconds| seconds > 1_700_000_000)
}

#[test]
fn it_is_served_in_every_accept_mode_beside_the_others_and_counted_by_its_name() {
    let program = daytime();
    for mode in ["dispatch", "shared", "reuseport"] {
        let server = Server::start_program(&program, &["--accept", mode, "--workers", "2"]);
        let address = address(&server);
        let mut client = Bank::demo(server.address);
        for _ in 0..20 {
            let line = line_of(address);
            assert!(is_time(&line), "{mode}: {line:?}");
            let deposit = client.call(&Request::Deposit { account: AccountId(1), amount: Cents(1) });
            assert!(matches!(deposit, Ok(Response::Deposit { .. })), "{mode}: {deposit:?}");
        }
        let instance = server.stats();
        let (service, name) = instance.control().services().last().unwrap();
        assert_eq!(name, "daytime", "tools know it by what shared memory says");
        let sum = |of: fn(&bank_vault::store::instance::stats::ServiceStats) -> u64| {
            instance.workers().iter().map(|row| of(&row.stats.services[service.index()])).sum::<u64>()
        };
        assert_eq!(sum(|stats| stats.accepted.get()), 20, "{mode}");
        await_that("all are closed", || {
            sum(|stats| stats.closed.get()) == 20 && sum(|stats| stats.connections.get()) == 0
        });
    }
}

#[test]
fn its_clients_do_not_notice_that_a_worker_dies() {
    let server = Server::start_program(&daytime(), &["--workers", "1"]);
    let address = address(&server);
    // Nobody is there to serve them when they come.
    send(server.workers[0], Signal::SIGSTOP);
    let clients: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
    send(server.workers[0], Signal::SIGKILL);
    for mut client in clients {
        let mut line = String::new();
        client.read_to_string(&mut line).unwrap();
        assert!(is_time(&line), "{line:?}");
    }
}
