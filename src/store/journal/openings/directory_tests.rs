//! Data directories whose accounts opened with balances of their own.

use std::path::Path;
use std::sync::Arc;

use super::OpeningBalances;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::disk::forgetful::Forgetful;
use crate::store::journal::disk::{Disk, RealDisk};
use crate::store::journal::segment::RECORDS_PER_SEGMENT;
use crate::store::journal::{Directory, DirectoryError, DiscardRecords, recover};

const ACCOUNTS: u32 = 10;

fn listed(balances: &[(u32, i64)]) -> OpeningBalances {
    balances.iter().map(|&(account, cents)| (AccountId(account), Cents(cents))).collect()
}

fn open(data: &Path, accounts: u32, list: &[(u32, i64)]) -> Result<Directory, DirectoryError> {
    Directory::open_or_create_with(data, accounts, Cents(100), &listed(list), RECORDS_PER_SEGMENT)
}

fn balances(directory: &Directory) -> Vec<i64> {
    directory.openings().from(0).map(|(_, cents)| cents.0).collect()
}

#[test]
fn accounts_open_with_their_own_balance_and_keep_it_when_others_are_added() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let wanted = [100, 5, 100, 100, 0, 100, 100, 100, 100, 100];
    assert_eq!(balances(&open(&data, ACCOUNTS, &[(1, 5), (4, 0)]).unwrap()), wanted);
    let format = std::fs::read_to_string(data.join("format")).unwrap();
    let lines: Vec<_> = format.lines().skip(3).collect();
    assert_eq!(lines[0], "accounts 10 opening-cents 100");
    assert!(lines[1].starts_with("openings 2 checksum ") && lines[2].starts_with("crc32 "), "{format}");
    // Without the list, and with it, in whatever words.
    for again in [
        Directory::open(&data),
        Directory::open_or_create(&data, ACCOUNTS, Cents(7), RECORDS_PER_SEGMENT),
        open(&data, ACCOUNTS, &[(1, 5), (4, 0)]),
        open(&data, ACCOUNTS, &[(0, 100), (1, 5), (4, 0), (9, 100)]),
    ] {
        assert_eq!(balances(&again.unwrap()), wanted);
    }
    assert_eq!(std::fs::read_to_string(data.join("format")).unwrap(), format, "nothing new, nothing written");
    let grown = Directory::open_or_create(&data, ACCOUNTS + 2, Cents(7), RECORDS_PER_SEGMENT).unwrap();
    assert_eq!(balances(&grown), wanted.into_iter().chain([7, 7]).collect::<Vec<_>>());
    assert_eq!(balances(&Directory::open(&data).unwrap()), balances(&grown));
    assert_eq!(balances(&open(&data, ACCOUNTS + 2, &[(1, 5), (4, 0)]).unwrap()), balances(&grown));
    // What they hold is found by a recovery, too.
    let recovered = recover(&grown, Lsn(0), &mut DiscardRecords, |_| ()).unwrap();
    assert_eq!(recovered.totals.opening, Cents(8 * 100 + 5 + 14));
}

#[test]
fn other_balances_than_those_of_the_first_start_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    open(&data, ACCOUNTS, &[(1, 5), (4, 0)]).unwrap();
    let before = std::fs::read(data.join("format")).unwrap();
    for (accounts, list, said) in [
        (ACCOUNTS, &[(1, 5), (4, 1)][..], "account 4 opened with 0.00, and would have with 0.01;"),
        (ACCOUNTS, &[(1, 5)], "account 4 opened with 0.00, and would have with 1.00;"),
        (ACCOUNTS, &[(0, 7), (1, 6), (4, 0)], "account 0 opened with 1.00, and would have with 0.07;"),
        (ACCOUNTS + 5, &[(1, 5), (4, 0), (12, 1)], "account 12 was not there;"),
    ] {
        let error = open(&data, accounts, list).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherOpenings { .. }) && error.to_string().contains(said), "{error}");
        assert_eq!(std::fs::read(data.join("format")).unwrap(), before);
    }
    let plain = home.path().join("plain");
    Directory::open_or_create(&plain, ACCOUNTS, Cents(100), RECORDS_PER_SEGMENT).unwrap();
    assert!(matches!(open(&plain, ACCOUNTS, &[(1, 5)]), Err(DirectoryError::OtherOpenings { .. })));
    assert_eq!(balances(&open(&plain, ACCOUNTS, &[(1, 100)]).unwrap()), [100; 10], "it says the same");
    let beyond = home.path().join("beyond");
    assert!(matches!(open(&beyond, ACCOUNTS, &[(ACCOUNTS, 1)]), Err(DirectoryError::Opening { .. })));
    assert!(!beyond.join("format").exists());
}

#[test]
fn a_damaged_file_is_named_whoever_opens_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let list = [(1, 5), (4, 0)];
    open(home.path(), ACCOUNTS, &list).unwrap();
    let path = home.path().join("openings");
    let good = std::fs::read(&path).unwrap();
    let refused = |why: &str| {
        let openings = [
            Directory::open(home.path()),
            open(home.path(), ACCOUNTS, &list),
            Directory::open_or_create(home.path(), ACCOUNTS + 1, Cents(0), RECORDS_PER_SEGMENT),
        ];
        for opened in openings {
            let error = opened.unwrap_err().to_string();
            assert_eq!(error, format!("{} is damaged: {why}; put it back from a copy", path.display()));
        }
    };
    for place in 0..good.len() {
        let mut wrong = good.clone();
        wrong[place] ^= 0x10;
        std::fs::write(&path, wrong).unwrap();
        refused("its checksum is wrong");
    }
    std::fs::remove_file(&path).unwrap();
    refused("it is missing");
    // That of another directory, and an earlier one of the same.
    let other = home.path().join("other");
    open(&other, ACCOUNTS, &list).unwrap();
    std::fs::copy(other.join("openings"), &path).unwrap();
    refused("it belongs to another data directory");
    std::fs::write(&path, &good).unwrap();
    assert!(Directory::open(home.path()).is_ok());
}

#[test]
fn a_first_start_that_is_interrupted_anywhere_has_opened_nothing_or_all() {
    let list = listed(&[(1, 5), (4, 0)]);
    let data = Path::new("/home/data");
    let first = |disk: &Forgetful, list: Option<&OpeningBalances>| {
        Directory::make(Arc::new(disk.clone()), data, ACCOUNTS, Cents(100), list, 8)
    };
    let disk = Forgetful::default();
    first(&disk, Some(&list)).unwrap();
    let calls = disk.take_log();
    let wanted = ["openings", "format"].map(|name| {
        let written = [format!("create {name}.tmp"), format!("write {name}.tmp"), format!("sync {name}.tmp")];
        written.into_iter().chain([format!("rename {name}"), "sync-dir data".to_owned()])
    });
    let wanted: Vec<_> = wanted.into_iter().flatten().chain(["sync-dir home".to_owned()]).collect();
    assert_eq!(calls, wanted, "format names what is durable by then");
    for call in 1..=calls.len() {
        for seed in 0..20 {
            let disk = Forgetful::default();
            disk.fail_call("", call as u64, libc::EIO);
            assert!(first(&disk, Some(&list)).is_err(), "call {call}");
            let disk = disk.crash(seed);
            match Directory::open_on(Arc::new(disk.clone()), data) {
                Ok(directory) => assert_eq!(*directory.openings().listed(), list, "call {call}, seed {seed}"),
                Err(DirectoryError::Disk(none)) => assert!(none.path.ends_with("format"), "{none}"),
                Err(error) => panic!("call {call}, seed {seed}: {error}"),
            }
            // The next start goes on, with the list or, where nothing was begun, without.
            let plain = disk.crash(seed);
            if let Ok(directory) = first(&plain, None)
                && directory.openings().listed().is_empty()
            {
                assert!(!plain.files().iter().any(|path| path.ends_with("openings")), "{plain:?}");
            }
            let again = first(&disk, Some(&list)).unwrap();
            assert_eq!(*again.openings().listed(), list);
            let after = Directory::open_on(Arc::new(disk.crash(seed)), data).unwrap();
            assert_eq!((after.identity(), after.openings()), (again.identity(), again.openings()));
        }
    }
}

#[test]
fn a_format_that_names_more_openings_than_accounts_takes_no_memory_for_them() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), ACCOUNTS, &[(1, 5)]).unwrap();
    let path = home.path().join("format");
    let text = std::fs::read_to_string(&path).unwrap();
    for (line, good) in [
        ("openings 1 checksum", true),
        ("openings 11 checksum", false),
        ("openings 4294967295 checksum", false),
        ("openings +1 checksum", false),
        ("openings 01 checksum", false),
        ("openings 1 crc", false),
    ] {
        let lines = crate::store::journal::text::unseal(&text).unwrap().replace("openings 1 checksum", line);
        std::fs::write(&path, crate::store::journal::text::seal(lines)).unwrap();
        assert_eq!(Directory::open(home.path()).is_ok(), good, "{line}");
    }
    // Both once, and in their order.
    let lines = crate::store::journal::text::unseal(&text).unwrap();
    let (before, openings) = lines.split_once("openings").unwrap();
    let twice = format!("{lines}openings{openings}");
    let (title, accounts) = before.split_once("accounts").unwrap();
    let turned = format!("{title}openings{openings}accounts{accounts}");
    for wrong in [twice, turned] {
        std::fs::write(&path, crate::store::journal::text::seal(wrong.clone())).unwrap();
        assert!(matches!(Directory::open(home.path()), Err(DirectoryError::Damaged { .. })), "{wrong}");
    }
    RealDisk.remove(&path).unwrap();
}
