//! The books of a data directory, as its server is stopped and started again with other numbers.

use crate::{bank, server};

use bank::{Bank, deposit, opening, withdraw};
use bank_vault::base::vocab::Cents;
use bank_vault::service::bank::wire::{Request, Response, Status};
use server::{Server, master};

#[test]
fn more_accounts_grow_the_books_and_fewer_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start_on(&data, &["--accounts", "10", "--initial-balance", "5.00"]);
    let mut bank = Bank::demo(server.address);
    assert!(matches!(bank.call(&deposit(3, 100)).unwrap(), Response::Deposit { .. }));
    assert!(server.stop().status.success());

    // New accounts open with what is said now; the old ones keep what they have.
    let server = Server::start_on(&data, &["--accounts", "20", "--initial-balance", "7.00"]);
    let mut bank = Bank::demo(server.address);
    assert_eq!([3, 9, 10, 19].map(|account| bank.balance(account).0), [600, 500, 700, 700]);
    let totals = bank.totals();
    assert_eq!((totals.accounts, opening(&totals)), (20, 10 * 500 + 10 * 700));
    assert!(matches!(bank.call(&deposit(19, 1)).unwrap(), Response::Deposit { .. }));
    assert!(server.stop().status.success());

    let refused = master("growth-refused", &data, &["--accounts", "19"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("19") && said.contains("20") && said.contains("accounts"), "{said}");
    let ignored = master("growth-ignored", &data, &["--accounts", "20", "--durability", "none"]).output().unwrap();
    let said = String::from_utf8_lossy(&ignored.stderr);
    assert!(ignored.status.code() == Some(2) && said.contains("holds a journal"), "{said}");

    let server = Server::start_on(&data, &["--accounts", "20"]);
    assert_eq!(Bank::demo(server.address).balance(19).0, 701);
    assert!(server.stop().status.success());
}

#[test]
fn all_that_was_ever_deposited_stays_within_63_bits_over_restarts_and_growth() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Server::start_on(&data, &["--workers", "2", "--accounts", "1", "--initial-balance", "0.10"]);
    let most = i64::MAX - 10;
    let invalid = |request| Response::Error { opcode: Request::opcode(&request).code(), status: Status::Invalid };
    let mut bank = Bank::demo(server.address);
    for amount in [most - 5, 5] {
        assert!(matches!(bank.call(&deposit(0, amount)).unwrap(), Response::Deposit { .. }));
        assert!(matches!(bank.call(&withdraw(0, amount)).unwrap(), Response::Withdraw { .. }));
    }
    let mut other = Bank::demo(server.address);
    for bank in [&mut bank, &mut other] {
        assert_eq!(bank.call(&deposit(0, 1)).unwrap(), invalid(deposit(0, 1)));
        // A refusal with a key stays one.
        assert_eq!(bank.call_with_key(&deposit(0, 2), Some([3; 16])).unwrap(), invalid(deposit(0, 2)));
        let totals = bank.totals();
        assert_eq!((totals.sum, totals.deposited, totals.withdrawn), (Cents(10), Cents(most), Cents(most)));
    }
    assert!(server.stop().status.success());

    let server = Server::start_on(&data, &["--accounts", "1"]);
    let mut bank = Bank::demo(server.address);
    assert_eq!(bank.call(&deposit(0, 1)).unwrap(), invalid(deposit(0, 1)));
    assert_eq!(bank.balance(0), Cents(10));
    assert!(server.stop().status.success());

    // No account can open with anything, and the refusal leaves all as it was.
    let refused = master("growth-beyond", &data, &["--accounts", "2", "--initial-balance", "0.01"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("2 accounts with 0.01 each cannot be opened"), "{said}");
    let server = Server::start_on(&data, &["--accounts", "2"]);
    assert_eq!(Bank::demo(server.address).totals().deposited, Cents(most));
    assert!(server.stop().status.success());
    let audit =
        assert_cmd::Command::cargo_bin("vaultctl").unwrap().args(["audit", "--data"]).arg(&data).output().unwrap();
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn async_is_said_plainly_and_loses_nothing_when_it_is_stopped() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let args = ["--accounts", "10", "--durability", "async", "--flush-interval", "60000"];
    let server = Server::start_on(&data, &args);
    assert!(server.stderr().contains("replies do not wait for the disk"), "{}", server.stderr());
    // It is answered at once, although the next flush is a minute away.
    assert!(matches!(Bank::demo(server.address).call(&deposit(3, 100)).unwrap(), Response::Deposit { .. }));
    assert!(server.stop().status.success());
    // Damage to that one record is no torn tail.
    let segment = data.join("journal/00000000000000000001.segment");
    let good = std::fs::read(&segment).unwrap();
    let mut damaged = good.clone();
    damaged[4096 + 45] ^= 1;
    std::fs::write(&segment, damaged).unwrap();
    let refused = master("growth-async", &data, &args).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    std::fs::write(&segment, good).unwrap();
    let server = Server::start_on(&data, &args);
    assert_eq!(Bank::demo(server.address).balance(3).0, 100);
    assert!(server.stop().status.success());
}
