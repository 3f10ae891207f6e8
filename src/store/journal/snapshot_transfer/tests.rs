//! From a source into a sink: what arrives, and what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Flaw;
use super::layout::HEADER_BYTES;
use super::test_support::{books, entry_record, found, stream, take_in};
use super::*;
use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::disk::Disk;
use crate::store::journal::disk::forgetful::Forgetful;
use crate::store::journal::test_support::{ACCOUNTS, PER_SEGMENT, directory_on, place, segment_file, take_snapshot};
use crate::store::journal::{Directory, Record, Writer, record};

/// Sends, takes in, and installs; the receiver then has what the sender has up to `last`.
fn check_arrives(sender: &Forgetful, receiver: &Forgetful, keys_from: u64, last: u64, most: usize) -> Lsn {
    let (first, bytes) = stream(sender, keys_from, last, most).unwrap();
    take_in(receiver, &bytes, last, most).unwrap();
    let directory = directory_on(receiver);
    assert_eq!(incoming_end(&directory).unwrap(), Some(Lsn(last)));
    assert!(finish_install(&directory, Lsn(last)).unwrap());
    // What was installed is durable.
    let receiver = receiver.crash(last);
    assert!(!finish_install(&directory_on(&receiver), Lsn(last)).unwrap(), "there is nothing left of it");
    assert!(receiver.files().iter().all(|file| !file.starts_with("/data/incoming")), "{receiver:?}");
    let mut wanted = found(&books(1, last / 3, &[]), first);
    let arrived = found(&receiver, Lsn(0));
    wanted.records.retain(|record| record.lsn() >= first);
    assert_eq!(arrived, wanted);
    // Writing goes on behind it.
    let mut writer = Writer::resume(&directory_on(&receiver), Lsn(last)).unwrap();
    assert!(writer.wait_until_prepared(Lsn(last + 3), std::time::Duration::from_secs(60)));
    let mut more: Vec<_> = (last + 1..=last + 3).map(|lsn| entry_record(lsn, 1).encode()).collect();
    writer.append(&mut more, Lsn(last)).unwrap();
    writer.sync().unwrap();
    assert_eq!(found(&receiver, Lsn(0)).end, Lsn(last + 3));
    first
}

#[test]
fn what_one_member_has_another_has_afterwards() {
    // The snapshots, the first record with keys that are wanted, the last record; the first record that comes.
    type Cuts<'a> = &'a [(u64, u64)];
    let cases: [(Cuts<'_>, u64, u64, u64); 9] = [
        (&[], 60, 60, 1),
        (&[], 1, 3, 1),
        (&[(22, 2)], 60, 60, 21),
        (&[(22, 2)], 15, 60, 11),
        (&[(22, 2)], 1, 24, 1),
        (&[(10, 0), (50, 1)], 60, 60, 41),
        // A newer one holds what is behind the last record: the one before is taken, or none.
        (&[(10, 0), (50, 5)], 60, 54, 1),
        (&[(20, 0), (50, 0)], 60, 48, 11),
        (&[(29, 2)], 60, 30, 1),
    ];
    for (number, (cuts, keys_from, last, first)) in cases.into_iter().enumerate() {
        for most in [1, 7, 128, 1000, 1 << 20] {
            let (sender, receiver) = (books(1, 20, cuts), books(9, 3, &[(4, 1)]));
            assert_eq!(check_arrives(&sender, &receiver, keys_from, last, most), Lsn(first), "case {number}, {most}");
        }
    }
    // Into books that are empty.
    check_arrives(&books(1, 20, &[(22, 2)]), &Forgetful::default(), 1, 60, 100);
}

#[test]
fn what_was_installed_can_be_sent_on() {
    let (sender, second, third) = (books(1, 20, &[(22, 2)]), books(9, 3, &[]), books(8, 3, &[]));
    assert_eq!(check_arrives(&sender, &second, 60, 60, 1000), Lsn(21));
    // Of keys it has no more than it got.
    assert_eq!(check_arrives(&second, &third, 1, 60, 1000), Lsn(21));
}

#[test]
fn a_snapshot_of_before_accounts_were_added_is_sent_and_the_others_are_as_they_opened() {
    let grow = |disk: &Forgetful| {
        let disk = Arc::new(disk.clone());
        Directory::open_or_create_on(disk, Path::new("/data"), ACCOUNTS + 1, Cents(77), PER_SEGMENT).unwrap()
    };
    let (sender, receiver) = (books(1, 20, &[(22, 2)]), books(9, 3, &[]));
    let source = grow(&sender);
    let mut source = SnapshotSource::open(&source, Lsn(60), Lsn(60)).unwrap().unwrap();
    let bytes = source.bytes();
    let refused = SnapshotSink::create(&directory_on(&receiver), bytes, Lsn(60));
    let mut all = Vec::new();
    while let piece = source.read(1 << 20).unwrap()
        && !piece.is_empty()
    {
        all.extend(piece);
    }
    let refused = refused.unwrap().write(&all).unwrap_err();
    assert_eq!(refused.failure(), SinkFailure::Damaged);
    let accounts = Flaw::Accounts {
        found: ACCOUNTS + 1,
        opening: Cents(1000 * i64::from(ACCOUNTS) + 77),
        accounts: ACCOUNTS,
        total: Cents(1000 * i64::from(ACCOUNTS)),
    };
    assert!(matches!(&refused, SinkError::Damaged { at: 0, flaw, .. } if *flaw == accounts), "{refused}");
    let directory = grow(&receiver);
    let mut sink = SnapshotSink::create(&directory, bytes, Lsn(60)).unwrap();
    sink.write(&all).unwrap();
    sink.finish().unwrap();
    assert!(finish_install(&directory, Lsn(60)).unwrap());
}

#[test]
fn only_what_is_here_is_sent() {
    let sender = books(1, 20, &[(22, 2)]);
    let open = |last| SnapshotSource::open(&directory_on(&sender), Lsn(1), Lsn(last)).unwrap();
    assert!(open(0).is_none());
    assert!(open(63).is_none(), "that is not written");
    assert!(open(24).is_some() && open(21).is_some());
    sender.remove(&segment_file(1)).unwrap();
    assert!(open(21).is_none(), "the snapshot holds record 24, and without it the beginning is needed");
    assert!(open(24).is_some());
    let damaged = Path::new("/data/snapshot/00000000000000000022.snapshot");
    sender.tamper(damaged, |bytes| bytes[100] ^= 1);
    assert!(open(60).is_none(), "a damaged one is none");
    assert!(stream(&Forgetful::default(), 1, 1, 10).is_none(), "an empty journal");
}

#[test]
fn a_source_whose_records_are_removed_or_damaged_ends_with_an_error() {
    let sender = books(1, 200, &[(22, 2)]);
    let mut source = SnapshotSource::open(&directory_on(&sender), Lsn(1), Lsn(600)).unwrap().unwrap();
    assert_eq!(source.first_record(), Lsn(1));
    source.read(1).unwrap();
    // All but the last, as they are removed behind a snapshot. The snapshot that is sent is gone as well.
    for first in (1..=591).step_by(10) {
        sender.remove(&segment_file(first)).unwrap();
    }
    sender.remove(Path::new("/data/snapshot/00000000000000000022.snapshot")).unwrap();
    let mut got = 0;
    let error = loop {
        match source.read(1000) {
            Ok(piece) => got += piece.len(),
            Err(error) => break error,
        }
        assert!(got < 1 << 20);
    };
    assert!(matches!(error, SourceError::Gone { lsn: Lsn(1), .. }), "{error}");
    assert_eq!(got, HEADER_BYTES - 1 + 16 * ACCOUNTS as usize);

    let sender = books(1, 20, &[]);
    let (path, offset) = place(30);
    let mut source = SnapshotSource::open(&directory_on(&sender), Lsn(1), Lsn(60)).unwrap().unwrap();
    sender.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
    source.read(HEADER_BYTES).unwrap();
    let error = source.read(1 << 20).unwrap_err();
    assert!(matches!(error, SourceError::Read(_)) && error.to_string().contains("record 30"), "{error}");
}

/// The receiver's own books are as they were, and nothing is taken for whole.
fn check_refused(receiver: &Forgetful, before: &super::test_support::Found) {
    let directory = directory_on(receiver);
    assert_eq!(incoming_end(&directory).unwrap(), None);
    assert_eq!(found(receiver, Lsn(0)), *before);
    assert!(matches!(finish_install(&directory, Lsn(30)), Err(InstallError::NotWhole { .. }) | Ok(false)));
    discard_incoming(&directory).unwrap();
    assert!(receiver.files().iter().all(|file| !file.starts_with("/data/incoming")), "{receiver:?}");
}

#[test]
fn every_flipped_byte_every_cut_and_every_repetition_is_refused() {
    let sender = books(1, 20, &[(22, 2)]);
    let (_, good) = stream(&sender, 60, 24, 1 << 20).unwrap();
    assert_eq!(good.len(), 84 + 4 * 16 + 4 * 128 + 4);
    let receiver = books(9, 3, &[(4, 1)]);
    let before = found(&receiver, Lsn(0));
    let refused = |stream: &[u8], announced: usize, what: &str| {
        let mut sink = SnapshotSink::create(&directory_on(&receiver), announced as u64, Lsn(24)).unwrap();
        let error = stream.chunks(100).try_for_each(|piece| sink.write(piece)).and_then(|()| sink.finish());
        let error = error.expect_err(what);
        assert_eq!(error.failure(), SinkFailure::Damaged, "{what}: {error}");
        assert!(error.to_string().contains("/data/incoming"), "{error}");
        check_refused(&receiver, &before);
    };
    for byte in 0..good.len() {
        let mut wrong = good.clone();
        wrong[byte] ^= 1 << (byte % 8);
        refused(&wrong, good.len(), &format!("byte {byte}"));
    }
    for length in 0..good.len() {
        refused(&good[..length], good.len(), &format!("{length} bytes"));
        refused(&good[..length], length, &format!("{length} bytes, as announced"));
    }
    let records = 84 + 4 * 16;
    let again = |from: usize, to: usize| [&good[..to], &good[from..to], &good[to..]].concat();
    for (from, to) in
        [(0, 84), (84, 100), (84, records), (records, records + 128), (records, good.len()), (0, good.len())]
    {
        let twice = again(from, to);
        refused(&twice, twice.len(), &format!("{from}..{to} twice"));
        if to < good.len() {
            refused(&twice[..good.len()], good.len(), &format!("{from}..{to} twice, and cut"));
        }
    }
    refused(&again(good.len() - 1, good.len()), good.len(), "one byte more");
    let mut exchanged = good.clone();
    exchanged[records..records + 256].rotate_left(128);
    refused(&exchanged, good.len(), "two records in the wrong order");
    take_in(&receiver, &good, 24, 100).unwrap();
}

/// The stream `good` with other bytes in it, and the checksum that is then right.
fn forged(good: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = good[..good.len() - 4].to_vec();
    change(&mut bytes);
    let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// What a forger does.
type Change<'a> = &'a dyn Fn(&mut [u8]);

#[test]
fn what_cannot_be_is_refused_though_its_checksums_are_right() {
    let (_, good) = stream(&books(1, 20, &[(22, 2)]), 60, 30, 1 << 20).unwrap();
    let receiver = books(9, 3, &[]);
    let before = found(&receiver, Lsn(0));
    let records = 84 + 4 * 16;
    let restamp = |bytes: &mut [u8], number: usize, term, index, ends| {
        let at = records + 128 * number;
        let mut one: [u8; 128] = bytes[at..at + 128].try_into().unwrap();
        record::stamp(&mut one, term, index, ends);
        bytes[at..at + 128].copy_from_slice(&one);
    };
    let word = |at: usize, value: u64| move |bytes: &mut [u8]| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let cases: &[(&str, usize, Change)] = &[
        ("does not begin as a snapshot does", 0, &|bytes| bytes[0] = b'X'),
        ("version 3", 0, &|bytes| bytes[8] = 3),
        ("number of accounts cannot be", 0, &|bytes| bytes[12] = 5),
        ("cut cannot be", 0, &|bytes| bytes[12] = 0),
        ("5 accounts", 0, &|bytes| bytes[16] = 5),
        ("reserved bytes", 0, &|bytes| bytes[20] = 1),
        ("segments of 11 records", 0, &|bytes| bytes[24] = 11),
        ("first record cannot be", 0, &word(32, 31)),
        ("sum of deposits", 0, &word(40, u64::MAX)),
        ("sum of deposits", 0, &word(48, 5000)),
        ("opened with 10.00", 0, &word(56, 1000)),
        ("first record cannot be", 0, &word(64, 22)),
        ("first record cannot be", 0, &word(64, 31)),
        ("first record cannot be", 0, &word(64, 0)),
        ("it should have", 0, &word(64, 11)),
        ("ends with record 33", 0, &word(72, 33)),
        ("account 1 cannot be", 84 + 16, &word(84 + 16, u64::MAX)),
        ("account 2 cannot be", 84 + 32, &word(84 + 40, 31)),
        ("record 23 is in the place of record 22", records + 128, &word(records + 128, 23)),
        ("record 22 cannot be: unknown kind 9", records + 128, &|bytes| bytes[records + 128 + 24] = 9),
        ("record 22 is sealed", records + 128, &|bytes| bytes[records + 128 + 96] = 1),
        ("record 22 is sealed", records + 128, &|bytes| bytes[records + 128 + 124] = 1),
        // Records 21 ends entry 7; 22 to 24 are entry 8, 25 to 27 entry 9, and 28 to 30 entry 10.
        ("record 24 does not continue", records + 3 * 128, &|bytes| restamp(bytes, 3, 2, 9, true)),
        ("record 24 does not continue", records + 3 * 128, &|bytes| restamp(bytes, 3, 3, 8, true)),
        ("record 25 does not continue", records + 4 * 128, &|bytes| restamp(bytes, 3, 2, 8, false)),
        ("record 25 does not continue", records + 4 * 128, &|bytes| restamp(bytes, 4, 2, 8, false)),
        ("record 25 does not continue", records + 4 * 128, &|bytes| restamp(bytes, 4, 1, 9, false)),
        ("record 30 does not continue", records + 9 * 128, &|bytes| restamp(bytes, 9, 2, 10, false)),
        // Only what reads it back knows that there is no such account, or that the sums cannot be.
        ("cannot be read back", 0, &|bytes| bytes[records + 32] = 4),
        ("cannot be read back", 0, &word(40, (i64::MAX - 4000).cast_unsigned())),
    ];
    for (number, (why, at, change)) in cases.iter().enumerate() {
        let wrong = forged(&good, change);
        let error = take_in(&receiver, &wrong, 30, 1000).unwrap_err();
        let place = format!("at byte {at}, ");
        let named = error.to_string().contains(why) && (*at == 0 || error.to_string().contains(&place));
        assert!(named, "case {number}: {error}");
        assert_eq!(error.failure(), SinkFailure::Damaged, "{error}");
        check_refused(&receiver, &before);
    }
    take_in(&receiver, &forged(&good, |_| ()), 30, 1000).unwrap();
}

#[test]
fn after_a_refusal_nothing_more_is_taken_in() {
    let (_, good) = stream(&books(1, 20, &[]), 60, 30, 1 << 20).unwrap();
    let receiver = books(9, 3, &[]);
    let mut sink = SnapshotSink::create(&directory_on(&receiver), good.len() as u64, Lsn(30)).unwrap();
    assert!(sink.write(&good[1..200]).is_err());
    assert!(matches!(sink.write(&good), Err(SinkError::Over)));
    assert!(sink.finish().is_err());
    assert_eq!(incoming_end(&directory_on(&receiver)).unwrap(), None);
}

#[test]
fn too_little_room_is_told_before_and_while_it_is_written() {
    let (_, good) = stream(&books(1, 20, &[(22, 2)]), 60, 60, 1 << 20).unwrap();
    let receiver = books(9, 3, &[]);
    let before = found(&receiver, Lsn(0));
    receiver.set_free_bytes(1000);
    let error = take_in(&receiver, &good, 60, 1000).unwrap_err();
    assert!(matches!(error, SinkError::NoRoom { free: 1000, .. }), "{error}");
    assert_eq!(error.failure(), SinkFailure::NoRoom);
    check_refused(&receiver, &before);
    receiver.set_free_bytes(u64::MAX);
    for (call, errno, failure) in [
        ("write writing.tmp", libc::ENOSPC, SinkFailure::NoRoom),
        ("allocate preparing.tmp", libc::ENOSPC, SinkFailure::NoRoom),
        ("write 00000000000000000041", libc::EDQUOT, SinkFailure::NoRoom),
        ("write writing.tmp", libc::EIO, SinkFailure::Disk),
        ("sync preparing.tmp", libc::EIO, SinkFailure::Disk),
        ("sync 00000000000000000041", libc::EIO, SinkFailure::Disk),
        ("write closed.tmp", libc::EIO, SinkFailure::Disk),
    ] {
        receiver.fail_call(call, 1, errno);
        let error = take_in(&receiver, &good, 60, 1000).expect_err(call);
        assert_eq!(error.failure(), failure, "{call}: {error}");
        check_refused(&receiver, &before);
    }
    take_in(&receiver, &good, 60, 1000).unwrap();
}

#[test]
fn what_an_earlier_transfer_left_is_removed() {
    let (_, good) = stream(&books(1, 20, &[(22, 2)]), 60, 60, 1 << 20).unwrap();
    let (_, other) = stream(&books(2, 11, &[]), 60, 33, 1 << 20).unwrap();
    let receiver = books(9, 3, &[]);
    take_in(&receiver, &good, 60, 1000).unwrap();
    assert_eq!(incoming_end(&directory_on(&receiver)).unwrap(), Some(Lsn(60)));
    let mut sink = SnapshotSink::create(&directory_on(&receiver), other.len() as u64, Lsn(33)).unwrap();
    assert_eq!(incoming_end(&directory_on(&receiver)).unwrap(), None);
    sink.write(&other[..500]).unwrap();
    drop(sink);
    take_in(&receiver, &other, 33, 1000).unwrap();
    let names: Vec<PathBuf> =
        receiver.files().into_iter().filter(|file| file.starts_with("/data/incoming/journal")).collect();
    assert!(names.len() <= 5, "{names:?}");
    finish_install(&directory_on(&receiver), Lsn(33)).unwrap();
    assert_eq!(found(&receiver, Lsn(0)).records, (1..=33).map(|lsn| entry_record(lsn, 2)).collect::<Vec<_>>());
}

#[test]
fn records_of_before_there_was_a_cluster_are_taken_in_as_well() {
    let sender = crate::store::journal::test_support::one_by_one(15);
    let mut writer = Writer::resume(&directory_on(&sender), Lsn(15)).unwrap();
    let mut entry: Vec<_> = (16..=18)
        .map(|lsn| Record { index: 1, term: 1, ends_entry: lsn == 18, ..entry_record(lsn, 1) }.encode())
        .collect();
    writer.append(&mut entry, Lsn(15)).unwrap();
    writer.sync().unwrap();
    take_snapshot(&sender, 12, 1, 18).unwrap();
    let (_, bytes) = stream(&sender, 1, 18, 1000).unwrap();
    let receiver = books(9, 3, &[]);
    take_in(&receiver, &bytes, 18, 1000).unwrap();
    assert!(finish_install(&directory_on(&receiver), Lsn(18)).unwrap());
    assert_eq!(found(&receiver, Lsn(0)), found(&sender, Lsn(0)));
}

#[test]
fn many_accounts_come_in_blocks_on_a_real_disk() {
    use crate::store::journal::snapshot::Header;
    use crate::store::journal::{SnapshotWriter, recover};
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let accounts = 3 * 4096 + 5;
    let [sender, receiver] =
        homes.each_ref().map(|home| Directory::open_or_create(home.path(), accounts, Cents(3), 1 << 12).unwrap());
    let mut writer = Writer::resume(&sender, Lsn(0)).unwrap();
    let mut batch: Vec<_> = (1..=9000).map(|lsn| crate::store::journal::test_support::record(lsn).encode()).collect();
    assert!(writer.wait_until_prepared(Lsn(9000), std::time::Duration::from_secs(60)));
    writer.append(&mut batch, Lsn(0)).unwrap();
    writer.sync().unwrap();
    let header = Header { lsn: Lsn(5000), accounts, deposited: Cents(5000), withdrawn: Cents::ZERO };
    let mut snapshot = SnapshotWriter::begin(&sender, header).unwrap();
    (0..accounts).for_each(|account| snapshot.push(Cents(i64::from(account)), Lsn(5000)).unwrap());
    snapshot.finish(crate::base::vocab::Committed(Lsn(9000))).unwrap();
    let mut source = SnapshotSource::open(&sender, Lsn(9000), Lsn(9000)).unwrap().unwrap();
    let mut sink = SnapshotSink::create(&receiver, source.bytes(), Lsn(9000)).unwrap();
    let mut largest = 0;
    while let piece = source.read(1 << 17).unwrap()
        && !piece.is_empty()
    {
        largest = largest.max(piece.len());
        sink.write(&piece).unwrap();
    }
    assert_eq!(largest, 1 << 16, "no more than a block, or 512 records");
    // It may run beside the loop that took it in.
    std::thread::spawn(move || sink.finish()).join().unwrap().unwrap();
    assert!(finish_install(&receiver, Lsn(9000)).unwrap());
    assert!(!homes[1].path().join("incoming").exists());
    let taken_in = |directory: &Directory| {
        let mut taken = crate::store::journal::test_support::Taken::default();
        let recovered = recover(directory, Lsn(u64::MAX), &mut taken, |_| ()).unwrap();
        (recovered.end, recovered.totals, taken)
    };
    assert_eq!(taken_in(&receiver), taken_in(&sender));
}

#[test]
fn directories_that_are_links_are_refused_before_anything_is_written() {
    for name in ["journal", "snapshot"] {
        let [home, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let directory = Directory::open_or_create(home.path(), ACCOUNTS, Cents(1000), PER_SEGMENT).unwrap();
        drop(SnapshotSink::create(&directory, 1000, Lsn(1)).unwrap());
        let folder = home.path().join(name);
        std::fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink(other.path(), &folder).unwrap();
        let error = SnapshotSink::create(&directory, 1000, Lsn(1)).unwrap_err();
        assert!(matches!(&error, SinkError::Elsewhere { path } if *path == folder), "{error}");
        assert_eq!(error.failure(), SinkFailure::Disk);
        assert!(!home.path().join("incoming").exists(), "and what was there is removed");
    }
}
