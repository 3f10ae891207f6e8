//! Workers of a real server are killed, at every named step of every operation and at random under load.

use crate::{bank, server};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bank::{Bank, deposit, opening, transfer, withdraw};
use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::base::vocab::{Cents, Lsn};
use bank_vault::service::bank::wire::{Request, Response};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{Server, await_that, send, unused_name};

const OPENING: i64 = 100_000;

/// What the two accounts hold after each operation.
fn operations() -> [(Request<'static>, [i64; 2]); 3] {
    [
        (deposit(1, 250), [OPENING + 250, OPENING]),
        (withdraw(1, 250), [OPENING - 250, OPENING]),
        (transfer(2, 1, 250), [OPENING + 250, OPENING - 250]),
    ]
}

/// The one worker dies of the operation; the client sees a pause, and then the answer, as if nothing had happened.
fn die_at(point: CrashPoint, request: &Request<'_>, wanted: [i64; 2], key: Option<[u8; 16]>) {
    let what = format!("{request:?} with key {key:?} at {}", point.name());
    let args = ["--workers", "1", "--accounts", "10", "--initial-balance", "1000.00"];
    // LOGIN comes by the first and the last of the points as well.
    let hit = if matches!(point, CrashPoint::Decoded | CrashPoint::ReplySent) { 2 } else { 1 };
    let of_journal = point.name().starts_with("journal.");
    let armed = format!("{}:{}#{hit}", if of_journal { "journal" } else { "0" }, point.name());
    let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
    let mut bank = Bank::demo(server.address);
    // Requests with a key ask for an LSN as well, so that each point has some that do. Only those come by some.
    let asks_lsn = key.is_some() || point == CrashPoint::ReplyNumbered;
    let answer = if asks_lsn { bank.call_as_of(request, key, Some(Lsn(0))) } else { bank.call_with_key(request, key) };
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!matches!(answer, Response::Error { .. }), "{what}: {answer:?}");
    assert_eq!(bank.lsn, asks_lsn.then_some(Lsn(1)), "{what}");
    // The same connection and session go on, and no answer comes twice: each call checks the number it bears.
    assert_eq!([bank.balance(1).0, bank.balance(2).0], wanted, "{what}");
    let totals = bank.totals();
    assert_eq!((opening(&totals), totals.lsn.0), (10 * OPENING, 1), "{what}: done once");
    if key.is_some() {
        assert_eq!(bank.call_as_of(request, key, Some(Lsn(1))).unwrap(), answer, "{what}: asked again");
        assert_eq!(bank.lsn, Some(Lsn(1)), "{what}: asked again");
        assert_eq!(bank.totals().lsn.0, 1, "{what}: done once");
    }
    for account in 0..10 {
        let moved = bank.call(&transfer(account, (account + 1) % 10, 1)).unwrap();
        assert!(matches!(moved, Response::Transfer { .. }), "{what}: account {account}: {moved:?}");
    }
    let said = server.stderr();
    if of_journal {
        assert!(said.contains("the journal process is back") && !said.contains("handed on"), "{what}: {said}");
        return;
    }
    assert!(said.contains("killed by SIGKILL") && said.contains("1 handed on, 0 closed"), "{what}: {said}");
    let finished = said.contains("which it had committed, is finished");
    let in_flight = (CrashPoint::Committed as u8..CrashPoint::IntentCleared as u8).contains(&(point as u8));
    assert_eq!(finished, in_flight, "{what}: {said}");
}

#[test]
fn a_worker_that_dies_at_any_step_is_not_noticed_by_its_client() {
    let elsewhere = |point: &CrashPoint| {
        ["kv.", "repair.", "log.", "transfer.", "cache.", "journal.truncation", "replica."]
            .iter()
            .any(|room| point.name().starts_with(room))
    };
    let points = CrashPoint::ALL.iter().copied().filter(|point| !elsewhere(point));
    let cases: Vec<_> =
        points.flat_map(|point| operations().map(|(request, wanted)| (point, request, wanted))).collect();
    assert!(cases.len() >= 45);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((point, request, wanted)) = cases.get(usize::try_from(number).unwrap()) else { return };
                    // Three operations a point: so each point has some with a key and some without.
                    die_at(*point, request, *wanted, number.is_multiple_of(2).then_some([9; 16]));
                }
            });
        }
    });
}

/// What one client was told, in cents.
#[derive(Default)]
struct Books {
    answers: u64,
    deposited: i64,
    withdrawn: i64,
}

/// Random operations over one connection until told to end; any error is one too many.
fn keep_busy(server: &Server, seed: u32, stop: &AtomicBool, answered: &AtomicU64) -> Books {
    let mut state = seed | 1;
    let mut below = move |n: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % n
    };
    let mut bank = Bank::demo(server.address);
    let mut books = Books::default();
    // In bursts, so that a death finds requests and replies in every place where they can be.
    while !stop.load(Ordering::Relaxed) {
        let burst: Vec<_> = (0..=below(20))
            .map(|_| {
                let (from, to, cents) = (below(100), below(100), i64::from(below(100)) + 1);
                let request = match below(4) {
                    0 => deposit(from, cents),
                    1 => withdraw(from, cents),
                    _ => transfer(from, to, cents),
                };
                (bank.send(&request).unwrap(), request)
            })
            .collect();
        for (seq, request) in burst {
            let (bears, response) = bank.read().unwrap();
            assert_eq!(bears, seq, "each request is answered once, in order");
            match (request, response) {
                (Request::Deposit { amount, .. }, Response::Deposit { .. }) => books.deposited += amount.0,
                (Request::Withdraw { amount, .. }, Response::Withdraw { .. }) => books.withdrawn += amount.0,
                _ => {}
            }
            books.answers += 1;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    books
}

/// Ends the clients also when what kills the workers fails.
struct StopClients<'a>(&'a AtomicBool);

impl Drop for StopClients<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn random_deaths_under_load_are_not_noticed_and_the_books_are_equal() {
    const CLIENTS: u32 = 12;
    let kills: u32 = std::env::var("VAULT_TEST_KILLS").map_or(300, |text| text.parse().unwrap());
    let server = Server::start(&["--workers", "3", "--accounts", "100", "--initial-balance", "1000.00"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let books: Vec<Books> = std::thread::scope(|scope| {
        let stop_clients = StopClients(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, stop, answered) = (&server, &stop, &answered);
                scope.spawn(move || keep_busy(server, client * 77 + 5, stop, answered))
            })
            .collect();
        let mut auditor = Bank::demo(server.address);
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
            if number % 20 == 0 {
                assert_eq!(opening(&auditor.totals()), 100 * OPENING, "after {number} kills");
            }
        }
        drop(stop_clients);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut bank = Bank::demo(server.address);
    let totals = bank.totals();
    assert_eq!(opening(&totals), 100 * OPENING);
    // To the cent, and no "in doubt": every operation was answered, and none was done twice.
    assert_eq!(totals.deposited.0, books.iter().map(|books| books.deposited).sum::<i64>());
    assert_eq!(totals.withdrawn.0, books.iter().map(|books| books.withdrawn).sum::<i64>());
    let sum: i64 = (0..100).map(|account| bank.balance(account).0).sum();
    assert_eq!(sum, totals.sum.0, "every account can be locked, and shows what the sum says");
    let answers: u64 = books.iter().map(|books| books.answers).sum();
    println!("{kills} kills, {answers} answers, {} operations", totals.lsn);
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
    let lane = || bank_vault::store::instance::stale::open_running(&server.instance).unwrap().lane_ring(0).depth();
    await_that("all are in the lane", || lane() == 20);
    send(worker, Signal::SIGKILL);
    for bank in &mut banks {
        assert!(matches!(bank.read().unwrap(), (1, Response::Ping { .. })));
    }
}

#[test]
fn a_worker_that_stands_still_is_replaced() {
    let server = Server::start(&["--workers", "2", "--worker-timeout", "2", "--accounts", "10"]);
    let mut banks: Vec<_> = (0..8).map(|_| Bank::demo(server.address)).collect();
    let stopped = server.workers[0];
    send(stopped, Signal::SIGSTOP);
    let mut served = 0;
    for bank in &mut banks {
        bank.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        served += u32::from(bank.call(&deposit(1, 1)).is_ok());
    }
    assert_eq!(served, 4, "the other worker serves its own");
    // The others' requests wait in their sockets, and are answered by whoever gets them.
    for bank in banks.iter_mut().step_by(2) {
        bank.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert!(matches!(bank.read().unwrap(), (_, Response::Deposit { .. })));
    }
    await_that("it is replaced", || !server.workers_now().contains(&stopped) && server.workers_now().len() == 2);
    assert!(server.stderr().contains("no life for"), "{}", server.stderr());
}

#[test]
fn a_journal_process_that_stands_still_is_replaced() {
    let server = Server::start(&["--workers", "1", "--worker-timeout", "1", "--accounts", "10"]);
    let mut bank = Bank::demo(server.address);
    let stopped = server.journal_now().unwrap();
    send(stopped, Signal::SIGSTOP);
    // It waits, for three times the time-out, and is answered by the successor's doing.
    assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    assert_ne!(server.journal_now(), Some(stopped));
    let said = server.stderr();
    assert!(
        said.contains("the journal process: no life for") && said.contains("the journal process is back"),
        "{said}"
    );
}

#[test]
fn who_waits_for_a_lock_of_one_that_stands_still_is_not_taken_for_dead() {
    let armed = format!("0:{}/stop", CrashPoint::Committed.name());
    let args = ["--workers", "2", "--worker-timeout", "1", "--accounts", "10", "--initial-balance", "1000.00"];
    let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
    // The first of equals gets the first connection.
    let (mut halting, mut waiting) = (Bank::demo(server.address), Bank::demo(server.address));
    // Until the journal is open a worker locks, and gives back, what it cannot commit yet.
    assert!(matches!(waiting.call(&deposit(5, 1)).unwrap(), Response::Deposit { .. }));
    halting.send(&transfer(1, 2, 250)).unwrap();
    let running = bank_vault::store::instance::stale::open_running(&server.instance).unwrap();
    await_that("it halts with two locks", || running.table().holders().count() == 2);
    // Its answer needs both locks, so it comes when the halted worker is killed, and shows what that had committed.
    let answer = waiting.call(&transfer(2, 1, 50)).unwrap();
    let (from_balance, to_balance) = (Cents(OPENING + 200), Cents(OPENING - 200));
    assert_eq!(answer, Response::Transfer { from_balance, to_balance });
    let (from_balance, to_balance) = (Cents(OPENING - 250), Cents(OPENING + 250));
    assert_eq!(halting.read().unwrap().1, Response::Transfer { from_balance, to_balance });
    assert_eq!(server.stderr().matches("no life for").count(), 1, "{}", server.stderr());
    assert_eq!(opening(&waiting.totals()), 10 * OPENING);
}

#[test]
fn a_crash_loop_does_not_spin_the_master() {
    let server = Server::start(&["--workers", "1"]);
    let start = std::time::Instant::now();
    let mut deaths = 0;
    while start.elapsed() < Duration::from_secs(2) {
        await_that("there is a worker", || !server.workers_now().is_empty());
        for worker in server.workers_now() {
            // It may have ended of the signal before.
            deaths += usize::from(kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL).is_ok());
        }
        await_that("it is gone", || server.workers_now().is_empty() || server.workers_now().len() == 1);
    }
    let backs = server.stderr().matches("is back").count();
    assert!(backs <= 30, "{backs} successors in two seconds, {deaths} signals");
}
