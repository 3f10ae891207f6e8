//! `vaultctl export`: the balances at one cut, beside a server under load, of a stopped one, and back into another.

use crate::{bank, server};

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::service::bank::wire::{Request, Response};
use serde_json::Value;
use server::{Server, await_that, holds_soon};

/// Exit code, standard output, standard error.
fn told(words: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("vaultctl").unwrap().args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An amount as the file has it, in cents.
fn cents(text: &str) -> i64 {
    let (whole, places) = text.split_once('.').unwrap();
    assert_eq!(places.len(), 2, "{text}");
    whole.parse::<i64>().unwrap() * 100 + places.parse::<i64>().unwrap()
}

/// What an export says: its operation, and the balances of all accounts.
#[derive(Debug, PartialEq)]
struct Exported {
    lsn: u64,
    balances: Vec<i64>,
}

impl Exported {
    fn of(text: &str) -> Exported {
        let (title, lines) = text.split_once('\n').unwrap();
        let said = title.strip_prefix("# bank-vault export, operation ").unwrap_or_else(|| panic!("{title}"));
        let words: Vec<&str> = said.split(", ").collect();
        let [lsn, accounts, total] = words[..] else { panic!("{title}") };
        let pairs = (0..).zip(lines.lines()).map(|(account, line)| {
            let (number, balance) = line.split_once(", ").unwrap();
            assert_eq!(number.parse(), Ok::<u32, _>(account), "{line}");
            cents(balance)
        });
        let balances: Vec<i64> = pairs.collect();
        assert_eq!(accounts, format!("{} accounts", balances.len()));
        assert_eq!(cents(total.strip_prefix("total ").unwrap()), balances.iter().sum::<i64>(), "{title}");
        Exported { lsn: lsn.parse().unwrap(), balances }
    }

    fn from(words: &[&str]) -> Exported {
        let (code, out, err) = told(&[&["export"], words].concat());
        assert!(code == 0 && err.is_empty(), "{code} {err}");
        Exported::of(&out)
    }
}

/// The balances after operation `lsn` by the records alone, from `opening` on; their sum must be as the amounts say.
fn replayed(data: &Path, lsn: u64, opening: &[i64]) -> Vec<i64> {
    let words = ["journal", "dump", "--json", "--data", data.to_str().unwrap(), "--to", &lsn.to_string()];
    let (code, out, err) = told(&words);
    assert_eq!(code, 0, "{err}");
    let mut balances = opening.to_vec();
    let (mut came, mut last) = (0, 0);
    for line in out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        last += 1;
        assert_eq!(record["lsn"], last);
        if record["verdict"] != "done" {
            continue;
        }
        let amount = record["amount_cents"].as_i64().unwrap();
        let account = |side: usize| usize::try_from(record["accounts"][side].as_u64().unwrap()).unwrap();
        match record["kind"].as_str().unwrap() {
            "deposit" => (balances[account(0)] += amount, came += amount),
            "withdraw" => (balances[account(0)] -= amount, came -= amount),
            _ => (balances[account(0)] -= amount, balances[account(1)] += amount),
        };
    }
    assert_eq!(last, lsn);
    assert_eq!(balances.iter().sum::<i64>(), opening.iter().sum::<i64>() + came);
    balances
}

/// Three clients that send `requests`, each by a number of its own, while `look` looks.
fn under_load(server: &Server, requests: fn(u32) -> Request<'static>, look: impl FnOnce()) {
    struct OnDrop<'a>(&'a AtomicBool);
    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3u32 {
            let stop = &stop;
            scope.spawn(move || {
                let mut bank = Bank::demo(server.address);
                let mut number = seed;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..64 {
                        number += 3;
                        bank.send(&requests(number)).unwrap();
                    }
                    (0..64).for_each(|_| assert!(bank.read().is_ok()));
                }
            });
        }
        // Also when an assertion fails: else they would go on for ever.
        let _stop = OnDrop(&stop);
        look();
    });
}

fn await_operations(server: &Server, lsn: u64) {
    await_that("there is something new", || server.stats().table().order().now().lsn.0 >= lsn);
}

#[test]
fn beside_a_server_under_load_it_is_the_journal_up_to_its_operation() {
    let args = ["--workers", "2", "--accounts", "50", "--initial-balance", "10.00", "--snapshot-every", "1500"];
    let server = Server::start(&[&args[..], &["--keep-journal"]].concat());
    let mixed = |n: u32| {
        let (from, to) = (n * 7 % 50, (n * 11 + 1) % 50);
        [deposit(to, 9), withdraw(from, 5), transfer(from, to, 3)][(n / 3) as usize % 3]
    };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("books.txt");
    let mut exports = Vec::new();
    under_load(&server, mixed, || {
        for round in 0..6 {
            let last = exports.last().map_or(0, |export: &Exported| export.lsn);
            await_operations(&server, last + 800);
            let named = ["--instance", &server.instance];
            let by = if round % 2 == 0 {
                named
            } else {
                ["--data", server.data().to_str().unwrap()].map(|word| &*word.to_owned().leak())
            };
            let words = [&by[..], &["--output", file.to_str().unwrap()]].concat();
            let committed_before = server.stats().table().sequencer().committed().0.0;
            let (code, out, err) = told(&[&["export"], &words[..]].concat());
            assert_eq!((code, &*out, &*err), (0, "", ""));
            let export = Exported::of(&fs::read_to_string(&file).unwrap());
            assert!(export.lsn >= committed_before && export.lsn > last, "{} {committed_before} {last}", export.lsn);
            exports.push(export);
        }
    });
    assert!(exports.iter().any(|export| export.lsn > 1500), "snapshots were in use");
    for Exported { lsn, balances } in &exports {
        assert_eq!(*balances, replayed(&server.data(), *lsn, &[1000; 50]), "operation {lsn}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside the file");
    // At rest it is what the server says.
    let export = Exported::from(&["--instance", &server.instance]);
    let mut bank = Bank::demo(server.address);
    assert_eq!(export.balances, (0..50).map(|account| bank.balance(account).0).collect::<Vec<_>>());
    assert!(server.stop().status.success());
}

#[test]
fn it_goes_on_where_the_server_removes_old_segments_meanwhile() {
    let args = ["--workers", "2", "--accounts", "500", "--initial-balance", "10.00", "--snapshot-every", "1000"];
    let server = Server::start(&[&args[..], &["--key-window", "1000"]].concat());
    let segments = || fs::read_dir(server.data().join("journal")).unwrap().count();
    let transfers = |n: u32| transfer(n * 7 % 500, (n * 11 + 1) % 500, 3);
    under_load(&server, transfers, || {
        let mut last = 0;
        while last < 20_000 {
            let export = Exported::from(&["--instance", &server.instance]);
            assert_eq!((export.balances.len(), export.balances.iter().sum::<i64>()), (500, 500_000));
            assert!(export.lsn >= last);
            last = export.lsn;
        }
    });
    // The snapshot after which it is removed may still be under way.
    let first = server.data().join("journal/00000000000000000001.segment");
    assert!(holds_soon(|| !first.exists()), "{} segments", segments());
    assert!(server.stop().status.success());
}

#[test]
fn what_is_exported_opens_another_ledger_whose_export_is_the_same() {
    let server = Server::start(&["--workers", "1", "--accounts", "20", "--initial-balance", "5.00"]);
    let mut bank = Bank::demo(server.address);
    for request in [withdraw(0, 500), deposit(7, 123_456), transfer(3, 4, 1), withdraw(19, 499)] {
        assert!(!matches!(bank.call(&request).unwrap(), Response::Error { .. }));
    }
    let home = tempfile::tempdir().unwrap();
    let [file, again] = ["books.txt", "again.txt"].map(|name| home.path().join(name).to_str().unwrap().to_owned());
    let (code, _, err) = told(&["export", "--instance", &server.instance, "--output", &file]);
    assert_eq!(code, 0, "{err}");
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("# bank-vault export, operation 4, 20 accounts, total 1324.57\n0, 0.00\n1, 5.00\n"),
        "{text}"
    );
    assert!(text.ends_with("\n18, 5.00\n19, 0.01\n"), "{text}");

    let data = home.path().join("data");
    let args = ["--workers", "1", "--accounts", "20", "--initial-balance", "77.00", "--opening-balances", &file];
    let server = Server::start_on(&data, &args);
    let mut bank = Bank::demo(server.address);
    assert_eq!([0, 3, 7, 19].map(|account| bank.balance(account).0), [0, 499, 123_956, 1]);
    assert!(server.stop().status.success());
    // Of a stopped server, by its directory.
    let (code, _, err) = told(&["export", "--data", data.to_str().unwrap(), "--output", &again]);
    assert_eq!(code, 0, "{err}");
    let books = |path: &str| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(books(&file), books(&again));
    let (code, out, _) = told(&["audit", "--data", data.to_str().unwrap()]);
    assert!(code == 0 && out.contains("opening 1324.57 "), "{out}");
}

#[test]
fn a_torn_tail_is_said_and_left_out_and_damage_is_refused_and_the_file_stays() {
    let server = Server::start(&["--workers", "1", "--accounts", "4", "--initial-balance", "5.00"]);
    let mut bank = Bank::demo(server.address);
    (0..3).for_each(|_| assert!(matches!(bank.call(&deposit(1, 100)).unwrap(), Response::Deposit { .. })));
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // As a loss of power would leave it, were the last group not acknowledged: a copy has no mark of an orderly stop.
    fs::create_dir_all(data.join("journal")).unwrap();
    fs::create_dir_all(data.join("snapshot")).unwrap();
    let segment = "journal/00000000000000000001.segment";
    for name in ["format", segment] {
        fs::copy(server.data().join(name), data.join(name)).unwrap();
    }
    assert!(server.stop().status.success());
    let good = fs::read(data.join(segment)).unwrap();
    let damaged = |lsn: usize| {
        let mut bytes = good.clone();
        bytes[4096 + (lsn - 1) * 128 + 40] ^= 1;
        fs::write(data.join(segment), bytes).unwrap();
    };
    let file = home.path().join("books.txt");
    let words = ["export", "--data", data.to_str().unwrap(), "--output", file.to_str().unwrap()];
    damaged(3);
    let (code, out, err) = told(&words);
    assert!(
        code == 0 && out.is_empty() && err.starts_with("vaultctl: warning: ") && err.contains("not exported"),
        "{err}"
    );
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(Exported::of(&text), Exported { lsn: 2, balances: vec![500, 700, 500, 500] });
    damaged(1);
    let (code, out, err) = told(&words);
    assert!(code == 1 && out.is_empty() && err.contains("record 1"), "{code} {err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "the file is as it was");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "the data and the file");
}

#[test]
fn what_cannot_be_exported_or_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(&["--workers", "1", "--accounts", "4", "--durability", "none"]);
    let (code, _, err) = told(&["export", "--instance", &server.instance]);
    assert!(code == 2 && err.contains("has its ledger in memory only"), "{err}");
    assert!(server.stop().status.success());
    let (code, _, err) = told(&["export", "--data", home.path().to_str().unwrap()]);
    assert!(code == 2 && err.contains("format"), "{err}");

    // A new one has no operations, and all that it opened with.
    let server = Server::start(&["--workers", "1", "--accounts", "4", "--initial-balance", "1.00"]);
    assert_eq!(Exported::from(&["--instance", &server.instance]), Exported { lsn: 0, balances: vec![100; 4] });
    let nowhere = home.path().join("none/books.txt");
    let (code, _, err) = told(&["export", "--instance", &server.instance, "--output", nowhere.to_str().unwrap()]);
    assert!(code == 2 && err.contains(&format!("cannot write {}: ", nowhere.display())), "{err}");
    assert!(server.stop().status.success());
}
