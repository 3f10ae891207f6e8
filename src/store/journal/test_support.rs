//! What the tests of this room share: a small journal on a forgetful disk, and one who takes it in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::forgetful::Forgetful;
use super::record::{Fingerprint, KvHead, KvKind, KvPiece, KvVerdict, PIECE_BYTES, blocks_of};
use super::segment::HEADER_BYTES;
use super::snapshot::Header;
use super::*;
use crate::base::vocab::{AccountId, Cents, Committed, Condition, Lsn};

pub const PER_SEGMENT: u64 = 10;
pub const ACCOUNTS: u32 = 4;

pub fn directory_on(disk: &Forgetful) -> Directory {
    Directory::open_or_create_on(Arc::new(disk.clone()), Path::new("/data"), ACCOUNTS, Cents(1000), PER_SEGMENT)
        .unwrap()
}

pub fn record(lsn: u64) -> OperationRecord {
    OperationRecord {
        lsn: Lsn(lsn),
        time_ns: 1_700_000_000_000_000_000 + lsn,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 7,
        accounts: (AccountId(u32::try_from(lsn).unwrap() % ACCOUNTS), None),
        amount: Cents(1),
        balances: [Cents(1000 + i64::try_from(lsn).unwrap()), Cents::ZERO],
        previous: [Lsn(lsn.saturating_sub(u64::from(ACCOUNTS))), Lsn(0)],
        key: None,
    }
}

pub fn batch(from: u64, count: u64) -> Vec<RecordBytes> {
    (from..from + count).map(|lsn| record(lsn).encode()).collect()
}

pub fn append(writer: &mut Writer, count: u64) {
    let lsn = writer.last().0 + count;
    assert!(writer.wait_until_prepared(Lsn(lsn), std::time::Duration::from_secs(60)));
    writer.append(&mut batch(writer.last().0 + 1, count), writer.on_disk().0).unwrap();
}

#[derive(Default, Debug, PartialEq, Eq)]
pub struct Taken {
    pub accounts: Vec<(u32, i64, u64)>,
    /// Key, version and value.
    pub pairs: Vec<(Vec<u8>, u64, Vec<u8>)>,
    pub records: Vec<OperationRecord>,
    /// Those that are not of operations.
    pub others: Vec<Record>,
}

impl Replay for Taken {
    fn snapshot_account(&mut self, account: AccountId, balance: Cents, lsn: Lsn) {
        self.accounts.push((account.0, balance.0, lsn.0));
    }

    fn snapshot_pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) {
        assert!(self.records.is_empty() && self.others.is_empty(), "before any record");
        self.pairs.push((key.to_vec(), version.0, value.to_vec()));
    }

    fn record(&mut self, record: &Record) {
        match record.operation() {
            Some(operation) => self.records.push(operation.clone()),
            None => self.others.push(record.clone()),
        }
    }
}

pub fn recover_on(disk: &Forgetful) -> (Result<Recovered, RecoveryError>, Taken) {
    let mut taken = Taken::default();
    let recovered = recover(&directory_on(disk), Lsn(0), &mut taken, |_| ());
    (recovered, taken)
}

/// What was recovered is exactly what was written, up to `end`.
pub fn check_prefix(taken: &Taken, end: Lsn) {
    let wanted: Vec<_> = (1..=end.0).map(record).collect();
    assert_eq!(taken.records, wanted);
}

/// A journal of `count` records, each synced by itself.
pub fn one_by_one(count: u64) -> Forgetful {
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    for _ in 0..count {
        append(&mut writer, 1);
        writer.sync().unwrap();
    }
    // The segment that is always ahead.
    assert!(writer.wait_until_prepared(Lsn(count + PER_SEGMENT), std::time::Duration::from_secs(60)));
    drop(writer);
    disk
}

pub fn segment_file(first: u64) -> PathBuf {
    PathBuf::from(format!("/data/journal/{first:020}.segment"))
}

pub fn place(lsn: u64) -> (PathBuf, usize) {
    let first = lsn - (lsn - 1) % PER_SEGMENT;
    (segment_file(first), HEADER_BYTES + usize::try_from(lsn - first).unwrap() * RECORD_BYTES)
}

/// A snapshot of the test journal after record `lsn`; `ahead`: the last account was read so many records later.
pub fn take_snapshot(disk: &Forgetful, lsn: u64, ahead: u64, committed: u64) -> Result<(), SnapshotError> {
    let writer = SnapshotWriter::begin(&directory_on(disk), snapshot_header(lsn))?;
    push_accounts(writer, lsn, ahead)?.finish(Committed(Lsn(committed)))
}

pub fn snapshot_header(lsn: u64) -> Header {
    let deposited = Cents(i64::try_from(lsn).unwrap());
    Header { lsn: Lsn(lsn), accounts: ACCOUNTS, deposited, withdrawn: Cents::ZERO }
}

/// A key, its version, and its value.
pub type PairOf = (Vec<u8>, u64, Vec<u8>);

/// A snapshot after record `lsn` that has these pairs, and needs the records up to `covers`.
pub fn take_snapshot_of_pairs(disk: &Forgetful, lsn: u64, covers: u64, pairs: &[PairOf]) -> Result<(), SnapshotError> {
    let writer = SnapshotWriter::begin_with_pairs(&directory_on(disk), snapshot_header(lsn))?;
    let mut writer = push_accounts(writer, lsn, 0)?;
    for (key, version, value) in pairs {
        writer.push_pair(key, Lsn(*version), value)?;
    }
    writer.covers(Lsn(covers));
    writer.finish(Committed(Lsn(covers)))
}

/// Some pairs of versions up to `cut`, of all lengths: with them there are three blocks.
pub fn some_pairs(cut: u64) -> Vec<PairOf> {
    let pair = |(number, length): (u64, usize)| {
        let key = vec![u8::try_from(number + 1).unwrap(); 1 + 127 * usize::try_from(number % 3).unwrap()];
        (key, 1 + number % cut, (0..length).map(|at| u8::try_from(at % 253).unwrap()).collect())
    };
    (0..).zip([0, 1, 65_536, 65_536, 300, 0, 7]).map(pair).collect()
}

fn push_accounts(mut writer: SnapshotWriter, lsn: u64, ahead: u64) -> Result<SnapshotWriter, SnapshotError> {
    for account in 0..ACCOUNTS {
        let seen = if account + 1 == ACCOUNTS { lsn + ahead } else { lsn };
        let last = (1..=seen).rev().find(|lsn| lsn % u64::from(ACCOUNTS) == u64::from(account)).unwrap_or(0);
        let balance = if last == 0 { Cents(1000) } else { record(last).balances[0] };
        writer.push(balance, Lsn(last))?;
    }
    Ok(writer)
}

/// The head of a write of `key_bytes` and `value_bytes`, which is the first of a table: done, whatever was there.
pub fn kv_head(lsn: u64, kind: KvKind, key_bytes: usize, value_bytes: usize) -> KvHead {
    let puts = kind == KvKind::Put;
    KvHead {
        lsn: Lsn(lsn),
        time_ns: 1_700_000_000_000_000_000 + lsn,
        kind,
        verdict: KvVerdict::Done,
        principal: 7,
        key_bytes: u8::try_from(key_bytes).unwrap(),
        value_bytes: u32::try_from(value_bytes).unwrap(),
        condition: Condition::Always,
        fingerprint: Fingerprint::default(),
        previous: Lsn(if puts { 0 } else { lsn - 1 }),
        keys: u32::from(puts),
        blocks: if puts { blocks_of(key_bytes, value_bytes) } else { 0 },
        request: None,
    }
}

/// The records of a write: `head`, and pieces of these bytes, which are as many as it says.
pub fn kv_records(head: KvHead, data: &[u8]) -> Vec<Record> {
    assert_eq!(head.data_bytes(), data.len());
    let pieces = (head.lsn.0 + 1..).zip(data.chunks(PIECE_BYTES));
    let pieces = pieces.map(|(lsn, bytes)| Content::KvPiece(KvPiece::of(Lsn(lsn), head.time_ns, bytes)));
    let contents = std::iter::once(Content::KvHead(head)).chain(pieces);
    contents.map(|content| Record { term: 0, index: 0, ends_entry: false, content }).collect()
}

/// The records of a put of so many bytes, which are told from those of other places.
pub fn kv_put(lsn: u64, key_bytes: usize, value_bytes: usize) -> Vec<Record> {
    let data: Vec<_> = (0..key_bytes + value_bytes)
        .map(|at| u8::try_from((usize::try_from(lsn).unwrap() + at) % 251).unwrap())
        .collect();
    kv_records(kv_head(lsn, KvKind::Put, key_bytes, value_bytes), &data)
}
