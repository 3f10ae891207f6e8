//! Hostile clients of the bank: whatever they do, others wait no longer than they must, and what is done about it is counted.
//! `hostile_http.rs` has those of HTTP. `docs/LIMITS.md` lists the bounds that are tried here.

use crate::{bank, crowd, server};

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bank::Bank;
use bank_vault::base::limits::{LINGER_BYTES, MAX_FAILED_LOGINS, MAX_WAITING_LOGINS};
use bank_vault::base::vocab::{AccountId, Lsn};
use bank_vault::ipc::layout::Counter;
use bank_vault::service::bank::wire::{Request, Response, Status};
use bank_vault::store::connection::ServiceId;
use bank_vault::store::instance::stats::WorkerStats;
use bank_vault::store::users::{self, Role};
use crowd::{Crowd, connect_from, flood, flood_over, held_by_kernel, is_closed, longest, memory, reset};
use server::{Server, await_that};

const MODES: [&str; 3] = ["dispatch", "shared", "reuseport"];
/// Nobody who behaves waits longer. Far more than it takes, since the machine may be busy with other tests.
const BEARABLE: Duration = Duration::from_millis(500);
/// How long a crowd goes on.
const A_WHILE: Duration = Duration::from_secs(1);

const BUSY: Response = Response::Error { opcode: 0, status: Status::Busy };

fn ping(bank: &mut Bank) {
    assert!(matches!(bank.call(&Request::Ping).unwrap(), Response::Ping { .. }));
}

/// What all workers have counted of something.
fn counted(server: &Server, of: impl Fn(&WorkerStats) -> &Counter) -> u64 {
    server.stats().workers().iter().map(|row| of(&row.stats).get()).sum()
}

fn silent(server: &Server) -> u64 {
    counted(server, |stats| &stats.services[ServiceId::FIRST.index()].silent)
}

fn evicted(server: &Server) -> u64 {
    counted(server, |stats| &stats.services[ServiceId::FIRST.index()].evicted)
}

#[test]
fn who_is_turned_away_and_floods_delays_nobody() {
    for mode in MODES {
        let args = ["--max-connections", "1", "--workers", "1", "--durability", "none", "--accept", mode];
        let server = Server::start(&args);
        let mut client = Bank::demo(server.address);
        let address = server.address;
        let floods = Crowd::of(2, || {
            move || {
                flood(address, &[]);
            }
        });
        let (took, pings) = longest(A_WHILE, BEARABLE, || ping(&mut client));
        assert!(took < BEARABLE, "{mode}: {took:?} for one of {pings} PINGs beside {} floods", floods.rounds());
        drop(floods);
        assert!(counted(&server, |stats| &stats.bounds.closed_flooding) > 0, "{mode}");
        assert_eq!(server.stats().workers()[0].life.deaths.get(), 0, "{mode}");
    }
}

#[test]
fn what_is_still_read_of_a_client_after_good_bye_is_bounded() {
    let server = Server::start(&["--workers", "1", "--durability", "none"]);
    let mut client = Bank::demo(server.address);
    // Three frames that are none: the last answer ends the connection.
    let mut bad = Vec::new();
    Request::Ping.encode(1, None, None, &mut bad);
    bad[17] ^= 1;
    client.stream.write_all(&bad.repeat(3)).unwrap();
    for _ in 0..3 {
        assert!(matches!(client.read().unwrap().1, Response::Error { status: Status::BadCrc, .. }));
    }
    let sent = flood_over(&mut client.stream);
    let most = LINGER_BYTES as u64 + held_by_kernel();
    assert!(sent >= LINGER_BYTES as u64 && sent < most, "{sent} bytes");
    await_that("it is counted", || counted(&server, |stats| &stats.bounds.closed_flooding) == 1);
}

#[test]
fn a_flood_of_pings_or_of_connections_delays_nobody() {
    for mode in MODES {
        let server = Server::start(&["--workers", "1", "--durability", "none", "--accept", mode]);
        let mut client = Bank::demo(server.address);
        let address = server.address;
        let pings = Crowd::of(8, || {
            let mut stranger = Bank::connect(address);
            move || {
                for _ in 0..500 {
                    stranger.send(&Request::Ping).unwrap();
                }
                for _ in 0..500 {
                    stranger.read().unwrap();
                }
            }
        });
        let churn = Crowd::of(2, || move || drop(TcpStream::connect(address)));
        let (took, count) = longest(A_WHILE, BEARABLE, || ping(&mut client));
        assert!(took < BEARABLE, "{mode}: {took:?} for one of {count} PINGs; {} connections", churn.rounds());
        drop((pings, churn));
        assert_eq!(server.stats().workers()[0].life.deaths.get(), 0, "{mode}");
    }
}

/// A server with a users file, in which the tellers are alice and bob.
fn with_users(args: &[&str]) -> (Server, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let path: PathBuf = home.path().join("users");
    for name in ["alice", "bob"] {
        users::add(&path, name, b"pw123456", Role::Teller).unwrap();
    }
    let own = ["--users", path.to_str().unwrap(), "--workers", "1"];
    (Server::start(&[&own, args].concat()), home)
}

const WRONG: Request<'_> = Request::Login { user: b"nobody", pass: b"wrong" };

/// So many connections, each of which has sent a LOGIN whose password is wrong.
fn guessers(server: &Server, count: usize) -> Vec<Bank> {
    let mut crowd: Vec<Bank> = (0..count).map(|_| Bank::connect(server.address)).collect();
    for guesser in &mut crowd {
        guesser.send(&WRONG).unwrap();
    }
    crowd
}

#[test]
fn logins_under_way_delay_nobody_who_is_logged_in() {
    let (server, _home) = with_users(&[]);
    let mut alice = Bank::connect(server.address);
    alice.login("alice", "pw123456").unwrap().unwrap();
    alice.call(&Request::Deposit { account: AccountId(1), amount: "1.00".parse().unwrap() }).unwrap();
    let crowd = guessers(&server, 100);
    await_that("they wait", || counted(&server, |stats| &stats.bounds.logins_waiting) > 50);
    for _ in 0..5 {
        let begin = Instant::now();
        assert!(matches!(alice.call(&Request::Totals).unwrap(), Response::Totals(_)));
        let history = Request::History { account: AccountId(1), before: Lsn(0), limit: 10 };
        assert_eq!(alice.statement(&history).unwrap().entries.len(), 1);
        let took = begin.elapsed();
        assert!(took < BEARABLE, "{took:?} for TOTALS and HISTORY");
    }
    assert!(counted(&server, |stats| &stats.bounds.logins_waiting) > 0, "LOGINs have been waiting all the time");
    drop(crowd);
}

#[test]
fn totals_of_one_user_keep_no_other_user_waiting() {
    let (server, _home) = with_users(&["--accounts", "100000", "--durability", "none"]);
    let login = |user: &str| {
        let mut bank = Bank::connect(server.address);
        bank.login(user, "pw123456").unwrap().unwrap();
        bank
    };
    let (mut bob, mut alice) = (login("bob"), login("alice"));
    let mut others: Vec<Bank> = (0..30).map(|_| login("alice")).collect();
    for other in &mut others {
        // More than are answered before the test is over.
        (0..200).for_each(|_| assert!(other.send(&Request::Totals).is_ok()));
    }
    await_that("they wait", || counted(&server, |stats| &stats.bounds.lookups_waiting) > 20);
    let took = |bank: &mut Bank| {
        let begin = Instant::now();
        assert!(matches!(bank.call(&Request::Totals).unwrap(), Response::Totals(_)));
        begin.elapsed()
    };
    // Alice has to wait for her own others, and bob for none of them but those that have been begun.
    let mut measure = || (took(&mut alice), took(&mut bob));
    let is_fair = |(of_alice, of_bob): &(Duration, Duration)| 2 * *of_bob < *of_alice;
    // On a busy machine bob may wait for the processor: three times is no chance.
    let measured: Vec<_> = (0..3).map(|_| measure()).collect();
    assert!(measured.iter().any(is_fair), "one more of alice's, and bob's: {measured:?}");
}

#[test]
fn logins_of_one_address_keep_no_other_address_out() {
    let (server, _home) = with_users(&[]);
    let crowd = guessers(&server, MAX_WAITING_LOGINS + 50);
    await_that("their queue is full", || counted(&server, |stats| &stats.bounds.logins_refused) > 0);
    let waiting = counted(&server, |stats| &stats.bounds.logins_waiting);
    assert!(waiting <= MAX_WAITING_LOGINS as u64, "{waiting}");
    let begin = Instant::now();
    let mut alice = Bank::over(connect_from([127, 0, 0, 2], server.address));
    alice.login("alice", "pw123456").unwrap().unwrap();
    let took = begin.elapsed();
    let left = counted(&server, |stats| &stats.bounds.logins_waiting);
    assert!(left > waiting / 2, "it took {took:?}, and {left} of {waiting} others were still waiting");
    // Those whose queue was full were told so, and are connected still.
    let refused = crowd.into_iter().rev().find_map(|mut guesser| {
        guesser.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        guesser.read().ok().filter(|(_, response)| matches!(response, Response::Error { status: Status::Busy, .. }))
    });
    assert_eq!(refused, Some((1, Response::Error { opcode: 1, status: Status::Busy })));
}

#[test]
fn passwords_of_connections_that_are_gone_are_not_checked() {
    let (server, _home) = with_users(&[]);
    let crowd = guessers(&server, 200);
    await_that("they wait", || counted(&server, |stats| &stats.bounds.logins_waiting) > 100);
    crowd.into_iter().for_each(|guesser| reset(guesser.stream));
    await_that("nobody waits", || counted(&server, |stats| &stats.bounds.logins_waiting) == 0);
    let failed = counted(&server, |stats| &stats.bounds.logins_failed);
    assert!(failed < 150, "{failed} passwords of 200 were checked");
}

#[test]
fn a_connection_may_guess_three_times() {
    let server = Server::start(&["--workers", "1", "--durability", "none"]);
    let mut guesser = Bank::connect(server.address);
    // All at once: what comes after the last one is not looked at.
    for _ in 0..10 {
        guesser.send(&WRONG).unwrap();
    }
    for _ in 0..MAX_FAILED_LOGINS {
        assert_eq!(guesser.read().unwrap().1, Response::Error { opcode: 1, status: Status::Auth });
    }
    assert!(guesser.is_closed());
    let counts = [
        counted(&server, |stats| &stats.bounds.logins_failed),
        counted(&server, |stats| &stats.bounds.closed_guessing),
    ];
    assert_eq!(counts, [u64::from(MAX_FAILED_LOGINS), 1]);
    // Fewer are forgiven.
    let mut clumsy = Bank::connect(server.address);
    for _ in 1..MAX_FAILED_LOGINS {
        assert_eq!(clumsy.login("demo", "wrong").unwrap(), Err(Status::Auth));
    }
    clumsy.login("demo", "demo").unwrap().unwrap();
    ping(&mut clumsy);
}

#[test]
fn who_does_not_log_in_is_closed_and_a_ping_is_no_login() {
    for mode in MODES {
        let server = Server::start(&["--login-timeout", "1", "--durability", "none", "--accept", mode]);
        let begin = Instant::now();
        let mut known = Bank::demo(server.address);
        let mut silent = TcpStream::connect(server.address).unwrap();
        let mut stranger = Bank::connect(server.address);
        while stranger.call(&Request::Ping).is_ok() {
            assert!(begin.elapsed() < server::DEADLINE, "{mode}: PING holds a place for ever");
            ping(&mut known);
        }
        assert!(begin.elapsed() >= Duration::from_secs(1), "{mode}");
        assert!(is_closed(&mut silent), "{mode}");
        ping(&mut known);
        assert_eq!(counted(&server, |stats| &stats.bounds.closed_without_login), 2, "{mode}");
    }
}

#[test]
fn when_places_run_out_who_has_not_logged_in_makes_room() {
    for mode in MODES {
        let server =
            Server::start(&["--max-connections", "8", "--workers", "2", "--durability", "none", "--accept", mode]);
        let mut known: Vec<Bank> = (0..4).map(|_| Bank::demo(server.address)).collect();
        let mut strangers: Vec<Bank> = (0..4).map(|_| Bank::connect(server.address)).collect();
        // PING is no LOGIN.
        strangers.iter_mut().for_each(ping);
        await_that("they count as silent", || silent(&server) == 4);
        for number in 0..4 {
            let mut newcomer = Bank::connect(server.address);
            assert_eq!(newcomer.login("demo", "demo").unwrap(), Ok(()), "{mode}: {number}");
            known.push(newcomer);
        }
        await_that("all four are gone", || evicted(&server) == 4);
        for mut stranger in strangers {
            assert_eq!(stranger.read().unwrap(), (0, BUSY), "{mode}: it is told why");
            assert!(stranger.is_closed(), "{mode}");
        }
        // Who has logged in stays, and now there is no room.
        let mut one_more = Bank::connect(server.address);
        assert_eq!(one_more.read().unwrap(), (0, BUSY), "{mode}");
        assert!(one_more.is_closed(), "{mode}");
        known.iter_mut().for_each(ping);
        assert_eq!(evicted(&server), 4, "{mode}");
    }
}

#[test]
fn a_crowd_that_connects_and_stays_silent_keeps_nobody_out() {
    for mode in MODES {
        let server =
            Server::start(&["--max-connections", "64", "--workers", "2", "--durability", "none", "--accept", mode]);
        let address = server.address;
        let before: u64 = server.workers.iter().map(|pid| memory(*pid)).sum();
        let crowd = Crowd::of(2, || {
            let mut held = std::collections::VecDeque::new();
            move || {
                held.extend(TcpStream::connect_timeout(&address, Duration::from_secs(10)));
                if held.len() > 100 {
                    held.pop_front();
                }
            }
        });

        await_that("places have run out", || evicted(&server) > 100);

        let (took, count) = longest(A_WHILE, 2 * BEARABLE, || {
            // It may itself be taken for one of them, should it be slower than the crowd; then it comes again.
            await_that("there is a place", || {
                Bank::try_connect(address)
                    .and_then(|mut bank| bank.login("demo", "demo"))
                    .is_ok_and(|login| login.is_ok())
            });
        });

        assert!(took < 2 * BEARABLE, "{mode}: {took:?} for one of {count} LOGINs; {} connections", crowd.rounds());
        drop(crowd);
        let grown = server.workers.iter().map(|pid| memory(*pid)).sum::<u64>().saturating_sub(before);
        assert!(grown < 8 << 10, "{mode}: {grown} KiB more");
        assert_eq!(server.stats().workers().iter().map(|row| row.life.deaths.get()).sum::<u32>(), 0, "{mode}");
    }
}
