//! Keys and values on their way.

use super::error::Flaw;
use super::layout::MAX_HEADER_BYTES;
use super::test_support::{books, found, stream, take_in};
use super::*;
use crate::base::vocab::Lsn;
use crate::store::journal::disk::forgetful::Forgetful;
use crate::store::journal::test_support::{ACCOUNTS, PairOf, directory_on, kv_put, some_pairs, take_snapshot_of_pairs};
use crate::store::journal::{AssemblyError, Record, Writer, record};

/// Where the pairs begin.
const PAIRS: usize = MAX_HEADER_BYTES + 16 * ACCOUNTS as usize;

/// The books of a member with 20 entries of three records, and a snapshot of record 22 with these pairs.
fn books_of(pairs: &[PairOf]) -> Forgetful {
    let disk = books(1, 20, &[]);
    take_snapshot_of_pairs(&disk, 22, 27, pairs).unwrap();
    disk
}

#[test]
fn pairs_arrive_however_the_stream_is_cut_and_can_be_sent_on() {
    for pairs in [Vec::new(), some_pairs(22)] {
        for most in [1000, 4097, 1 << 20] {
            let (sender, receiver) = (books_of(&pairs), books(9, 3, &[]));
            let (first, bytes) = stream(&sender, 60, 60, most).unwrap();
            assert_eq!((first, bytes[8]), (Lsn(21), 2));
            take_in(&receiver, &bytes, 60, most).unwrap();
            assert!(finish_install(&directory_on(&receiver), Lsn(60)).unwrap());
            let (sent, arrived) = (found(&sender, Lsn(21)), found(&receiver.crash(1), Lsn(0)));
            assert_eq!(arrived.pairs.len(), pairs.len());
            assert!(arrived == sent, "{most}");
            let (_, again) = stream(&receiver, 60, 60, most).unwrap();
            assert!(again == bytes, "it is the same that this one sends");
        }
    }
}

#[test]
fn a_snapshot_that_needs_more_than_is_sent_is_not_sent() {
    let sender = books_of(&some_pairs(22));
    // That of record 22 needs the records up to 27.
    let (_, bytes) = stream(&sender, 60, 27, 1 << 20).unwrap();
    assert_eq!(bytes[8], 2);
    let (first, bytes) = stream(&sender, 60, 24, 1 << 20).unwrap();
    assert_eq!((first, bytes[8]), (Lsn(1), 1));
}

/// The stream `good` with other bytes in it, and the checksums that are then right.
fn forged(good: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = good[..good.len() - 4].to_vec();
    change(&mut bytes);
    let end = MAX_HEADER_BYTES - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..MAX_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

#[test]
fn pairs_that_cannot_be_are_refused_though_all_checksums_are_right() {
    let pairs = [(b"a".to_vec(), 22, b"value".to_vec()), (b"key".to_vec(), 1, Vec::new())];
    let (_, good) = stream(&books_of(&pairs), 60, 30, 1 << 20).unwrap();
    // The length, 19 bytes, 16 bytes, the length 0.
    assert_eq!(good[80..88], 43_u64.to_le_bytes());
    let block = PAIRS + 4;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: &[(&str, usize, Change<'_>)] = &[
        ("number of bytes of keys and values cannot be", 0, &|bytes| bytes[80] = 3),
        ("it should have", 0, &|bytes| bytes[80] = 44),
        ("it should have", 0, &|bytes| bytes[80..88].fill(0xff)),
        ("43 bytes of keys and values cannot come next", PAIRS, &|bytes| bytes[PAIRS + 3] = 0x80),
        ("43 bytes of keys and values cannot come next", PAIRS, &|bytes| bytes[PAIRS] = 40),
        ("43 bytes of keys and values cannot come next", PAIRS, &|bytes| bytes[PAIRS] = 39),
        ("43 bytes of keys and values cannot come next", PAIRS, &|bytes| bytes[PAIRS] = 0),
        ("4 bytes of keys and values cannot come next", block + 35, &|bytes| bytes[block + 35] = 1),
        ("what it says of a key cannot be", PAIRS, &|bytes| bytes[block] = 0),
        ("what it says of a key cannot be", PAIRS, &|bytes| bytes[block] = 255),
        ("what it says of a key cannot be", PAIRS, &|bytes| bytes[block + 4] = 255),
        ("what it says of a key cannot be", PAIRS, &|bytes| bytes[block + 5] = 23),
        ("what it says of a key cannot be", PAIRS, &|bytes| bytes[block + 5] = 0),
    ];
    let receiver = books(9, 3, &[]);
    let before = found(&receiver, Lsn(0));
    for (number, (what, at, change)) in cases.iter().enumerate() {
        let bytes = forged(&good, *change);
        let refused = take_in(&receiver, &bytes, 30, 100).unwrap_err();
        assert_eq!(refused.failure(), SinkFailure::Damaged);
        let told = refused.to_string();
        assert!(told.contains(what) && told.contains(&format!("at byte {at}, ")), "case {number}: {told}");
        assert!(found(&receiver, Lsn(0)) == before);
    }
    take_in(&receiver, &forged(&good, |_| ()), 30, 100).unwrap();
}

#[test]
fn records_that_are_no_write_are_refused_at_their_place() {
    // A term, a write of four records, a term.
    let one = |mut record: Record, index, ends_entry| {
        (record.term, record.index, record.ends_entry) = (2, index, ends_entry);
        record
    };
    let term = |lsn| Record { term: 0, index: 0, ends_entry: false, content: record_content(lsn) };
    let mut records = vec![one(term(1), 1, true)];
    records.extend(kv_put(2, 3, 200).into_iter().map(|record| {
        let ends = record.lsn() == Lsn(5);
        one(record, 2, ends)
    }));
    records.push(one(term(6), 3, true));
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    assert!(writer.wait_until_prepared(Lsn(6), std::time::Duration::from_secs(60)));
    writer.append(&mut records.iter().map(Record::encode).collect::<Vec<_>>(), Lsn(0)).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let (_, good) = stream(&disk, 1, 6, 1 << 20).unwrap();
    let receiver = books(9, 3, &[]);
    take_in(&receiver, &good, 6, 100).unwrap();
    let at = |lsn: usize| 84 + 128 * (lsn - 1);
    // The third record of the write is a byte shorter, which its kind allows.
    let mut shorter = good[..good.len() - 4].to_vec();
    shorter[at(4) + 25] = 79;
    shorter[at(4) + 123] = 0;
    shorter.extend(crc32fast::hash(&shorter).to_le_bytes());
    let refused = take_in(&receiver, &shorter, 6, 100).unwrap_err();
    let wanted = Flaw::Write { lsn: Lsn(4), why: AssemblyError::Length(Lsn(4)) };
    assert!(
        matches!(&refused, SinkError::Damaged { flaw, at: place, .. } if *flaw == wanted && *place == at(4) as u64),
        "{refused}"
    );
    // Its entry ends before it does.
    let mut ended = good[..good.len() - 4].to_vec();
    let mut third: record::RecordBytes = ended[at(4)..at(5)].try_into().unwrap();
    record::stamp(&mut third, 2, 2, true);
    ended[at(4)..at(5)].copy_from_slice(&third);
    ended.extend(crc32fast::hash(&ended).to_le_bytes());
    let refused = take_in(&receiver, &ended, 6, 100).unwrap_err();
    assert!(refused.to_string().contains("not in one entry"), "{refused}");
}

fn record_content(lsn: u64) -> crate::store::journal::Content {
    crate::store::journal::Content::Term(record::TermRecord { lsn: Lsn(lsn), time_ns: 0 })
}
