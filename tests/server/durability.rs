//! Nothing acknowledged is ever lost and nothing is done twice, whatever is killed: acknowledgement logs held against the
//! journal that is left.

use crate::{asker, bank, checker, load, server, turmoil};

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use asker::{Asker, ack};
use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::ipc::process::monotonic_ns;
use bank_vault::service::bank::wire::{Request, Response};
use checker::{Ack, Kept, Key, judge, must_be_kept};
use load::{Brought, Load};
use server::{Server, await_that, unused_name, unused_port};
use turmoil::{Lots, Turmoil};

const OPENING: i64 = 100_000;
/// Beside an instance's own arguments, for tests with many operations: recovery begins from snapshots, and all records are kept
/// for the comparison.
const SNAPSHOTS: [&str; 3] = ["--keep-journal", "--snapshot-every", "2000"];

/// Stops the server, and holds what it kept against what it said.
fn end_and_compare(server: &mut Server, acks: &[Ack]) {
    assert!(server.end().status.success(), "{}", server.stderr());
    let compared = must_be_kept(&server.data(), acks);
    assert_eq!(compared.acks, acks.len());
    println!("{compared:?}");
}

#[test]
fn killing_the_whole_group_under_load_loses_nothing_and_clients_go_on() {
    const ROUNDS: u32 = 30;
    const CONNECTIONS: u32 = 16;
    let port = unused_port().to_string();
    let args = ["--port", &port, "--workers", "2", "--accounts", "200", "--initial-balance", "1000.00"];
    let mut server = Server::start(&[&args[..], &SNAPSHOTS].concat());
    let begin = |server: &Server| Load::start(server.address, CONNECTIONS, ROUNDS * 1_000 / CONNECTIONS);
    let mut load = begin(&server);
    let mut over = Vec::new();
    let mut lots = Lots::new(7);
    for round in 0..ROUNDS {
        // How much is done in a round depends on the machine.
        if load.is_over() {
            over.push(std::mem::replace(&mut load, begin(&server)).finish());
        }
        let turmoil = Turmoil::of(&server);
        // At another moment each time: after so many more operations.
        let wanted = turmoil.done() + 1 + u64::from(lots.below(600));
        await_that("the clients are served again", || load.has_begun() && turmoil.done() >= wanted || load.is_over());
        let kill = if round % 2 == 0 { Server::kill_master } else { Server::kill_all };
        kill(&mut server);
        server.start_again(&[]);
    }
    over.push(load.finish());
    over.iter().for_each(Brought::must_have_all_answers);
    let reconnects: u64 = over.iter().map(|brought| brought.count("reconnects")).sum();
    assert!(reconnects >= u64::from(ROUNDS), "{reconnects} reconnects");
    let acks: Vec<Ack> = over.into_iter().flat_map(|brought| brought.acks).collect();
    end_and_compare(&mut server, &acks);
}

#[test]
fn random_deaths_of_workers_and_journal_are_not_noticed() {
    let kills: u32 = std::env::var("VAULT_TEST_KILLS").map_or(300, |text| text.parse().unwrap());
    let args = ["--workers", "3", "--accounts", "200", "--initial-balance", "1000.00"];
    let mut server = Server::start(&[&args[..], &SNAPSHOTS].concat());
    let mut lots = Lots::new(11);
    let mut turmoil = Turmoil::of(&server);
    let mut acks = Vec::new();
    // One client after the other: each compares the books when it ends.
    while turmoil.workers + turmoil.journal < kills {
        let mut load = Load::start(server.address, 12, 1_000);
        while !load.is_over() {
            let wanted = turmoil.done() + u64::from(lots.below(100));
            await_that("the clients are served", || turmoil.done() >= wanted || load.is_over());
            await_that("one of them lives", || turmoil.kill_one(&mut lots));
        }
        let brought = load.finish();
        brought.must_have_all_answers();
        assert_eq!((brought.count("reconnects"), brought.count("retries")), (0, 0), "{}", brought.report);
        acks.extend(brought.acks);
    }
    println!("{} workers and {} journal processes killed", turmoil.workers, turmoil.journal);
    assert!(turmoil.journal >= kills / 10 && turmoil.workers >= kills / 4);
    end_and_compare(&mut server, &acks);
}

fn operations() -> [Request<'static>; 4] {
    // The last one is refused, which is a result, too.
    [deposit(1, 250), withdraw(1, 250), transfer(2, 1, 250), withdraw(3, OPENING + 1)]
}

/// One process dies of the operation at `point`; right behind the answer everything is killed.
fn acknowledged_is_durable(point: CrashPoint, request: &Request<'_>) {
    let what = format!("{request:?} at {}", point.name());
    let who = if point.name().starts_with("journal.") { "journal" } else { "0" };
    // LOGIN comes by the first and the last of the points as well.
    let hit = if matches!(point, CrashPoint::Decoded | CrashPoint::ReplySent) { 2 } else { 1 };
    let armed = format!("{who}:{}#{hit}", point.name());
    let args = ["--workers", "1", "--accounts", "10", "--initial-balance", "1000.00"];
    let mut server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
    let mut asker = Asker::new(server.address, 10, 1);
    asker.ask_for(request, [7; 16]).unwrap_or_else(|error| panic!("{what}: {error}"));
    server.kill_all();
    let kept = Kept::read(&server.data());
    judge(&kept, &asker.acks).unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
    assert_eq!(kept.records.len(), 1, "{what}: {kept:?}");
}

#[test]
fn an_acknowledgement_implies_durability_wherever_a_process_dies() {
    let elsewhere = |point: &CrashPoint| {
        ["kv.", "repair.", "log.", "transfer.", "cache."].iter().any(|room| point.name().starts_with(room))
    };
    let points = CrashPoint::ALL.iter().copied().filter(|point| !elsewhere(point));
    let cases: Vec<_> = points.flat_map(|point| operations().map(|request| (point, request))).collect();
    assert!(cases.len() >= 80);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((point, request)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    acknowledged_is_durable(*point, request);
                }
            });
        }
    });
}

/// Sends all of them in groups over a new connection, each group at once with everybody else at the barrier.
fn ask_all(address: SocketAddr, asked: &[(Request<'static>, Key)], together: &Barrier) -> Vec<Ack> {
    let mut bank = Bank::demo(address);
    let mut acks = Vec::new();
    for group in asked.chunks(50) {
        together.wait();
        let begin = monotonic_ns();
        for (request, key) in group {
            bank.send_with_key(request, Some(*key)).unwrap();
        }
        for (request, key) in group {
            let (_, response) = bank.read().unwrap();
            acks.push(ack(request, *key, &response, [begin, monotonic_ns()]));
        }
    }
    acks
}

#[test]
fn a_thousand_repeated_requests_are_done_once_and_answered_alike() {
    let mut server = Server::start(&["--workers", "3", "--accounts", "20", "--initial-balance", "10.00"]);
    let mut source = Asker::new(server.address, 20, 3);
    let asked: Vec<_> = (0..1_000).map(|_| source.next()).collect();
    drop(source);
    // Twice at once on two connections, of two workers; again on others, a worker being killed; again after a restart.
    let (address, together) = (server.address, Barrier::new(2));
    let mut acks = std::thread::scope(|scope| {
        let other = scope.spawn(|| ask_all(address, &asked, &together));
        let mut acks = ask_all(address, &asked, &together);
        acks.extend(other.join().unwrap());
        acks
    });
    let mut lots = Lots::new(5);
    let mut turmoil = Turmoil::of(&server);
    let alone = Barrier::new(1);
    for part in asked.chunks(100) {
        await_that("one of them lives", || turmoil.kill_one(&mut lots));
        acks.extend(ask_all(address, part, &alone));
    }
    server.kill_all();
    server.start_again(&[]);
    acks.extend(ask_all(server.address, &asked, &alone));
    let first: std::collections::HashMap<Key, &Ack> = acks.iter().rev().map(|ack| (ack.key, ack)).collect();
    assert!(acks.iter().all(|ack| (ack.status, ack.balances) == (first[&ack.key].status, first[&ack.key].balances)));
    assert!(acks.iter().any(|ack| ack.status == 5), "refusals are repeated, too");
    assert_eq!(Bank::demo(server.address).totals().lsn.0, 1_000, "each was done once");
    end_and_compare(&mut server, &acks);
    assert_eq!(acks.len(), 4_000);
}

/// The journal is read from a snapshot on; what is remembered of keys reaches back beyond it.
#[test]
fn every_key_of_the_window_is_known_after_a_restart_from_a_snapshot() {
    const WINDOW: usize = 5_000;
    let args = ["--workers", "1", "--accounts", "20", "--initial-balance", "10.00", "--key-window", "5000"];
    for behind_the_window in [500, 2_000, 4_000] {
        let mut server = Server::start(&[&args[..], &["--snapshot-every", "1000"]].concat());
        let mut source = Asker::new(server.address, 20, 4);
        let asked: Vec<_> = (0..WINDOW + behind_the_window).map(|_| source.next()).collect();
        let alone = Barrier::new(1);
        let first = ask_all(server.address, &asked, &alone);
        let turmoil = Turmoil::of(&server);
        await_that("a snapshot is in place", || turmoil.instance.journal_row().snapshot().0 + 1_000 >= WINDOW as u64);
        server.kill_all();
        server.start_again(&[]);
        let again = ask_all(server.address, &asked[behind_the_window..], &alone);
        for (first, again) in first[behind_the_window..].iter().zip(&again) {
            assert_eq!((first.status, first.balances), (again.status, again.balances), "{behind_the_window}");
        }
        assert_eq!(Bank::demo(server.address).totals().lsn.0, asked.len() as u64, "nothing was done again");
    }
}

/// What the tests above would say of servers that do not keep their promises.
mod defects {
    use super::*;
    use checker::Broken;

    fn broken_promises(server: &Server, acks: &[Ack]) -> Vec<Broken> {
        judge(&Kept::read(&server.data()), acks).err().unwrap_or_default()
    }

    #[test]
    fn a_forgotten_key_is_noticed() {
        let mut server = Server::start(&["--workers", "1", "--accounts", "10", "--key-window", "16"]);
        let mut asker = Asker::new(server.address, 10, 9);
        for key in (0..100).chain([0]) {
            asker.ask_for(&deposit(1, 250), [key; 16]).unwrap();
        }
        server.kill_all();
        let broken = broken_promises(&server, &asker.acks);
        assert!(broken.iter().any(|broken| matches!(broken, Broken::Twice(key, _) if *key == [0; 16])), "{broken:?}");
    }

    #[test]
    fn an_early_acknowledgement_is_noticed() {
        let args = ["--workers", "1", "--accounts", "10", "--durability", "async", "--flush-interval", "60000"];
        let lost = (0..10).any(|_| {
            let mut server = Server::start(&args);
            let mut asker = Asker::new(server.address, 10, 9);
            asker.ask_for(&deposit(1, 250), [7; 16]).unwrap();
            server.kill_all();
            broken_promises(&server, &asker.acks) == [Broken::Lost(asker.acks[0].clone())]
        });
        assert!(lost, "ten acknowledgements ahead of the disk, and all of them were kept");
    }

    /// The journal is whole; what is in memory is half of a transfer, as long as nobody repairs.
    #[test]
    fn a_missing_repair_is_noticed() {
        let armed = format!("0:{}", CrashPoint::FirstApplied.name());
        let args = ["--workers", "1", "--accounts", "10", "--initial-balance", "1000.00"];
        let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
        let mut bank = Bank::demo(server.address);
        let turmoil = Turmoil::of(&server);
        let held = || -> i64 {
            let peek = |account| turmoil.instance.table().peek(bank_vault::base::vocab::AccountId(account)).unwrap().0;
            (0..10).map(peek).sum()
        };
        let worker = server.workers[0];
        server.signal(nix::sys::signal::Signal::SIGSTOP);
        bank.send(&transfer(1, 2, 250)).unwrap();
        await_that("the worker dies of it", || !server::lives(worker));
        assert_eq!(held(), 10 * OPENING - 250);
        server.signal(nix::sys::signal::Signal::SIGCONT);
        assert!(matches!(bank.read().unwrap().1, Response::Transfer { .. }));
        assert_eq!(held(), 10 * OPENING);
    }
}
