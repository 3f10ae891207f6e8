//! A data directory that format version 1 wrote: it is upgraded by a start, and nothing in it is lost.
//!
//! The files under `tests/fixtures/data-version-1` were written by the last program of that version: 102 operations, all with keys, of the
//! demo user; a snapshot after 50 of them; and an orderly stop. Zeros at the end of segments are left out.

use crate::{bank, checker, server};

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{Request, Response};
use bank_vault::store::journal::{Kind, OperationRecord};
use checker::{Kept, judge};
use server::Server;

const SEGMENT_BYTES: u64 = 4096 + 4096 * 128;
const ACCOUNTS: u32 = 10;
const ARGS: [&str; 6] = ["--accounts", "10", "--workers", "1", "--initial-balance", "100.00"];

/// Puts the files where a server expects them.
fn restore(data: &Path) {
    for folder in [data.to_owned(), data.join("journal"), data.join("snapshot")] {
        fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
    }
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-version-1")).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_str().unwrap();
        let folder = match from.extension().and_then(|extension| extension.to_str()) {
            Some("segment") => data.join("journal"),
            Some("snapshot") => data.join("snapshot"),
            _ => data.to_owned(),
        };
        let to = folder.join(name);
        fs::copy(&from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        if name.ends_with(".segment") {
            fs::File::options().write(true).open(&to).unwrap().set_len(SEGMENT_BYTES).unwrap();
        }
    }
}

fn title(data: &Path) -> String {
    fs::read_to_string(data.join("format")).unwrap().lines().next().unwrap().to_owned()
}

fn audit(data: &Path) -> String {
    let output =
        assert_cmd::Command::cargo_bin("vaultctl").unwrap().arg("audit").arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("all is right"), "{said}");
    said
}

/// The request of an operation.
fn request_of(operation: &OperationRecord) -> Request<'static> {
    let (AccountId(account), cents) = (operation.accounts.0, operation.amount.0);
    match (operation.kind, operation.accounts.1) {
        (Kind::Deposit, _) => deposit(account, cents),
        (Kind::Withdraw, _) => withdraw(account, cents),
        (Kind::Transfer, to) => transfer(account, to.unwrap().0, cents),
    }
}

fn balances_in(response: &Response) -> [Cents; 2] {
    match *response {
        Response::Deposit { balance } | Response::Withdraw { balance } => [balance, Cents::ZERO],
        Response::Transfer { from_balance, to_balance } => [from_balance, to_balance],
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_of_version_1_is_upgraded_with_all_that_is_in_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    restore(&data);
    // Tools that only read take it as it is.
    let said = audit(&data);
    assert!(said.contains("102 (1 to 102)") && said.contains("snapshots  1 agree"), "{said}");
    let before = Kept::read(&data);
    assert_eq!((before.records.len(), title(&data).as_str()), (102, "bank-vault data 1"));
    let others: Vec<_> = ["closed", "principals"].map(|name| fs::read(data.join(name)).unwrap()).into();

    let server = Server::start_on(&data, &ARGS);
    assert_eq!(server.stderr().matches("was of format version 1 and was upgraded").count(), 1, "{}", server.stderr());
    assert_eq!(title(&data), "bank-vault data 2");
    let now: Vec<_> = ["closed", "principals"].map(|name| fs::read(data.join(name)).unwrap()).into();
    assert_eq!(now, others);
    let mut bank = Bank::demo(server.address);
    for account in 0..ACCOUNTS {
        let last = before.records.iter().rev().find_map(|record| {
            let sides = [Some(record.accounts.0), record.accounts.1];
            let side = sides.iter().position(|side| *side == Some(AccountId(account)))?;
            Some(record.balances[side])
        });
        assert_eq!(bank.balance(account), last.unwrap_or(Cents(10_000)), "account {account}");
        // The whole statement, newest first.
        let page = bank.statement(&Request::History { account: AccountId(account), before: Lsn(0), limit: 100 });
        let entries: Vec<_> = page.unwrap().entries.iter().map(|entry| entry.lsn).collect();
        let of_account = |record: &&OperationRecord| {
            [Some(record.accounts.0), record.accounts.1].contains(&Some(AccountId(account)))
        };
        let wanted: Vec<_> = before.records.iter().filter(of_account).map(|record| record.lsn).rev().collect();
        assert_eq!(entries, wanted, "account {account}");
    }
    // Every key is remembered, with its answer.
    for operation in &before.records {
        let again = bank.call_with_key(&request_of(operation), operation.key).unwrap();
        assert_eq!(balances_in(&again), operation.balances, "record {}", operation.lsn);
    }
    bank.call(&deposit(3, 7)).unwrap();
    drop(server.stop());

    let after = Kept::read(&data);
    assert_eq!((&after.records[..102], after.records.len()), (&before.records[..], 103));
    assert!(judge(&after, &[]).is_ok());
    assert!(audit(&data).contains("103 (1 to 103)"));
    let server = Server::start_on(&data, &ARGS);
    assert!(!server.stderr().contains("upgraded"), "once");
    drop(server.stop());
}
