//! Statements, from real servers: pages, both sides of a transfer, under load, after a restart, and who may see them.

use crate::{bank, server};

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::base::crash_point::VARIABLE;
use bank_vault::base::limits::MAX_STATEMENT_ENTRIES;
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{Entry, Movement, Next, Request, Response, Statement, Status};
use nix::sys::signal::Signal;
use server::{Server, unused_name};

const OPENING: i64 = 1000;
const BOOKS: [&str; 6] = ["--workers", "1", "--accounts", "8", "--initial-balance", "10.00"];

fn history(account: u32, before: u64, limit: u16) -> Request<'static> {
    Request::History { account: AccountId(account), before: Lsn(before), limit }
}

/// All of an account's entries, newest first, by pages of `limit`.
fn whole(bank: &mut Bank, account: u32, limit: u16) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut before = 0;
    loop {
        let page = bank.statement(&history(account, before, limit)).unwrap();
        assert!(page.entries.len() <= usize::from(limit).min(MAX_STATEMENT_ENTRIES));
        entries.extend_from_slice(&page.entries);
        match page.next {
            Next::Before(lsn) => before = lsn.0,
            Next::Opening => return entries,
            Next::Trimmed => panic!("nothing was removed"),
        }
    }
}

/// Each balance is the one before and the amount; gives what the account holds.
fn check_chain(entries: &[Entry]) -> Cents {
    let mut balance = OPENING;
    let mut last = Lsn(0);
    for entry in entries.iter().rev() {
        assert!(entry.lsn > last && entry.amount > Cents::ZERO, "{entry:?} after {last}");
        balance += if entry.movement.is_gain() { entry.amount.0 } else { -entry.amount.0 };
        assert_eq!(entry.balance_after, Cents(balance), "{entry:?}");
        last = entry.lsn;
    }
    Cents(balance)
}

/// Every transfer stands in the statements of both of its accounts, with the same number, time and amount.
fn check_sides(statements: &BTreeMap<u32, Vec<Entry>>) {
    for (&account, entries) in statements {
        for entry in entries {
            let (other, mirrored) = match entry.movement {
                Movement::TransferOut { to } => (to, Movement::TransferIn { from: AccountId(account) }),
                Movement::TransferIn { from } => (from, Movement::TransferOut { to: AccountId(account) }),
                Movement::Deposit | Movement::Withdraw => continue,
            };
            let there =
                statements[&other.0].iter().find(|there| there.lsn == entry.lsn).expect("on the other side too");
            assert_eq!((there.movement, there.amount, there.time_ms), (mirrored, entry.amount, entry.time_ms));
        }
    }
}

/// Does something with every account, refusals among it; gives how many operations were done.
fn keep_busy(bank: &mut Bank, rounds: u32) -> u64 {
    let mut done = 0;
    for round in 0..rounds {
        let (from, to, cents) = (round % 7, (round * 5 + 1) % 8, i64::from(round * 37 % 90) + 1);
        for request in
            [deposit(to, cents), withdraw(from, cents / 2 + 1), transfer(from, to, cents), withdraw(from, 1 << 40)]
        {
            match bank.call(&request).unwrap() {
                Response::Error { status: Status::Insufficient | Status::Invalid, .. } => {}
                Response::Error { status, .. } => panic!("{request:?}: {status:?}"),
                _ => done += 1,
            }
        }
    }
    done
}

fn check_all(bank: &mut Bank) -> usize {
    let statements: BTreeMap<u32, Vec<Entry>> = (0..8).map(|account| (account, whole(bank, account, 40))).collect();
    for (&account, entries) in &statements {
        assert_eq!(check_chain(entries), bank.balance(account), "account {account}");
    }
    check_sides(&statements);
    let twice = |entry: &&Entry| matches!(entry.movement, Movement::TransferOut { .. });
    let all = statements.values().flatten();
    all.clone().count() - all.filter(twice).count()
}

#[test]
fn every_operation_stands_in_the_statements_of_its_accounts_and_survives_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start_on(home.path(), &BOOKS);
    let mut bank = Bank::demo(server.address);
    let done = keep_busy(&mut bank, 60);
    assert_eq!(check_all(&mut bank) as u64, done, "refused operations are no entries");
    bank.xored = true;
    assert_eq!(check_all(&mut bank) as u64, done);
    let before = whole(&mut bank, 3, 40);

    drop(server.stop());
    let server = Server::start_on(home.path(), &BOOKS);
    let mut bank = Bank::demo(server.address);
    assert_eq!(whole(&mut bank, 3, 40), before);
    let more = keep_busy(&mut bank, 10);
    assert_eq!(check_all(&mut bank) as u64, done + more);
    drop(server.stop());
}

#[test]
fn pages_are_as_large_as_asked_for_and_go_on_where_the_last_one_ended() {
    let server = Server::start(&BOOKS);
    let mut bank = Bank::demo(server.address);
    for cents in 1..=250 {
        bank.call(&deposit(5, cents)).unwrap();
    }
    let full = bank.statement(&history(5, 0, u16::MAX)).unwrap();
    assert_eq!((full.entries.len(), full.next), (MAX_STATEMENT_ENTRIES, Next::Before(Lsn(142))));
    for limit in [1, 100, 109, u16::MAX] {
        let entries = whole(&mut bank, 5, limit);
        assert!(entries.iter().map(|entry| entry.lsn.0).eq((1..=250).rev()), "pages of {limit}");
    }
    let middle = bank.statement(&history(5, 100, 3)).unwrap();
    assert!(middle.entries.iter().map(|entry| entry.lsn.0).eq([99, 98, 97]) && middle.next == Next::Before(Lsn(97)));
    let beyond = bank.statement(&history(5, 1 << 60, 1)).unwrap();
    assert_eq!(beyond.entries[0].lsn, Lsn(250));
    let nothing = Statement { entries: vec![], next: Next::Opening };
    assert_eq!(bank.statement(&history(6, 0, 5)).unwrap(), nothing);
    assert_eq!(bank.statement(&history(5, 1, 5)).unwrap(), nothing);
    assert_eq!(bank.statement(&history(5, 0, 0)), Err(Status::Invalid));
    assert_eq!(bank.statement(&history(8, 0, 1)), Err(Status::NoAccount));
    drop(server.stop());
}

#[test]
fn pages_that_do_not_fit_the_buffers_wait_until_they_are_read() {
    let server = Server::start(&BOOKS);
    let mut bank = Bank::demo(server.address);
    for cents in 1..=150 {
        bank.call(&deposit(2, cents)).unwrap();
    }
    // Some megabytes of pages, more than the transmit ring and the kernel's buffers hold, and other replies between them.
    let rounds = 1500;
    let mut reader = bank.try_clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                bank.send(&history(2, 0, 109)).unwrap();
                bank.send(&Request::Balance { account: AccountId(2) }).unwrap();
            }
        });
        // Reading begins when the server has stopped reading.
        server::await_that("the server stops reading", || server.has_stuck_connection(12 * 1024));
        let mut seqs = Vec::new();
        for _ in 0..rounds {
            let (seq, page) = reader.read_statement().unwrap();
            let page = page.unwrap();
            assert_eq!((page.entries.len(), page.next), (109, Next::Before(Lsn(42))));
            let (next, balance) = reader.read().unwrap();
            assert!(matches!(balance, Response::Balance { .. }), "{balance:?}");
            seqs.extend([seq, next]);
        }
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "in the order of the requests");
    });
    drop(server.stop());
}

/// Each balance is the older one and the amount.
fn check_steps(entries: &[Entry]) {
    for (newer, older) in entries.windows(2).map(|pair| (pair[0], pair[1])) {
        let moved = if newer.movement.is_gain() { newer.amount.0 } else { -newer.amount.0 };
        assert_eq!(newer.balance_after.0, older.balance_after.0 + moved, "{newer:?} behind {older:?}");
    }
}

/// Does it at the end of the scope, however that ends.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn statements_under_load_are_whole_and_no_older_than_what_was_answered() {
    let server = Server::start(&["--workers", "2", "--accounts", "8", "--initial-balance", "10.00"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // All of them use account 0 all the time: a statement that waited for its newest record would wait for ever.
        for payer in 1..4 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut bank = Bank::demo(server.address);
                while !stop.load(Ordering::Relaxed) {
                    bank.call(&transfer(payer, 0, 1)).unwrap();
                    bank.call(&transfer(0, payer, 1)).unwrap();
                }
            });
        }
        // Set also when an assertion fails: else the payers would go on for ever.
        let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let mut bank = Bank::demo(server.address);
        for cents in 1..=100 {
            bank.call(&deposit(0, cents)).unwrap();
            let mut before = 0;
            // Others may have filled a page since.
            let last = loop {
                let page = bank.statement(&history(0, before, 109)).unwrap();
                check_steps(&page.entries);
                if let Some(mine) = page.entries.iter().find(|entry| entry.movement == Movement::Deposit) {
                    break mine.amount;
                }
                let Next::Before(lsn) = page.next else {
                    panic!("{cents} is in the statement of the one who was told of it")
                };
                before = lsn.0;
            };
            assert_eq!(last, Cents(cents), "the last deposit");
        }
    });
    let mut bank = Bank::demo(server.address);
    check_all(&mut bank);
    drop(server.stop());
}

#[test]
fn a_worker_that_dies_while_it_is_asked_is_not_noticed() {
    // HISTORY is the fourth frame of the connection, after LOGIN and two deposits.
    for point in ["request.decoded#4", "connection.reply-sent#4"] {
        let armed = format!("0:{point}");
        let server = Server::start_with(&unused_name(), &BOOKS, &[(VARIABLE, &armed)]);
        let mut bank = Bank::demo(server.address);
        bank.call(&deposit(1, 5)).unwrap();
        bank.call(&deposit(1, 6)).unwrap();
        let page = bank.statement(&history(1, 0, 10)).unwrap();
        assert!(page.entries.iter().map(|entry| entry.amount.0).eq([6, 5]), "{page:?}");
        assert_eq!(bank.balance(1), Cents(OPENING + 11));
        assert!(server.stderr().contains("1 handed on, 0 closed"), "{point}: {}", server.stderr());
        drop(server.stop());
    }
    let server = Server::start(&BOOKS);
    let mut bank = Bank::demo(server.address);
    bank.call(&deposit(1, 5)).unwrap();
    for _ in 0..20 {
        // Wherever it is: on its way, in the pool, or answered.
        for _ in 0..8 {
            bank.send(&history(1, 0, 10)).unwrap();
        }
        let mut worker = 0;
        server::await_that("there is a worker", || {
            worker = server.workers_now().first().copied().unwrap_or(0);
            worker != 0
        });
        server::send(worker, Signal::SIGKILL);
        for _ in 0..8 {
            assert_eq!(bank.read_statement().unwrap().1.unwrap().entries.len(), 1);
        }
        server::await_that("the killed one is gone", || !server::lives(worker));
    }
    drop(server.stop());
}

#[test]
fn books_in_memory_have_no_statements() {
    let mut args = BOOKS.to_vec();
    args.extend(["--durability", "none"]);
    let server = Server::start(&args);
    let mut bank = Bank::demo(server.address);
    bank.call(&deposit(1, 5)).unwrap();
    let nothing = Statement { entries: vec![], next: Next::Trimmed };
    assert_eq!(bank.statement(&history(1, 0, 10)).unwrap(), nothing);
    assert_eq!(bank.statement(&history(8, 0, 10)), Err(Status::NoAccount));
    drop(server.stop());
}

#[test]
fn a_journal_that_is_flushed_now_and_then_is_waited_for() {
    let mut args = BOOKS.to_vec();
    args.extend(["--durability", "async", "--flush-interval", "200"]);
    let server = Server::start(&args);
    let mut bank = Bank::demo(server.address);
    for cents in 1..=3 {
        bank.call(&deposit(1, cents)).unwrap();
        assert_eq!(bank.statement(&history(1, 0, 1)).unwrap().entries[0].amount, Cents(cents));
    }
    drop(server.stop());
}

#[test]
fn who_may_read_the_balance_may_read_the_statement() {
    let home = tempfile::tempdir().unwrap();
    let users = home.path().join("users");
    for (name, role) in [("tina", "teller"), ("otto", "auditor"), ("carl", "customer:0-3")] {
        let mut add = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
        add.args(["user", "add", name, "--role", role, "--password-stdin", "--users"]).arg(&users);
        add.write_stdin("word").assert().success();
    }
    let mut args = BOOKS.to_vec();
    args.extend(["--users", users.to_str().unwrap()]);
    let server = Server::start(&args);
    assert_eq!(Bank::connect(server.address).statement(&history(1, 0, 1)), Err(Status::Auth));
    for (name, mine, others) in
        [("tina", Ok(()), Ok(())), ("otto", Ok(()), Ok(())), ("carl", Ok(()), Err(Status::Forbidden))]
    {
        let mut bank = Bank::connect(server.address);
        bank.login(name, "word").unwrap().unwrap();
        assert_eq!(bank.statement(&history(1, 0, 1)).map(drop), mine, "{name}");
        assert_eq!(bank.statement(&history(5, 0, 1)).map(drop), others, "{name}");
    }
    drop(server.stop());
}

#[test]
fn the_client_shows_a_statement() {
    let server = Server::start(&BOOKS);
    let mut bank = Bank::demo(server.address);
    bank.call(&deposit(1, 2500)).unwrap();
    bank.call(&transfer(1, 2, 700)).unwrap();
    let client = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(["--port", &server.address.port().to_string()]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = client(&["history", "2"]);
    assert!(text.contains("transfer from") && text.contains("+7.00") && text.contains("17.00"), "{text}");
    assert!(text.ends_with("nothing before this: the account's opening\n"), "{text}");
    let lines = client(&["history", "1", "--json"]);
    let values: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let amounts: Vec<_> = values.iter().filter_map(|value| value["amount_cents"].as_i64()).collect();
    assert_eq!((amounts, &values[2]["older"]), (vec![-700, 2500], &"none".into()));
    drop(server.stop());
}
