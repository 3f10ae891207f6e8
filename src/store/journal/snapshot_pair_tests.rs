//! Keys and values in snapshots.

use super::snapshot::{SnapshotError, SnapshotWriter, newest_good};
use super::test_support::{
    PairOf, one_by_one, recover_on, snapshot_header, some_pairs, take_snapshot, take_snapshot_of_pairs as take,
};
use super::test_support::{directory_on, place};
use super::*;
use crate::base::limits::MAX_LSN;
use crate::base::vocab::{Cents, Committed, Lsn};

const FILE: &str = "/data/snapshot/00000000000000000008.snapshot";

fn small_pairs() -> Vec<PairOf> {
    vec![(b"a".to_vec(), 8, b"value".to_vec()), (b"key".to_vec(), 1, Vec::new())]
}

#[test]
fn pairs_come_back_before_any_record() {
    for pairs in [Vec::new(), small_pairs(), some_pairs(8)] {
        let disk = one_by_one(12);
        take(&disk, 8, 10, &pairs).unwrap();
        let (recovered, taken) = recover_on(&disk.crash(1));
        let recovered = recovered.unwrap();
        assert_eq!((recovered.snapshot, recovered.end), (Lsn(8), Lsn(12)));
        assert_eq!(taken.pairs, pairs);
        assert_eq!(taken.accounts.len(), 4);
        let snapshot = newest_good(&directory_on(&disk)).unwrap().snapshot.unwrap();
        assert_eq!((snapshot.newest, snapshot.pair_count()), (Lsn(10), pairs.len() as u64));
        assert!(snapshot.has_pairs());
    }
}

#[test]
fn a_snapshot_without_pairs_is_as_it_was_before_there_were_any() {
    let bytes_of = |take: &dyn Fn(&disk::forgetful::Forgetful)| {
        let disk = one_by_one(12);
        take(&disk);
        let mut bytes = Vec::new();
        disk.tamper(FILE.as_ref(), |file| bytes.clone_from(file));
        bytes
    };
    let without = bytes_of(&|disk| take_snapshot(disk, 8, 2, 12).unwrap());
    assert_eq!((without.len(), without[8]), (96 + 4 * 16 + 4 + 24, 1));
    let with = bytes_of(&|disk| take(disk, 8, 8, &[]).unwrap());
    assert_eq!((with.len(), with[8]), (96 + 4 * 16 + 4 + 32, 2));
    let with = bytes_of(&|disk| take(disk, 8, 8, &small_pairs()).unwrap());
    assert_eq!(with.len(), 96 + 4 * 16 + 4 + 4 + 2 * 13 + 1 + 5 + 3 + 4 + 32);
    // The layout is a promise to files that exist.
    let block = [&[35, 0, 0, 0, 1, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0][..], b"avalue", &[3, 0, 0, 0, 0, 1]].concat();
    let at = 96 + 4 * 16 + 4;
    assert_eq!(with[at..at + block.len()], block);
    let end = &with[with.len() - 32..];
    assert_eq!(end[..28], [&[0; 4][..], b"VLTSNEND", &8_u64.to_le_bytes(), &2_u64.to_le_bytes()].concat());
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen_and_the_one_before_is_taken() {
    let disk = one_by_one(9);
    take_snapshot(&disk, 4, 0, 9).unwrap();
    take(&disk, 8, 9, &small_pairs()).unwrap();
    let mut good = Vec::new();
    disk.tamper(FILE.as_ref(), |bytes| good.clone_from(bytes));
    let check = |what: String| {
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        assert_eq!((recovered.snapshot, recovered.damaged_snapshots.len()), (Lsn(4), 1), "{what}");
        assert!(taken.pairs.is_empty(), "{what}");
    };
    for bit in 0..good.len() * 8 {
        disk.tamper(FILE.as_ref(), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        check(format!("bit {bit}"));
        disk.tamper(FILE.as_ref(), |bytes| bytes.clone_from(&good));
    }
    for length in (0..good.len()).chain([good.len() + 1]) {
        disk.tamper(FILE.as_ref(), |bytes| bytes.resize(length, 0));
        check(format!("length {length}"));
        disk.tamper(FILE.as_ref(), |bytes| bytes.clone_from(&good));
    }
    assert_eq!(recover_on(&disk).0.unwrap().snapshot, Lsn(8));
}

/// Blocks of right checksums: a forger, or a defect of the writer.
#[test]
fn pairs_that_cannot_be_are_not_believed_and_take_no_memory() {
    let crc = |chain: u32, bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(chain);
        hasher.update(bytes);
        hasher.finalize()
    };
    let disk = one_by_one(9);
    let at = 96 + 4 * 16 + 4;
    let good = [&[1, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0][..], b"avalue"].concat();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut block = good.clone();
        change(&mut block);
        block
    };
    let newest_of = |length: u32, payload: &[u8], newest: u64, pairs: u64| {
        take(&disk, 8, 8, &[]).unwrap();
        disk.tamper(FILE.as_ref(), |bytes| {
            bytes.truncate(at);
            let chain = u32::from_le_bytes(bytes[at - 4..].try_into().unwrap());
            let block = [&length.to_le_bytes()[..], payload].concat();
            let chain = crc(chain, &block);
            bytes.extend([&block[..], &chain.to_le_bytes()].concat());
            let end = [&[0; 4][..], b"VLTSNEND", &newest.to_le_bytes(), &pairs.to_le_bytes()].concat();
            bytes.extend([&end[..], &crc(chain, &end).to_le_bytes()].concat());
        });
        let (recovered, taken) = recover_on(&disk);
        (recovered.map(|recovered| recovered.snapshot.0).unwrap_or(u64::MAX), taken.pairs.len())
    };
    let believed = |payload: &[u8]| newest_of(u32::try_from(payload.len()).unwrap(), payload, 8, 1);
    assert_eq!(believed(&good), (8, 1), "the forger can forge");
    assert_eq!(believed(&with(&|block| block[0] = 0)), (0, 0), "a key without bytes");
    assert_eq!(believed(&with(&|block| block[0] = 200)), (0, 0), "a key that is longer than the block");
    assert_eq!(believed(&with(&|block| block[4] = 0xff)), (0, 0), "a value of gigabytes");
    assert_eq!(believed(&with(&|block| block[1] = 4)), (0, 0), "a byte is left");
    assert_eq!(believed(&with(&|block| block[5] = 0)), (0, 0), "no version");
    assert_eq!(believed(&with(&|block| block[5] = 9)), (0, 0), "a version behind the cut");
    let long = [&[1, 1, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0][..], &[7; 65_538]].concat();
    assert_eq!(believed(&long), (0, 0), "a value that is longer than there can be");
    assert_eq!(newest_of(u32::MAX, &good, 8, 1), (0, 0), "a block of gigabytes");
    assert_eq!(newest_of(18, &good[..18], 8, 1), (0, 0));
    let bytes = u32::try_from(good.len()).unwrap();
    assert_eq!(newest_of(bytes, &good, 8, 2), (0, 0), "another number of pairs");
    assert_eq!(newest_of(bytes, &good, 7, 1), (0, 0), "older than its cut");
    assert_eq!(newest_of(bytes, &good, MAX_LSN + 1, 1), (0, 0));
    assert_eq!(newest_of(bytes, &good, 10, 1), (u64::MAX, 1), "the journal does not reach there");
}

#[test]
fn it_is_finished_only_when_the_records_that_it_lacks_are_committed() {
    for (covers, committed, finished) in [(8, 8, true), (11, 10, false), (11, 11, true), (3, 8, true)] {
        let disk = one_by_one(12);
        let mut writer = SnapshotWriter::begin_with_pairs(&directory_on(&disk), snapshot_header(8)).unwrap();
        (0..4).for_each(|account| writer.push(Cents(1000), Lsn(account)).unwrap());
        writer.push_pair(b"key", Lsn(8), b"value").unwrap();
        writer.covers(Lsn(covers));
        assert_eq!(writer.newest(), Lsn(covers.max(8)));
        assert_eq!(writer.finish(Committed(Lsn(committed))).is_ok(), finished);
        assert_eq!(disk.files().contains(&FILE.into()), finished);
    }
}

#[test]
fn what_cannot_be_in_it_is_not_taken() {
    let disk = one_by_one(12);
    let begin = |has_pairs: bool, accounts: u64| {
        let (directory, header) = (directory_on(&disk), snapshot_header(8));
        let writer = if has_pairs {
            SnapshotWriter::begin_with_pairs(&directory, header)
        } else {
            SnapshotWriter::begin(&directory, header)
        };
        let mut writer = writer.unwrap();
        (0..accounts).for_each(|account| writer.push(Cents(1000), Lsn(account)).unwrap());
        writer
    };
    let refused = |has_pairs, key: &[u8], version, value: &[u8]| {
        let error = begin(has_pairs, 4).push_pair(key, Lsn(version), value).unwrap_err();
        assert!(matches!(error, SnapshotError::Pair { .. }), "{error}");
    };
    refused(false, b"key", 8, b"");
    refused(true, b"", 8, b"");
    refused(true, &[0; 256], 8, b"");
    refused(true, b"key", 0, b"");
    refused(true, b"key", 9, b"");
    refused(true, b"key", 8, &[0; 65_537]);
    let early = begin(true, 3).push_pair(b"key", Lsn(8), b"").unwrap_err();
    assert!(matches!(early, SnapshotError::Accounts { announced: 4, pushed: 3 }), "{early}");
}

#[test]
fn a_journal_that_ends_before_what_a_snapshot_needs_is_damaged() {
    let disk = one_by_one(11);
    take(&disk, 8, 11, &small_pairs()).unwrap();
    let (path, offset) = place(11);
    disk.tamper(&path, |bytes| bytes[offset + 50] ^= 1);
    let error = recover_on(&disk).0.unwrap_err();
    assert!(matches!(error, RecoveryError::Corrupt { lsn: Lsn(11), .. }), "{error}");
    assert_eq!(repair(&directory_on(&disk), 5).unwrap().end, Lsn(10));
    assert_eq!(recover_on(&disk).0.unwrap().snapshot, Lsn(0), "it went aside with the record");
}
