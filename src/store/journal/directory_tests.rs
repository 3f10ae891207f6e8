use super::super::disk::forgetful::Forgetful;
use super::super::segment::RECORDS_PER_SEGMENT;
use super::*;
use crate::base::vocab::AccountId;

fn open(data: &Path, accounts: u32, opening: i64) -> Result<Directory, DirectoryError> {
    Directory::open_or_create(data, accounts, Cents(opening), RECORDS_PER_SEGMENT)
}

#[test]
fn accounts_are_added_and_keep_what_they_opened_with() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("deep/data");
    let identity = *open(&data, 10, 500).unwrap().identity();
    assert_eq!(open(&data, 10, 77).unwrap().openings().total(), Cents(5000), "the same number changes nothing");
    let grown = open(&data, 12, 100).unwrap();
    assert_eq!(*grown.identity(), identity);
    let openings = Directory::open(&data).unwrap().openings().clone();
    assert_eq!(openings, *grown.openings());
    let of: Vec<_> = (8..13).map(|account| openings.of(AccountId(account))).collect();
    assert_eq!(of, [Some(Cents(500)), Some(Cents(500)), Some(Cents(100)), Some(Cents(100)), None]);
    assert_eq!((openings.accounts(), openings.total(), openings.total_of(11)), (12, Cents(5200), Cents(5100)));
}

#[test]
fn a_new_directory_is_durable_with_its_own_name_and_one_that_is_there_is_not_written() {
    let disk = Forgetful::default();
    let open = |accounts| {
        Directory::open_or_create_on(Arc::new(disk.clone()), Path::new("/home/data"), accounts, Cents(1), 8).unwrap();
        disk.take_log()
    };
    let calls =
        ["create format.tmp", "write format.tmp", "sync format.tmp", "rename format", "sync-dir data", "sync-dir home"];
    let written = calls.map(str::to_owned).to_vec();
    assert_eq!((open(3), open(3), open(4)), (written.clone(), vec![], written));
}

/// What version 1 would have written.
fn as_version_1(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text::seal(text::unseal(&text).unwrap().replace("data 2", "data 1")).into_bytes()
}

#[test]
fn a_directory_of_version_1_is_upgraded_once_by_a_start_and_read_by_tools_as_it_is() {
    let disk = Forgetful::default();
    let (data, path) = (Path::new("/home/data"), Path::new("/home/data/format"));
    let open = |disk: &Forgetful| Directory::open_or_create_on(Arc::new(disk.clone()), data, 3, Cents(1), 8);
    let made = open(&disk).unwrap();
    disk.tamper(path, |bytes| *bytes = as_version_1(bytes));
    disk.take_log();
    let read = Directory::open_on(Arc::new(disk.clone()), data).unwrap();
    assert_eq!((read.identity(), read.openings(), disk.take_log().len()), (made.identity(), made.openings(), 0));
    // Whenever the power fails: of one version or the other, whole.
    let mut found = [0, 0];
    for (seed, call) in (0..60).zip((1..=6).cycle()) {
        let disk = disk.crash(seed);
        disk.fail_call("", call, libc::EIO);
        let whole = open(&disk).is_ok();
        let after = disk.crash(seed);
        let upgraded_from = open(&after).unwrap().upgraded_from();
        assert!(!whole || upgraded_from.is_none());
        found[usize::from(upgraded_from.is_none())] += 1;
    }
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");
    assert_eq!(open(&disk).unwrap().upgraded_from(), Some(1));
    assert_eq!(disk.take_log()[3], "rename format");
    let upgraded = open(&disk).unwrap();
    assert_eq!((upgraded.upgraded_from(), upgraded.identity(), disk.take_log().len()), (None, made.identity(), 0));
}

#[test]
fn a_start_that_is_refused_upgrades_nothing() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), 10, 0).unwrap();
    let path = home.path().join("format");
    let version_1 = as_version_1(&std::fs::read(&path).unwrap());
    std::fs::write(&path, &version_1).unwrap();
    assert!(matches!(open(home.path(), 9, 0), Err(DirectoryError::FewerAccounts { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), version_1);
}

#[test]
fn fewer_accounts_are_refused_with_both_numbers() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), 10, 0).unwrap();
    let text = open(home.path(), 9, 0).unwrap_err().to_string();
    assert!(text.contains("10 accounts") && text.contains('9'), "{text}");
}

#[test]
fn openings_that_cannot_be_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (accounts, opening) in [(0, 0), (1, -1), (2, i64::MAX / 2 + 1), (MAX_ACCOUNTS + 1, 0)] {
        let refused = open(home.path(), accounts, opening);
        assert!(matches!(refused, Err(DirectoryError::Opening { .. })), "{accounts} × {opening}: {refused:?}");
    }
    open(home.path(), 2, i64::MAX / 2).unwrap();
}

#[test]
fn every_damaged_byte_of_the_format_is_seen() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), 10, 500).unwrap();
    let path = home.path().join("format");
    let text = std::fs::read(&path).unwrap();
    for place in 0..text.len() {
        let mut wrong = text.clone();
        wrong[place] ^= 1;
        std::fs::write(&path, &wrong).unwrap();
        assert!(open(home.path(), 10, 500).is_err(), "byte {place} of {:?}", String::from_utf8_lossy(&wrong));
        std::fs::write(&path, &text[..place]).unwrap();
        assert!(open(home.path(), 10, 500).is_err(), "cut at {place}");
    }
    std::fs::write(&path, String::from_utf8(text).unwrap().replace("data 2", "data 3")).unwrap();
    assert!(matches!(open(home.path(), 10, 500), Err(DirectoryError::Version { found, .. }) if found == "3"));
}

#[test]
fn a_format_of_right_checksum_that_says_what_cannot_be_is_damaged() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), 10, 500).unwrap();
    let path = home.path().join("format");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text::unseal(&text).unwrap();
    let (most, per) = (MAX_RECORDS_PER_SEGMENT, format!("records-per-segment {RECORDS_PER_SEGMENT}"));
    let accounts = "accounts 10 opening-cents 500";
    for (from, to, good) in [
        (&*per, format!("records-per-segment {most}"), true),
        (&per, format!("records-per-segment {}", most + 1), false),
        (&per, format!("records-per-segment {}", u64::MAX), false),
        (&per, format!("records-per-segment {}0", u64::MAX), false),
        (&per, "records-per-segment 0".to_owned(), false),
        (&per, "records-per-segment -1".to_owned(), false),
        (&per, format!("records-per-segment +{RECORDS_PER_SEGMENT}"), false),
        (accounts, format!("accounts {MAX_ACCOUNTS} opening-cents 1"), true),
        (accounts, format!("accounts {} opening-cents 1", MAX_ACCOUNTS + 1), false),
        (accounts, "accounts 0 opening-cents 500".to_owned(), false),
        (accounts, "accounts 10 opening-cents -1".to_owned(), false),
        (accounts, format!("accounts 10 opening-cents {}", i64::MAX / 10), true),
        (accounts, format!("accounts 10 opening-cents {}", i64::MAX / 10 + 1), false),
        (accounts, format!("{accounts}\naccounts 10 opening-cents 1"), false),
        (accounts, format!("{accounts}\naccounts 11 opening-cents {}", i64::MAX), false),
        (accounts, format!("{accounts}\n"), false),
    ] {
        std::fs::write(&path, text::seal(lines.replace(from, &to))).unwrap();
        let opened = Directory::open(home.path());
        assert_eq!(opened.is_ok(), good, "{to}: {opened:?}");
    }
}

#[test]
fn a_journal_without_its_format_is_not_taken_for_a_new_one() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), 10, 500).unwrap();
    std::fs::remove_file(home.path().join("format")).unwrap();
    std::fs::write(home.path().join("journal/00000000000000000001.segment"), b"x").unwrap();
    assert!(matches!(open(home.path(), 10, 500), Err(DirectoryError::Missing { .. })));
}
