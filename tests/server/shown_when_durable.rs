//! Every answer and every other way of reading, while the journal process is stopped: what shows an operation that is not durable
//! waits for it, and what shows none does not.

use crate::{bank, server, visitor};

use std::io::ErrorKind;
use std::process::Command;

use bank::Bank;
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{Opcode, Request, Response, Status};
use bank_vault::store::instance::Instance;
use bank_vault::store::users::{self, Role};
use nix::sys::signal::Signal;
use server::{await_that, send};
use visitor::Site;

/// An account that an operation has changed which is not durable, one that nothing has changed, and one that there is not.
const CHANGED: AccountId = AccountId(1);
const QUIET: AccountId = AccountId(2);
const NONE: AccountId = AccountId(99);
const KEY: [u8; 16] = [7; 16];
const OTHER_KEY: [u8; 16] = [8; 16];
/// What came in before the journal process was stopped, and what after.
const BEFORE: Cents = Cents(100);
const AFTER: Cents = Cents(25_000);
/// As much as any account may hold, and more than any does.
const MUCH: Cents = Cents(i64::MAX / 10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    AtOnce,
    /// Not before the operation that it shows is durable.
    Later,
}
use Leaves::{AtOnce, Later};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Nobody,
    Teller,
    Customer,
}
use User::{Customer, Nobody, Teller};

type Row = (&'static str, User, Request<'static>, Option<[u8; 16]>, Status, Leaves);

/// Every status that a server gives to a readable request, for each of its reasons, times what it shows.
fn rows() -> Vec<Row> {
    let deposit = |account, amount| Request::Deposit { account, amount };
    let withdraw = |account, amount| Request::Withdraw { account, amount };
    let transfer = |from, to| Request::Transfer { from, to, amount: MUCH };
    let history = |account| Request::History { account, before: Lsn(0), limit: 9 };
    let balance = |account| Request::Balance { account };
    let login = |user, pass| Request::Login { user, pass };
    let (ok, invalid, insufficient) = (Status::Ok, Status::Invalid, Status::Insufficient);
    vec![
        ("the time", Nobody, Request::Ping, None, ok, AtOnce),
        ("a login", Nobody, login(b"tina", b"till"), None, ok, AtOnce),
        ("a wrong password", Nobody, login(b"tina", b"tell"), None, Status::Auth, AtOnce),
        ("before LOGIN", Nobody, balance(CHANGED), None, Status::Auth, AtOnce),
        ("what the role forbids", Customer, balance(CHANGED), None, Status::Forbidden, AtOnce),
        ("a balance that is not durable", Teller, balance(CHANGED), None, ok, Later),
        ("one that is", Teller, balance(QUIET), None, ok, AtOnce),
        ("no account", Teller, balance(NONE), None, Status::NoAccount, AtOnce),
        ("a statement that is not durable", Teller, history(CHANGED), None, ok, Later),
        ("one that is", Teller, history(QUIET), None, ok, AtOnce),
        ("a statement of no account", Teller, history(NONE), None, Status::NoAccount, AtOnce),
        (
            "a statement of nothing",
            Teller,
            Request::History { account: CHANGED, before: Lsn(0), limit: 0 },
            None,
            invalid,
            AtOnce,
        ),
        ("sums", Teller, Request::Totals, None, ok, Later),
        ("an operation", Teller, deposit(QUIET, Cents(1)), None, ok, Later),
        ("a deposit beyond the cap, which tells of the balance", Teller, deposit(CHANGED, MUCH), None, invalid, Later),
        ("one of nothing, which does not", Teller, deposit(CHANGED, Cents(0)), None, invalid, AtOnce),
        ("a transfer to oneself", Teller, transfer(CHANGED, CHANGED), None, invalid, AtOnce),
        ("a transfer to nobody", Teller, transfer(CHANGED, NONE), None, Status::NoAccount, AtOnce),
        ("too little there, which tells of the balance", Teller, withdraw(CHANGED, MUCH), None, insufficient, Later),
        ("too little, and that is durable", Teller, withdraw(AccountId(3), MUCH), None, insufficient, AtOnce),
        (
            "a transfer from too little, to one that changed",
            Teller,
            transfer(AccountId(3), CHANGED),
            None,
            insufficient,
            Later,
        ),
        ("a refusal that a key remembers", Teller, withdraw(AccountId(3), MUCH), Some(OTHER_KEY), insufficient, Later),
        ("a key again", Teller, deposit(CHANGED, AFTER), Some(KEY), ok, Later),
        ("a key with another request", Teller, deposit(CHANGED, Cents(5)), Some(KEY), Status::Conflict, Later),
        ("a key of another user", Customer, deposit(AccountId(4), Cents(5)), Some(KEY), ok, Later),
    ]
}

/// The statuses that no row has, each with why what it says is no operation.
fn shows_nothing(status: Status) -> Option<&'static str> {
    match status {
        Status::BadCrc | Status::BadFrame => Some("the frame was not understood, so nothing was looked at"),
        Status::Busy => Some("there is no room, of connections, of threads, of the rate, or of the disk"),
        Status::Timeout => Some("the journal cannot be read"),
        Status::Frozen => Some("no account is"),
        Status::NotPrimary | Status::NoQuorum => Some("this server has no peers"),
        Status::Behind => Some("it says what this server has not applied"),
        Status::Ok | Status::Auth | Status::NoAccount | Status::Insufficient => None,
        Status::Invalid | Status::Conflict | Status::Forbidden => None,
    }
}

fn log_in(site: &Site, user: User) -> Bank {
    let mut bank = Bank::connect(site.server.address);
    match user {
        Nobody => {}
        Teller => bank.login("tina", "till").unwrap().unwrap(),
        Customer => bank.login("carla", "cash").unwrap().unwrap(),
    }
    bank
}

/// Has the worker come by this connection since it looked at its request: it is the only one, and does one thing at a time.
fn await_a_turn(site: &Site) {
    assert!(matches!(Bank::connect(site.server.address).call(&Request::Ping).unwrap(), Response::Ping { .. }));
}

fn has_answer(bank: &Bank) -> bool {
    bank.stream.set_nonblocking(true).unwrap();
    let seen = bank.stream.peek(&mut [0]);
    bank.stream.set_nonblocking(false).unwrap();
    match seen {
        Ok(count) => count > 0,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

fn status_of(bank: &mut Bank, request: &Request<'_>) -> Status {
    if request.opcode() == Opcode::History {
        return bank.read_statement().unwrap().1.err().unwrap_or(Status::Ok);
    }
    bank.read().unwrap().1.status()
}

/// Asks, and waits until the worker has seen to it as far as it can.
fn ask(site: &Site, running: &Instance, (what, user, request, key, _, leaves): &Row) -> Bank {
    let mut bank = log_in(site, *user);
    let stats = &running.workers()[0].stats;
    let answers = || stats.answers.iter().map(|counter| counter.get()).sum::<u64>();
    let (asked, before) = (&stats.requests[request.opcode().index()], answers());
    let asked_before = asked.get();
    bank.send_with_key(request, *key).unwrap();
    match leaves {
        AtOnce => await_that(&format!("{what} is answered"), || has_answer(&bank)),
        // A statement is not even looked up.
        Later if request.opcode() == Opcode::History => await_that(what, || asked.get() > asked_before),
        Later => await_that(&format!("{what}: its reply is queued"), || answers() > before),
    }
    bank
}

/// What other ways of reading than the protocol's tell.
fn read_elsewhere(site: &Site, accounts: &mut Vec<String>) {
    let name = &site.server.instance;
    let vaultctl = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).args(["--instance", name]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    accounts.push(vaultctl(&["journal", "dump"]));
    accounts.push(vaultctl(&["audit"]));
    accounts.push(vaultctl(&["top", "--once"]));
    for page in ["/stats.json", "/metrics"] {
        accounts.push(site.get(&format!("/_vault{page}")).text().to_owned());
    }
    let mut watcher = site.visit();
    watcher.send(b"GET /_vault/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    watcher.read(false).unwrap();
    accounts.extend(std::iter::repeat_with(|| watcher.line().unwrap()).find(|line| line.starts_with("data: ")));
    let memory: serde_json::Value = serde_json::from_str(&vaultctl(&["inspect", "--json"])).unwrap();
    // It looks at memory, and says how much of that is not durable.
    let (last, durable) = (&memory["totals"]["lsn"], &memory["totals"]["committed_lsn"]);
    assert_eq!((durable.as_u64(), last.as_u64() > durable.as_u64()), (Some(1), true), "{memory}");
    assert!(vaultctl(&["inspect"]).contains("are not committed yet"));
}

#[test]
fn what_shows_an_operation_waits_until_that_is_durable_and_nothing_else_does() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("users");
    users::add(&file, "tina", b"till", Role::Teller).unwrap();
    users::add(&file, "carla", b"cash", "customer:4-4".parse().unwrap()).unwrap();
    let args = ["--workers", "1", "--worker-timeout", "600", "--users", file.to_str().unwrap()];
    let site = Site::with(&[], &args);
    let running = site.server.stats();
    log_in(&site, Teller).call(&Request::Deposit { account: CHANGED, amount: BEFORE }).unwrap();
    let journal = site.server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    let mut first = log_in(&site, Teller);
    first.send_with_key(&Request::Deposit { account: CHANGED, amount: AFTER }, Some(KEY)).unwrap();
    await_that("it is done", || running.table().order().now().lsn == Lsn(2));

    let rows = rows();
    let mut covered: Vec<Status> = rows.iter().map(|row| row.4).collect();
    covered.extend(Status::ALL.into_iter().filter(|&status| shows_nothing(status).is_some()));
    assert!(Status::ALL.iter().all(|status| covered.contains(status)), "{covered:?}");

    let mut asked: Vec<(Row, Bank)> = rows.into_iter().map(|row| (row, ask(&site, &running, &row))).collect();
    await_a_turn(&site);
    for (row, bank) in &asked {
        assert_eq!(has_answer(bank), row.5 == AtOnce, "{}", row.0);
    }
    let mut elsewhere = Vec::new();
    read_elsewhere(&site, &mut elsewhere);
    for text in elsewhere {
        let shown = ["25000", "250.00", "25100", "251.00"].iter().find(|amount| text.contains(**amount));
        assert_eq!(shown, None, "{text}");
    }
    assert_eq!(running.table().sequencer().committed().0, Lsn(1), "nothing has become durable meanwhile");

    send(journal, Signal::SIGCONT);
    for ((what, _, request, _, wanted, _), bank) in &mut asked {
        assert_eq!(status_of(bank, request), *wanted, "{what}");
    }
    assert_eq!(first.read().unwrap().1, Response::Deposit { balance: Cents(BEFORE.0 + AFTER.0) });
}
