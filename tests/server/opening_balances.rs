//! Books from elsewhere: accounts that open with the balances of a file.

use crate::{bank, refusal, server};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bank::{Bank, deposit, opening, transfer};
use bank_vault::ipc::names;
use bank_vault::service::bank::wire::Response;
use refusal::refused_on;
use server::{Server, await_that, master, unused_name};
use tempfile::TempDir;

const MASTER: &str = env!("CARGO_BIN_EXE_master");

/// A folder with an account file, and a place for the data.
struct Home {
    folder: TempDir,
    file: PathBuf,
    data: PathBuf,
}

impl Home {
    fn with(text: impl AsRef<[u8]>) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("books.txt"), folder.path().join("data"));
        fs::write(&file, text).unwrap();
        Home { folder, file, data }
    }

    fn args<'h>(&'h self, more: &[&'h str]) -> Vec<&'h str> {
        [&["--opening-balances", self.file.to_str().unwrap(), "--workers", "1"], more].concat()
    }

    fn start(&self, more: &[&str]) -> Server {
        Server::start_on(&self.data, &self.args(more))
    }
}

fn vaultctl(words: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

fn balances(server: &Server, accounts: u32) -> Vec<i64> {
    let mut bank = Bank::demo(server.address);
    (0..accounts).map(|account| bank.balance(account).0).collect()
}

fn stop(server: Server) {
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn accounts_open_with_what_the_file_says_and_a_later_start_may_say_the_same() {
    let home = Home::with("# the old books\n3, 12.50\n\n  1 ,7  # Ada\n4, 0.00\n");
    let args = ["--accounts", "6", "--initial-balance", "1.00"];
    let mut server = home.start(&args);
    assert_eq!(balances(&server, 6), [100, 700, 100, 1250, 0, 100]);
    let mut bank = Bank::demo(server.address);
    assert_eq!(opening(&bank.totals()), 100 + 700 + 100 + 1250 + 100);
    assert!(matches!(bank.call(&transfer(3, 4, 250)).unwrap(), Response::Transfer { .. }));
    let now = [100, 700, 100, 1000, 250, 100];
    // It is as safe as all else.
    server.kill_all_and_start_again();
    assert_eq!(balances(&server, 6), now);
    stop(server);
    for (text, more) in [
        ("1, 7\n3, 12.5\n4, 0", &args[..]),
        ("0, 1.00\n1, 7\n2, 1.00\n3, 12.5\n4, 0\n5, 1.00", &["--accounts", "6", "--initial-balance", "9.00"]),
    ] {
        fs::write(&home.file, text).unwrap();
        let server = home.start(more);
        assert_eq!(balances(&server, 6), now);
        stop(server);
    }
    // And so may one with more accounts, or one that says nothing; then the file may be gone.
    let server = home.start(&["--accounts", "7", "--initial-balance", "9.00"]);
    assert_eq!(balances(&server, 7), [100, 700, 100, 1000, 250, 100, 900]);
    stop(server);
    fs::remove_file(&home.file).unwrap();
    let server = Server::start_on(&home.data, &["--accounts", "7"]);
    assert_eq!(opening(&Bank::demo(server.address).totals()), 2250 + 900);
    stop(server);
    let (code, said) = vaultctl(&["audit", "--data", home.data.to_str().unwrap()]);
    assert!(code == 0 && said.contains("money      opening 31.50 "), "{said}");
}

#[test]
fn a_later_start_with_other_balances_is_refused_in_one_line_and_changes_nothing() {
    let home = Home::with("1, 7.00\n3, 12.50\n");
    stop(home.start(&["--accounts", "6"]));
    let before = ["format", "openings"].map(|name| fs::read(home.data.join(name)).unwrap());
    for (text, said) in [
        ("1, 7.00\n3, 12.51\n", "account 3 opened with 12.50, and would have with 12.51;"),
        ("1, 7.00\n", "account 3 opened with 12.50, and would have with 0.00;"),
        ("1, 7.00\n3, 12.50\n0, 0.01", "account 0 opened with 0.00, and would have with 0.01;"),
        ("", "account 1 opened with 7.00, and would have with 0.00;"),
    ] {
        fs::write(&home.file, text).unwrap();
        let line = refused_on(Path::new(MASTER), &home.data, &home.args(&["--accounts", "6", "--http-port", "0"]));
        assert!(line.contains(said) && line.contains("leave the option out"), "{line}");
    }
    // Not even that an account is added.
    fs::write(&home.file, "1, 7.00\n3, 12.50\n6, 1.00").unwrap();
    let args = home.args(&["--accounts", "7", "--http-port", "0"]);
    let refused = master(&unused_name(), &home.data, &args).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("line 3: there is no account 6: there are 6"), "{said}");
    assert_eq!(["format", "openings"].map(|name| fs::read(home.data.join(name)).unwrap()), before);
    stop(Server::start_on(&home.data, &["--accounts", "6"]));

    let plain = Home::with("1, 7.00\n");
    stop(Server::start_on(&plain.data, &["--accounts", "6"]));
    let line = refused_on(Path::new(MASTER), &plain.data, &plain.args(&["--accounts", "6", "--http-port", "0"]));
    assert!(line.contains("account 1 opened with 0.00, and would have with 7.00"), "{line}");
}

#[test]
fn every_bad_line_is_named_and_nothing_is_begun() {
    let home = Home::with(
        "# books\n1, 5.00\n2; 5.00\nthree, 5.00\n4, five\n5, -5.00\n1, 6.00\n10, 1.00\n9, 9223372036854775.81\n",
    );
    for durability in ["sync", "async", "none"] {
        let name = unused_name();
        let args = home.args(&["--accounts", "10", "--durability", durability]);
        let refused = master(&name, &home.data, &args).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{said}");
        let file = home.file.display();
        let named = [
            (3, "`2; 5.00` is not of the form `account, balance`, such as `17, 1200.50`"),
            (4, "`three` is not the number of an account"),
            (5, "`five` is not an amount of money: write it like 12, 12.3 or 12.34"),
            (6, "`-5.00` is below zero"),
            (7, "account 1 is listed already, in line 2"),
            (8, "there is no account 10: there are 10, numbered from 0"),
            (9, "`9223372036854775.81` is more than an account can hold where there are 10: 9223372036854775.80"),
        ];
        let end = format!("master: 7 lines of the account file {file} cannot be used, so nothing was begun");
        let lines: Vec<_> =
            named.map(|(line, why)| format!("master: {file}, line {line}: {why}")).into_iter().chain([end]).collect();
        assert_eq!(said.lines().collect::<Vec<_>>(), lines);
        assert!(!home.data.exists(), "no directory, and no segment");
        assert_eq!(names::objects_of(&name).unwrap(), vec![]);
    }
    // Each of ten accounts with the most is all that there can be.
    fs::write(&home.file, (0..10).map(|n| format!("{n}, 9223372036854775.80\n")).collect::<String>()).unwrap();
    let server = home.start(&["--accounts", "10"]);
    assert_eq!(opening(&Bank::demo(server.address).totals()), i64::MAX - 7);
    stop(server);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_is_begun() {
    let home = Home::with("");
    for path in [home.folder.path().to_owned(), home.folder.path().join("none")] {
        let args = ["--opening-balances", path.to_str().unwrap(), "--http-port", "0"];
        let line = refused_on(Path::new(MASTER), &home.data, &args);
        assert!(line.contains(&format!("cannot read the account file {}: ", path.display())), "{line}");
    }
}

#[test]
fn books_in_memory_open_so_as_well_and_a_settings_file_may_name_the_file() {
    let home = Home::with("3, 12.50\n1, 7\n");
    let settings = home.folder.path().join("vault.toml");
    fs::write(&settings, format!("opening-balances = {:?}\ninitial-balance = \"1.00\"\naccounts = 5\n", home.file))
        .unwrap();
    for durability in ["none", "sync"] {
        let args = ["--config", settings.to_str().unwrap(), "--workers", "1", "--durability", durability];
        let server = Server::start_on(&home.data, &args);
        assert_eq!(balances(&server, 5), [100, 700, 100, 1250, 100]);
        let mut bank = Bank::demo(server.address);
        assert!(matches!(bank.call(&transfer(3, 4, 1250)).unwrap(), Response::Transfer { .. }));
        assert!(matches!(bank.call(&deposit(3, 1)).unwrap(), Response::Deposit { .. }));
        let totals = bank.totals();
        assert_eq!((opening(&totals), totals.sum.0), (2250, 2251));
        stop(server);
    }
}

#[test]
fn an_upgrade_goes_on_although_the_file_is_gone() {
    for durability in ["sync", "none"] {
        let home = Home::with("3, 12.50\n1, 7\n");
        let server = home.start(&["--accounts", "5", "--durability", durability]);
        fs::remove_file(&home.file).unwrap();
        let (code, said) = vaultctl(&["upgrade", "--instance", &server.instance]);
        assert!(code == 0 && said.contains("upgraded"), "{said} {}", server.stderr());
        await_that("it is done", || server.stderr().contains("upgrade: done"));
        assert_eq!(balances(&server, 5), [0, 700, 0, 1250, 0]);
        stop(server);
    }
}

#[test]
fn a_flipped_byte_of_the_kept_openings_is_found_by_whoever_reads_them() {
    let home = Home::with("3, 12.50\n1, 7\n");
    let args = ["--accounts", "5", "--http-port", "0"];
    let server = home.start(&args);
    assert!(matches!(Bank::demo(server.address).call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    stop(server);
    let path = home.data.join("openings");
    let good = fs::read(&path).unwrap();
    let data = home.data.to_str().unwrap();
    for place in [0, 9, 13, 20, 33, 38, good.len() - 1] {
        let mut wrong = good.clone();
        wrong[place] ^= 4;
        fs::write(&path, wrong).unwrap();
        let named = format!("{} is damaged: its checksum is wrong; put it back from a copy", path.display());
        for args in [home.args(&args), args.to_vec()] {
            let line = refused_on(Path::new(MASTER), &home.data, &args);
            assert!(line.contains(&named), "{line}");
        }
        for words in [&["audit"][..], &["export"], &["journal", "dump"], &["repair", "--yes"]] {
            let (code, said) = vaultctl(&[words, &["--data", data]].concat());
            assert!(code == 2 && said.contains(&named), "{words:?}: {code} {said}");
        }
    }
    fs::write(&path, good).unwrap();
    let (code, said) = vaultctl(&["audit", "--data", data]);
    assert!(code == 0 && said.contains("opening 19.50 + deposited 0.01"), "{said}");
}
