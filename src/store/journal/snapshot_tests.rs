//! Snapshots, and recovery that starts from one.

use super::snapshot::{Header, SnapshotError, SnapshotWriter, keep_newest, newest_good};
use super::test_support::{ACCOUNTS, Taken, directory_on, one_by_one, record, recover_on, take_snapshot as take};
use super::*;
use crate::base::limits::MAX_LSN;
use crate::base::vocab::{AccountId, Cents, Committed, Lsn};

fn snapshot_file(lsn: u64) -> std::path::PathBuf {
    format!("/data/snapshot/{lsn:020}.snapshot").into()
}

#[test]
fn recovery_starts_from_the_snapshot_and_takes_the_records_behind_it() {
    let disk = one_by_one(35);
    take(&disk, 22, 2, 35).unwrap();
    let disk = disk.crash(5);
    let (recovered, taken) = recover_on(&disk);
    let recovered = recovered.unwrap();
    assert_eq!((recovered.end, recovered.snapshot, recovered.records), (Lsn(35), Lsn(22), 35), "all are still there");
    assert_eq!(recovered.totals.deposited, Cents(35));
    assert_eq!(taken.accounts, [(0, 1020, 20), (1, 1021, 21), (2, 1022, 22), (3, 1023, 23)]);
    // Without the first segments, and without a wish for what was before.
    let mut writer = recovered.into_writer(0).unwrap();
    assert_eq!(writer.remove_before(Lsn(22), 0).unwrap(), 2);
    drop(writer);
    let mut taken = Taken::default();
    let recovered = recover(&directory_on(&disk), Lsn(u64::MAX), &mut taken, |_| ()).unwrap();
    assert_eq!(recovered.records, 13);
    assert_eq!(taken.records, (23..=35).map(record).collect::<Vec<_>>());
    let mut taken = Taken::default();
    let _ = recover(&directory_on(&disk), Lsn(5), &mut taken, |_| ()).unwrap();
    assert_eq!(taken.records, (21..=35).map(record).collect::<Vec<_>>(), "as far back as there are segments");
}

#[test]
fn a_snapshot_needs_the_segment_of_its_own_record() {
    let disk = one_by_one(35);
    take(&disk, 20, 0, 35).unwrap();
    disk::Disk::remove(&disk, &super::test_support::segment_file(1)).unwrap();
    assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(35));
    disk::Disk::remove(&disk, &super::test_support::segment_file(11)).unwrap();
    let gone = recover_on(&disk).0.unwrap_err();
    assert!(matches!(gone, RecoveryError::BeginningGone { oldest: Lsn(21), wanted: Lsn(11), .. }), "{gone}");
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_snapshot_is_seen_and_the_one_before_is_taken() {
    let disk = one_by_one(9);
    take(&disk, 4, 0, 9).unwrap();
    take(&disk, 8, 0, 9).unwrap();
    let mut good = Vec::new();
    disk.tamper(&snapshot_file(8), |bytes| good.clone_from(bytes));
    assert_eq!(good.len(), 96 + 4 * 16 + 4 + 24);
    let check = |what: String| {
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        assert_eq!((recovered.snapshot, recovered.end), (Lsn(4), Lsn(9)), "{what}");
        assert_eq!(recovered.damaged_snapshots[0].path, snapshot_file(8), "{what}");
        assert_eq!(taken.accounts[0], (0, 1004, 4));
    };
    for bit in 0..good.len() * 8 {
        disk.tamper(&snapshot_file(8), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        check(format!("bit {bit}"));
        disk.tamper(&snapshot_file(8), |bytes| bytes.clone_from(&good));
    }
    for length in 0..good.len() {
        disk.tamper(&snapshot_file(8), |bytes| bytes.truncate(length));
        check(format!("length {length}"));
        disk.tamper(&snapshot_file(8), |bytes| bytes.clone_from(&good));
    }
    assert_eq!(recover_on(&disk).0.unwrap().snapshot, Lsn(8));
}

#[test]
fn a_snapshot_of_right_checksums_that_says_what_cannot_be_is_not_believed() {
    let good = Header { lsn: Lsn(8), accounts: ACCOUNTS, deposited: Cents(8), withdrawn: Cents::ZERO };
    let account = (Cents(1000), Lsn(8));
    let cents = |deposited, withdrawn| Header { deposited: Cents(deposited), withdrawn: Cents(withdrawn), ..good };
    let of = |lsn| Header { lsn: Lsn(lsn), ..good };
    let opening = 1000 * i64::from(ACCOUNTS);
    for (header, (balance, lsn), believed) in [
        (good, account, true),
        (good, (Cents(-1), Lsn(8)), false),
        (good, (Cents(i64::MIN), Lsn(8)), false),
        (good, (Cents(1000), Lsn(MAX_LSN + 1)), false),
        (good, (Cents(1000), Lsn(u64::MAX)), false),
        (cents(-1, 0), account, false),
        (cents(0, -1), account, false),
        (cents(0, opening), account, true),
        (cents(0, opening + 1), account, false),
        (cents(i64::MAX - opening - 1, 0), account, true),
        (cents(i64::MAX - opening + 1, 0), account, false),
        (cents(i64::MAX, i64::MAX), account, false),
        (of(MAX_LSN + 1), account, false),
        (of(u64::MAX), account, false),
    ] {
        let disk = one_by_one(9);
        let mut writer = SnapshotWriter::begin(&directory_on(&disk), header).unwrap();
        (1..ACCOUNTS).for_each(|_| writer.push(account.0, account.1).unwrap());
        writer.push(balance, lsn).unwrap();
        writer.finish(Committed(Lsn(u64::MAX))).unwrap();
        let recovered = recover_on(&disk).0.unwrap();
        let what = format!("{header:?} {balance} {lsn}");
        assert_eq!(recovered.snapshot, if believed { Lsn(8) } else { Lsn(0) }, "{what}");
        // One with a name that is none is not even looked at.
        let named = header.lsn.0 <= MAX_LSN;
        assert_eq!(recovered.damaged_snapshots.len(), usize::from(!believed && named), "{what}");
        assert_eq!(recovered.end, Lsn(9));
    }
}

#[test]
fn a_header_names_a_record_that_there_can_be() {
    let directory = directory_on(&one_by_one(1));
    for (lsn, good) in [(0, true), (MAX_LSN, true), (MAX_LSN + 1, false), (u64::MAX, false)] {
        let header = Header { lsn: Lsn(lsn), accounts: ACCOUNTS, deposited: Cents(8), withdrawn: Cents::ZERO };
        for has_pairs in [false, true] {
            let (bytes, crc) = header.encode(&directory, has_pairs);
            let decoded = Header::decode(&directory, &bytes);
            assert_eq!(decoded.is_ok(), good, "{lsn}: {decoded:?}");
            assert!(decoded.is_err() || decoded == Ok((header, crc, has_pairs)));
        }
    }
}

#[test]
fn a_snapshot_is_finished_only_when_all_that_it_holds_is_committed() {
    let disk = one_by_one(9);
    let header = Header { lsn: Lsn(4), accounts: ACCOUNTS, deposited: Cents(4), withdrawn: Cents::ZERO };
    for (committed, finished) in [(5, false), (6, true)] {
        let mut writer = SnapshotWriter::begin(&directory_on(&disk), header).unwrap();
        assert_eq!((writer.lsn(), writer.newest()), (Lsn(4), Lsn(4)));
        for (lsn, newest) in [(0, 4), (6, 6), (5, 6), (4, 6)] {
            writer.push(Cents(1000), Lsn(lsn)).unwrap();
            assert_eq!(writer.newest(), Lsn(newest));
        }
        let wanted = SnapshotError::NotCommitted { holds: Lsn(6), committed: Lsn(5) };
        match writer.finish(Committed(Lsn(committed))) {
            Ok(()) => assert!(finished),
            Err(error) => assert!(!finished && error.to_string() == wanted.to_string(), "{error}"),
        }
        assert_eq!(disk.files().contains(&snapshot_file(4)), finished);
    }
}

#[test]
fn a_record_with_which_more_was_deposited_than_there_can_be_is_damage() {
    let disk = one_by_one(9);
    let deposited = Cents(i64::MAX - 1000 * i64::from(ACCOUNTS));
    let header = Header { lsn: Lsn(8), accounts: ACCOUNTS, deposited, withdrawn: Cents::ZERO };
    let mut writer = SnapshotWriter::begin(&directory_on(&disk), header).unwrap();
    (0..ACCOUNTS).for_each(|_| writer.push(Cents(1), Lsn(8)).unwrap());
    writer.finish(Committed(Lsn(8))).unwrap();
    let error = recover_on(&disk).0.unwrap_err();
    assert!(matches!(error, RecoveryError::Corrupt { lsn: Lsn(9), damage: recovery::Damage::Totals, .. }), "{error}");
}

#[test]
fn an_unfinished_snapshot_leaves_nothing_and_a_crash_leaves_all_or_nothing() {
    let disk = one_by_one(9);
    let files = disk.files();
    let refused = take(&disk, 8, 3, 10).unwrap_err();
    assert!(matches!(refused, SnapshotError::NotCommitted { holds: Lsn(11), committed: Lsn(10) }), "{refused}");
    assert_eq!(disk.files(), files);
    take(&disk, 4, 0, 9).unwrap();
    // create, write the header, the block, the end mark, sync, rename, sync the directory
    for call in 1..=7 {
        disk.fail_call("", call, libc::EIO);
        assert!(take(&disk, 8, 0, 9).is_err(), "call {call}");
        for seed in 0..20 {
            let recovered = recover_on(&disk.crash(seed)).0.unwrap();
            assert!([Lsn(4), Lsn(8)].contains(&recovered.snapshot), "call {call}");
            assert_eq!((recovered.damaged_snapshots.len(), recovered.end), (0, Lsn(9)), "call {call}");
        }
    }
}

#[test]
fn a_journal_that_lost_what_a_snapshot_holds_is_damaged() {
    let disk = one_by_one(11);
    take(&disk, 10, 1, 11).unwrap();
    let (path, offset) = super::test_support::place(11);
    disk.tamper(&path, |bytes| bytes[offset + 50] ^= 1);
    let error = recover_on(&disk).0.unwrap_err();
    assert!(matches!(error, RecoveryError::Corrupt { lsn: Lsn(11), .. }), "{error}");
    let report = repair(&directory_on(&disk), 5).unwrap();
    assert_eq!(report.end, Lsn(10));
    let recovered = recover_on(&disk).0.unwrap();
    assert_eq!((recovered.end, recovered.snapshot), (Lsn(10), Lsn(0)), "the snapshot went aside with the record");
}

#[test]
fn accounts_that_came_later_open_as_the_directory_says() {
    let disk = one_by_one(9);
    take(&disk, 8, 0, 9).unwrap();
    let disk_again = std::sync::Arc::new(disk.clone());
    let data = std::path::Path::new("/data");
    let grown = Directory::open_or_create_on(disk_again, data, ACCOUNTS + 1, Cents(77), 10).unwrap();
    let mut taken = Taken::default();
    let _ = recover(&grown, Lsn(u64::MAX), &mut taken, |_| ()).unwrap();
    assert_eq!(taken.accounts[4], (4, 77, 0));
    assert_eq!(taken.accounts.len(), 5);
}

#[test]
fn large_snapshots_have_many_blocks() {
    let home = tempfile::tempdir().unwrap();
    let accounts = 3 * 4096 + 5;
    let directory = Directory::open_or_create(home.path(), accounts, Cents(3), 1 << 12).unwrap();
    for lsn in [0, 7, 9] {
        let header = Header { lsn: Lsn(lsn), accounts, deposited: Cents::ZERO, withdrawn: Cents::ZERO };
        let mut writer = SnapshotWriter::begin(&directory, header).unwrap();
        (0..accounts).for_each(|account| writer.push(Cents(i64::from(account)), Lsn(lsn)).unwrap());
        writer.finish(Committed(Lsn(lsn))).unwrap();
    }
    assert_eq!(keep_newest(&directory, 2).unwrap(), Some(Lsn(7)));
    assert_eq!(snapshot::list(&directory).unwrap(), [Lsn(7), Lsn(9)]);
    let newest = newest_good(&directory).unwrap().snapshot.unwrap();
    let mut next = 0;
    let read = newest.accounts(|account, balance, lsn| {
        assert_eq!((account, balance, lsn), (AccountId(next), Cents(i64::from(next)), Lsn(9)));
        next += 1;
    });
    assert!(read.unwrap().is_ok());
    assert_eq!(next, accounts);
}
