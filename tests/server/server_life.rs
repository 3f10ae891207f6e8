//! The life of a server: stopping, leaving nothing, workers that join and leave, a master that is killed.

use crate::{bank, server};

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bank::{Bank, deposit, opening};
use bank_vault::service::bank::wire::{Request, Response};
use nix::sys::signal::Signal;
use server::{Server, await_that, holds_soon, lives, send, unused_name};

/// Deposits over `connections` connections until the server closes them; gives how many were acknowledged.
fn deposit_until_closed(server: &Server, connections: u32, stop: impl FnOnce()) -> u64 {
    let acknowledged = AtomicU64::new(0);
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..connections {
            let mut bank = Bank::demo(server.address);
            let (acknowledged, refused) = (&acknowledged, &refused);
            scope.spawn(move || {
                loop {
                    match bank.call(&deposit(number, 1)) {
                        Ok(Response::Deposit { .. }) => drop(acknowledged.fetch_add(1, Ordering::Relaxed)),
                        Ok(_) => refused.store(true, Ordering::Relaxed),
                        Err(error) => {
                            // An orderly end of the stream, not a reset: nothing that was answered is lost.
                            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
                            return;
                        }
                    }
                }
            });
        }
        await_that("there is traffic", || acknowledged.load(Ordering::Relaxed) > 1_000);
        stop();
    });
    assert!(!refused.load(Ordering::Relaxed));
    acknowledged.into_inner()
}

#[test]
fn sigint_under_load_ends_in_order_and_leaves_nothing() {
    for mode in ["dispatch", "shared", "reuseport"] {
        let mut server = Server::start(&["--workers", "3", "--accounts", "100", "--accept", mode]);
        let workers = server.workers_now();
        assert_eq!(workers.len(), 3);
        let acknowledged = deposit_until_closed(&server, 20, || server.signal(Signal::SIGINT));
        let output = server.wait();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{mode}: {output:?}");
        assert_eq!(server.objects(), Vec::<String>::new());
        assert!(workers.iter().all(|&worker| !lives(worker)));
        // Every operation was answered, and every answer arrived.
        let deposited = format!("deposited {}.{:02}", acknowledged / 100, acknowledged % 100);
        assert!(said.contains(&deposited), "{mode}: {said} against {acknowledged} acknowledged");
    }
}

#[test]
fn a_client_that_does_not_read_cannot_hold_up_a_stop_and_a_second_signal_hurries() {
    let server = Server::start(&["--workers", "1"]);
    let mut deaf = Bank::demo(server.address);
    await_that("its answers are not taken", || {
        deaf.stuff(&Request::Ping);
        server.has_stuck_connection(0)
    });
    let (start, running) = (std::time::Instant::now(), server.stats());
    server.signal(Signal::SIGINT);
    await_that("it is stopping", || {
        running.workers()[0].state() == bank_vault::store::instance::control::WorkerState::Stopping
    });
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
    assert!(start.elapsed().as_secs() < 8, "the second signal, by stop(), hurries: {:?}", start.elapsed());
}

#[test]
fn workers_join_and_leave_on_signals() {
    let server = Server::start(&["--workers", "1", "--accounts", "10"]);
    let mut first = Bank::demo(server.address);
    server.signal(Signal::SIGTTIN);
    await_that("a second worker", || server.workers_now().len() == 2);
    assert_eq!(server.objects().iter().filter(|name| name.contains("sem.")).count(), 6);
    // The second worker has fewer connections, so it gets these.
    let mut others: Vec<_> = (0..2).map(|_| Bank::demo(server.address)).collect();
    server.signal(Signal::SIGTTOU);
    await_that("it has left", || server.workers_now().len() == 1);
    for bank in others.iter_mut().chain([&mut first]) {
        assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }), "it has moved to the other");
    }
    await_that("its semaphores went", || server.objects().iter().filter(|name| name.contains("sem.")).count() == 3);
    server.signal(Signal::SIGTTOU);
    await_that("the last stays", || server.stderr().contains("the last worker stays"));
    assert!(matches!(first.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    assert_eq!(opening(&first.totals()), 0);
}

#[test]
fn a_worker_leaves_although_a_client_has_always_asked_for_what_takes_a_thread() {
    let server = Server::start(&["--workers", "2", "--accounts", "10"]);
    // The first of equals gets the first connection; the last is the one that leaves.
    let (mut staying, mut asking) = (Bank::demo(server.address), Bank::demo(server.address));
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let has_left = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            // With the answer to one there is always another one that was sent before.
            let mut last = (0..64).map(|_| asking.send(&Request::Totals).unwrap()).max().unwrap();
            loop {
                let (seq, totals) = asking.read().unwrap();
                assert!(matches!(totals, Response::Totals(_)), "{totals:?}");
                answered.store(seq.into(), Ordering::Relaxed);
                if !is_over.load(Ordering::Relaxed) {
                    last = asking.send(&Request::Totals).unwrap();
                } else if seq == last {
                    return;
                }
            }
        });
        await_that("it is answered", || answered.load(Ordering::Relaxed) > 200);
        server.signal(Signal::SIGTTOU);
        let has_left = holds_soon(|| server.workers_now().len() == 1);
        is_over.store(true, Ordering::Relaxed);
        asker.join().unwrap();
        has_left
    });
    assert!(has_left, "the worker leaves between two of its requests, and the other one goes on with it");
    assert!(matches!(staying.call(&Request::Ping).unwrap(), Response::Ping { .. }));
}

#[test]
fn workers_ignore_what_is_meant_for_the_master() {
    let server = Server::start(&["--workers", "2"]);
    let mut bank = Bank::demo(server.address);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR1] {
        server.workers.iter().for_each(|&worker| send(worker, signal));
    }
    assert!(matches!(bank.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    let mut now = server.workers_now();
    now.sort_unstable();
    assert_eq!(now, server.workers);
}

#[test]
fn children_hold_no_descriptor_that_is_not_theirs() {
    let server = Server::start(&["--workers", "2"]);
    let clients: Vec<_> = (0..6).map(|_| Bank::demo(server.address)).collect();
    // A worker that is born while there are clients must not have theirs.
    let old = server.workers[1];
    send(old, Signal::SIGKILL);
    await_that("a successor", || !server.workers_now().contains(&old) && server.workers_now().len() == 2);
    let young = server.workers_now().into_iter().find(|pid| *pid != server.workers[0]).unwrap();
    let sockets = || {
        let entries = std::fs::read_dir(format!("/proc/{young}/fd")).unwrap().flatten();
        entries
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count()
    };
    await_that("it serves", || {
        let running = bank_vault::store::instance::stale::open_running(&server.instance).unwrap();
        running.workers()[1].state() == bank_vault::store::instance::control::WorkerState::Serving
    });
    // Its lane, and the connections of the dead one, which are handed on; none of the other worker's.
    await_that("it has what is its own", || sockets() == 1 + 3);
    let mut clients = clients;
    for client in &mut clients {
        assert!(matches!(client.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    }
    assert_eq!(sockets(), 1 + 3);
}

#[test]
fn closed_connections_give_back_every_descriptor() {
    let server = Server::start(&["--workers", "2", "--max-connections", "64"]);
    let open_files = || {
        let count = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        std::iter::once(server.master).chain(server.workers.clone()).map(count).sum::<usize>()
    };
    drop(Bank::demo(server.address));
    await_that("the first is closed", || server.connections() == 0);
    let before = open_files();
    for round in 0..50 {
        let banks: Vec<_> = (0..10).map(|_| Bank::demo(server.address)).collect();
        drop(banks);
        await_that("all are closed", || server.connections() == 0);
        await_that("all descriptors are back", || open_files() <= before);
        assert!(round < 50);
    }
}

#[test]
fn a_port_in_use_and_a_bad_option_are_exit_code_2_and_leave_nothing() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let port = server.address.port().to_string();
    for (args, word) in [(["--port", port.as_str()], "is in use"), (["--workers", "0"], "workers")] {
        let name = unused_name();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_master"));
        command.args(["--instance", &name, "--data"]).arg(directory.path().join("data")).args(args);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{output:?}");
        assert!(bank_vault::ipc::names::objects_of(&name).unwrap().is_empty());
    }
}
