//! Workers of a real server are killed, at every named step of every operation and at random under load.

#[path = "support/bank.rs"]
mod bank;
#[path = "support/server.rs"]
mod server;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bank::{Bank, deposit, opening, transfer, withdraw};
use bank_vault::crash_point::{CrashPoint, VARIABLE};
use bank_vault::wire::{Request, Response};
use nix::sys::signal::Signal;
use server::{Server, await_that, send, unused_name};

const OPENING: i64 = 100_000;

/// What the two accounts hold after each operation, if it happened.
fn operations() -> [(Request<'static>, [i64; 2]); 3] {
    [
        (deposit(1, 250), [OPENING + 250, OPENING]),
        (withdraw(1, 250), [OPENING - 250, OPENING]),
        (transfer(2, 1, 250), [OPENING + 250, OPENING - 250]),
    ]
}

/// One worker, so that the connection is its, and it dies of the operation.
fn die_at(point: CrashPoint, request: &Request<'_>, wanted: [i64; 2]) {
    let what = format!("{request:?} at {}", point.name());
    let args = ["--workers", "1", "--accounts", "10", "--initial-balance", "1000.00"];
    // LOGIN comes by the first and the last of the points as well.
    let hit = if matches!(point, CrashPoint::Decoded | CrashPoint::ReplySent) { 2 } else { 1 };
    let armed = format!("0:{}#{hit}", point.name());
    let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
    let mut bank = Bank::demo(server.address);
    let answer = bank.call(request);
    assert_eq!(answer.is_ok(), point == CrashPoint::ReplySent, "{what}: {answer:?}");
    let happened = point as u8 >= CrashPoint::Committed as u8;
    after_death(&server, point, if happened { wanted } else { [OPENING; 2] }, &what);
}

fn after_death(server: &Server, point: CrashPoint, wanted: [i64; 2], what: &str) {
    // The successor answers as soon as the dead worker's operation is settled.
    let mut bank = Bank::demo(server.address);
    assert_eq!([bank.balance(1).0, bank.balance(2).0], wanted, "{what}");
    let totals = bank.totals();
    assert_eq!(opening(&totals), 10 * OPENING, "{what}");
    for account in 0..10 {
        let moved = bank.call(&transfer(account, (account + 1) % 10, 1)).unwrap();
        assert!(matches!(moved, Response::Transfer { .. }), "{what}: account {account}: {moved:?}");
    }
    let said = server.stderr();
    assert!(said.contains("killed by SIGKILL"), "{what}: {said}");
    let finished = said.contains("which it had committed, is finished");
    let in_flight = (CrashPoint::Committed as u8..CrashPoint::IntentCleared as u8).contains(&(point as u8));
    assert_eq!(finished, in_flight, "{what}: {said}");
}

#[test]
fn a_worker_that_dies_at_any_step_leaves_all_or_nothing() {
    let points = CrashPoint::ALL.iter().copied().filter(|point| !point.name().starts_with("repair."));
    let cases: Vec<_> =
        points.flat_map(|point| operations().map(|(request, wanted)| (point, request, wanted))).collect();
    assert!(cases.len() >= 45);
    let next = AtomicU64::new(0);
    let case = || cases.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((point, request, wanted)) = case() {
                    die_at(*point, request, *wanted);
                }
            });
        }
    });
}

/// Random operations until told to end, over as many connections as it takes.
fn keep_busy(server: &Server, seed: u32, stop: &AtomicBool, answered: &AtomicU64, reconnected: &AtomicU64) {
    let mut state = seed | 1;
    let mut below = move |n: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % n
    };
    while !stop.load(Ordering::Relaxed) {
        // In this release a worker's connections end with it.
        let Ok(mut bank) = Bank::try_connect(server.address) else { continue };
        if !bank.login("demo", "demo").is_ok_and(|login| login.is_ok()) {
            continue;
        }
        reconnected.fetch_add(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            let (from, to) = (below(100), below(100));
            let request = match below(4) {
                0 => deposit(from, i64::from(below(100)) + 1),
                1 => withdraw(from, i64::from(below(100)) + 1),
                _ => transfer(from, to, i64::from(below(100)) + 1),
            };
            match bank.call(&request) {
                Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                Err(_) => break,
            }
        }
    }
}

#[test]
fn random_deaths_under_load_move_no_cent() {
    const CLIENTS: u32 = 12;
    let kills: u32 = std::env::var("VAULT_TEST_KILLS").map_or(300, |text| text.parse().unwrap());
    let server = Server::start(&["--workers", "3", "--accounts", "100", "--initial-balance", "1000.00"]);
    let (stop, answered, reconnected) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, stop, answered, reconnected) = (&server, &stop, &answered, &reconnected);
            scope.spawn(move || keep_busy(server, client * 77 + 5, stop, answered, reconnected));
        }
        let mut state = 12345u64;
        for number in 0..kills {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // At another moment each time: after so many more answers.
            let wanted = answered.load(Ordering::Relaxed) + 20 + (state >> 33) % 300;
            await_that("the clients are answered", || answered.load(Ordering::Relaxed) >= wanted);
            let workers = server.workers_now();
            if let Some(&worker) = workers.get(usize::try_from(state >> 40).unwrap() % workers.len().max(1)) {
                // Not our child: between the look and the signal it may have been replaced, its pid not yet reused.
                let _ =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(worker).unwrap()), Signal::SIGKILL);
            }
            if number % 50 == 0 {
                await_that("a cut is taken", || {
                    let Ok(mut bank) = Bank::try_connect(server.address) else { return false };
                    let logged_in = bank.login("demo", "demo").is_ok_and(|login| login.is_ok());
                    match logged_in.then(|| bank.call(&Request::Totals)) {
                        Some(Ok(Response::Totals(totals))) => {
                            assert_eq!(opening(&totals), 100 * OPENING, "after {number} kills");
                            true
                        }
                        _ => false,
                    }
                });
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut bank = Bank::demo(server.address);
    let totals = bank.totals();
    assert_eq!(opening(&totals), 100 * OPENING);
    let sum: i64 = (0..100).map(|account| bank.balance(account).0).sum();
    assert_eq!(sum, totals.sum.0, "every account can be locked, and shows what the sum says");
    let (answered, reconnected) = (answered.into_inner(), reconnected.into_inner());
    println!("{kills} kills, {answered} answers, {reconnected} connections, {} operations", totals.lsn);
    drop(bank);
    assert!(server.stop().status.success());
}

#[test]
fn a_connection_that_no_worker_had_looked_at_goes_to_the_successor() {
    let server = Server::start(&["--workers", "1", "--worker-timeout", "60"]);
    let worker = server.workers[0];
    send(worker, Signal::SIGSTOP);
    // Handed to a worker that does not come to look at it.
    let mut banks: Vec<_> = (0..20).map(|_| Bank::connect(server.address)).collect();
    for bank in &mut banks {
        bank.send(&Request::Ping).unwrap();
    }
    let lane = || bank_vault::instance::stale::open_running(&server.instance).unwrap().lane_ring(0).depth();
    await_that("all are in the lane", || lane() == 20);
    send(worker, Signal::SIGKILL);
    for bank in &mut banks {
        assert!(matches!(bank.read().unwrap(), (1, Response::Ping { .. })));
    }
}

#[test]
fn a_worker_that_stands_still_is_replaced_and_others_wait_for_its_locks_only() {
    let args = ["--workers", "2", "--worker-timeout", "2", "--initial-balance", "10.00", "--accounts", "10"];
    // Stops, instead of dying, is what SIGSTOP does; so that it holds a lock then, the worker is stopped at random under load.
    let server = Server::start(&args);
    let mut banks: Vec<_> = (0..8).map(|_| Bank::demo(server.address)).collect();
    let stopped = server.workers[0];
    send(stopped, Signal::SIGSTOP);
    let mut served = 0;
    for bank in &mut banks {
        bank.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        served += u32::from(bank.call(&transfer(1, 2, 1)).is_ok());
    }
    assert!(served >= 4, "the other worker serves its own: {served}");
    await_that("it is replaced", || !server.workers_now().contains(&stopped) && server.workers_now().len() == 2);
    assert!(server.stderr().contains("no life for"), "{}", server.stderr());
    let mut bank = Bank::demo(server.address);
    assert_eq!(opening(&bank.totals()), 10 * 1_000);
}

#[test]
fn a_crash_loop_does_not_spin_the_master() {
    let server = Server::start(&["--workers", "1"]);
    let start = std::time::Instant::now();
    let mut deaths = 0;
    while start.elapsed() < Duration::from_secs(2) {
        await_that("there is a worker", || !server.workers_now().is_empty());
        for worker in server.workers_now() {
            send(worker, Signal::SIGKILL);
            deaths += 1;
        }
        await_that("it is gone", || server.workers_now().is_empty() || server.workers_now().len() == 1);
    }
    let backs = server.stderr().matches("is back").count();
    assert!(backs <= 30, "{backs} successors in two seconds, {deaths} signals");
}
