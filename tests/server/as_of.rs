//! LSNs on the wire: what replies are as of, and requests that name the last operation seen, on a server without peers.

use crate::{bank, server};

use std::time::{Duration, Instant};

use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::base::limits::AFTER_WAIT_MILLISECONDS;
use bank_vault::base::vocab::{AccountId, Lsn, ReplicaRole};
use bank_vault::service::bank::wire::{Request, Response, Status};
use nix::sys::signal::Signal;
use server::{Server, await_that, send};

const SMALL: [&str; 6] = ["--workers", "2", "--accounts", "10", "--initial-balance", "1000.00"];
const KEY: [u8; 16] = [7; 16];

fn history(account: u32) -> Request<'static> {
    Request::History { account: AccountId(account), before: Lsn(0), limit: 3 }
}

fn balance(account: u32) -> Request<'static> {
    Request::Balance { account: AccountId(account) }
}

/// What `request` is answered with, and the LSN that the answer carries.
fn ask(bank: &mut Bank, request: &Request<'_>, key: Option<[u8; 16]>, after: Option<u64>) -> (Response, Option<u64>) {
    let response = bank.call_as_of(request, key, after.map(Lsn)).unwrap();
    (response, bank.lsn.map(|lsn| lsn.0))
}

#[test]
fn every_answer_carries_its_lsn_and_no_error_does() {
    for durability in ["sync", "async", "none"] {
        let server = Server::start(&[&SMALL[..], &["--durability", durability]].concat());
        let mut bank = Bank::connect(server.address);
        assert_eq!(ask(&mut bank, &Request::Ping, None, None).1, Some(0));
        let login = Request::Login { user: b"demo", pass: b"demo" };
        let (answer, lsn) = ask(&mut bank, &login, None, Some(0));
        assert!(matches!(answer, Response::Login { .. }) && lsn == Some(0), "{answer:?}");
        for (number, xored) in [(1, false), (2, true)] {
            let mut bank = Bank::demo(server.address);
            bank.xored = xored;
            let request = deposit(1, 5);
            let (answer, lsn) = ask(&mut bank, &request, Some([number; 16]), None);
            assert_eq!(lsn, Some(u64::from(number)), "{durability}");
            assert_eq!(ask(&mut bank, &request, Some([number; 16]), lsn), (answer, lsn), "the first's, by its key");
            assert_eq!(ask(&mut bank, &balance(1), None, lsn).1, lsn, "{durability}");
        }
        assert_eq!(ask(&mut bank, &transfer(1, 2, 1), None, Some(2)).1, Some(3), "{durability}");
        assert_eq!(ask(&mut bank, &withdraw(2, 1), Some(KEY), Some(3)).1, Some(4), "{durability}");
        assert_eq!(ask(&mut bank, &balance(9), None, Some(4)).1, Some(4), "an account that nothing has changed");
        assert_eq!(ask(&mut bank, &Request::Totals, None, None).1, Some(4), "{durability}");
        assert_eq!(ask(&mut bank, &Request::Ping, None, Some(4)).1, Some(4), "{durability}");
        let seq = bank.send_as_of(&history(2), None, Some(Lsn(4))).unwrap();
        let (answered, page) = bank.read_statement().unwrap();
        let entries = if durability == "none" { 0 } else { 2 };
        assert_eq!((answered, page.unwrap().entries.len(), bank.lsn), (seq, entries, Some(Lsn(4))), "{durability}");
        for (request, key, status) in [
            (withdraw(1, 1_000_000), None, Status::Insufficient),
            (withdraw(1, 1_000_000), Some([9; 16]), Status::Insufficient),
            (withdraw(1, 1_000_000), Some([9; 16]), Status::Insufficient),
            (deposit(1, 1), Some([9; 16]), Status::Conflict),
            (balance(99), None, Status::NoAccount),
            (history(99), None, Status::NoAccount),
        ] {
            let (answer, lsn) = ask(&mut bank, &request, key, Some(4));
            assert!(matches!(answer, Response::Error { status: got, .. } if got == status), "{answer:?}");
            assert_eq!(lsn, None);
        }
        // Who does not ask gets the frames of always.
        let answer = bank.call(&balance(1)).unwrap();
        assert!(matches!(answer, Response::Balance { .. }) && bank.lsn.is_none());
    }
}

#[test]
fn a_server_without_peers_tells_of_itself() {
    let server = Server::start(&SMALL);
    let mut bank = Bank::connect(server.address);
    assert_eq!(bank.cluster(), Err(Status::Auth));
    bank.login("demo", "demo").unwrap().unwrap();
    bank.call(&deposit(1, 5)).unwrap();
    for xored in [false, true] {
        bank.xored = xored;
        let cluster = bank.cluster().unwrap();
        assert_eq!(bank.lsn, Some(Lsn(1)));
        let address = server.address.to_string();
        assert_eq!((cluster.replica, cluster.role, cluster.term, cluster.primary), (0, ReplicaRole::Alone, 0, 0));
        assert_eq!((cluster.committed, cluster.applied, &cluster.primary_address), (Lsn(1), Lsn(1), &address));
        let [itself] = &cluster.members[..] else { panic!("{cluster:?}") };
        assert_eq!((itself.match_lsn, &itself.client_address, itself.role), (Lsn(1), &address, ReplicaRole::Alone));
    }
}

#[test]
fn what_was_never_done_is_waited_for_a_while_and_then_behind() {
    for durability in ["sync", "none"] {
        let server = Server::start(&[&SMALL[..], &["--durability", durability]].concat());
        let (mut bank, mut other) = (Bank::demo(server.address), Bank::demo(server.address));
        let begun = Instant::now();
        let (answer, lsn) = ask(&mut bank, &balance(1), None, Some(u64::MAX));
        assert!(matches!(answer, Response::Error { status: Status::Behind, .. }) && lsn.is_none(), "{answer:?}");
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(AFTER_WAIT_MILLISECONDS - 50), "{waited:?}");
        // It comes in time, while another of the same worker or the other one waits for what does not come.
        let asked = Instant::now();
        let mut waiting: Vec<Bank> = (0..4).map(|_| Bank::demo(server.address)).collect();
        for bank in &mut waiting {
            bank.send_as_of(&balance(1), None, Some(Lsn(1 << 60))).unwrap();
        }
        for (number, request) in [(1, balance(1)), (2, Request::Ping), (3, Request::Totals)] {
            let seq = bank.send_as_of(&request, None, Some(Lsn(number))).unwrap();
            // Requests behind it wait for their turn, and nobody else waits.
            let next = bank.send(&Request::Ping).unwrap();
            assert_eq!(ask(&mut other, &deposit(1, 5), None, None).1, Some(number));
            let (answered, answer) = bank.read().unwrap();
            assert!(answered == seq && bank.lsn >= Some(Lsn(number)), "{durability}: {answer:?}");
            assert!(!matches!(answer, Response::Error { .. }), "{durability}: {answer:?}");
            assert_eq!(bank.read().unwrap().0, next);
        }
        for bank in &mut waiting {
            assert!(matches!(bank.read().unwrap().1, Response::Error { status: Status::Behind, .. }));
        }
        assert!(asked.elapsed() >= Duration::from_millis(AFTER_WAIT_MILLISECONDS - 50));
        drop((bank, other, waiting));
        assert!(server.stop().status.success());
    }
}

/// The LSN is one that will still be there after a loss of power: an answer does not leave before, and neither does one that waits for it.
#[test]
fn what_is_not_durable_is_waited_for_and_not_named() {
    let server = Server::start(&SMALL);
    let (mut bank, mut other) = (Bank::demo(server.address), Bank::demo(server.address));
    assert_eq!(ask(&mut bank, &deposit(1, 5), None, None).1, Some(1));
    let journal = server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    other.send_as_of(&deposit(2, 5), None, None).unwrap();
    await_that("it is committed", || server.stats().table().order().now().lsn == Lsn(2));
    assert_eq!(ask(&mut bank, &balance(1), None, Some(1)).1, Some(1), "at once, and as of what is durable");
    let answer = ask(&mut bank, &balance(1), None, Some(2)).0;
    assert!(matches!(answer, Response::Error { status: Status::Behind, .. }), "{answer:?}");
    bank.send_as_of(&balance(1), None, Some(Lsn(2))).unwrap();
    send(journal, Signal::SIGCONT);
    assert!(matches!(bank.read().unwrap().1, Response::Balance { .. }));
    assert_eq!(bank.lsn, Some(Lsn(2)));
    assert!(matches!(other.read().unwrap().1, Response::Deposit { .. }));
    assert_eq!(other.lsn, Some(Lsn(2)));
}

#[test]
fn who_goes_away_while_it_waits_leaves_nothing() {
    let server = Server::start(&SMALL);
    for _ in 0..50 {
        let mut bank = Bank::connect(server.address);
        bank.send_as_of(&Request::Ping, None, Some(Lsn(u64::MAX))).unwrap();
    }
    // A worker that dies while a request waits hands it on.
    let mut bank = Bank::demo(server.address);
    bank.send_as_of(&balance(1), None, Some(Lsn(1))).unwrap();
    for worker in server.workers_now() {
        send(worker, Signal::SIGKILL);
    }
    let mut other = Bank::demo(server.address);
    other.call(&deposit(1, 5)).unwrap();
    let (_, answer) = bank.read().unwrap();
    assert!(matches!(answer, Response::Balance { .. } | Response::Error { status: Status::Behind, .. }), "{answer:?}");
}
