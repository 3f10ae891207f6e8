//! The books of a data directory, as its server is stopped and started again with other numbers.

#[path = "support/bank.rs"]
mod bank;
#[path = "support/server.rs"]
mod server;

use bank::{Bank, deposit, opening};
use bank_vault::wire::Response;
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
fn async_is_said_plainly_and_loses_nothing_when_it_is_stopped() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let args = ["--accounts", "10", "--durability", "async", "--flush-interval", "60000"];
    let server = Server::start_on(&data, &args);
    assert!(server.stderr().contains("replies do not wait for the disk"), "{}", server.stderr());
    // It is answered at once, although the next flush is a minute away.
    assert!(matches!(Bank::demo(server.address).call(&deposit(3, 100)).unwrap(), Response::Deposit { .. }));
    assert!(server.stop().status.success());
    let server = Server::start_on(&data, &args);
    assert_eq!(Bank::demo(server.address).balance(3).0, 100);
    assert!(server.stop().status.success());
}
