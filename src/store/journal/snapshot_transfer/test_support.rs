//! Books of a member, and what is in them.

use std::time::Duration;

use super::{SinkError, SnapshotSink, SnapshotSource};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::disk::forgetful::Forgetful;
use crate::store::journal::test_support::{PER_SEGMENT, directory_on, record, take_snapshot};
use crate::store::journal::{OperationRecord, Record, Replay, RunningTotals, Writer, recover};

/// Record `lsn` of entries of three records each, of term 2; each has a key, and says whose it is.
pub fn entry_record(lsn: u64, owner: u32) -> Record {
    let key = Some([u8::try_from(lsn % 251).unwrap() + 1; 16]);
    let operation = OperationRecord { principal: owner, key, ..record(lsn) };
    Record { term: 2, index: lsn.div_ceil(3), ends_entry: lsn.is_multiple_of(3), ..Record::from(operation) }
}

/// The books of a member that has `entries` entries, and a snapshot of each of `cuts` whose last account is so many records newer.
pub fn books(owner: u32, entries: u64, cuts: &[(u64, u64)]) -> Forgetful {
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    let mut batch: Vec<_> = (1..=3 * entries).map(|lsn| entry_record(lsn, owner).encode()).collect();
    // And the segment that is always ahead, so that it is not being made while a test counts calls.
    assert!(writer.wait_until_prepared(Lsn(3 * entries + PER_SEGMENT), Duration::from_secs(60)));
    writer.append(&mut batch, Lsn(0)).unwrap();
    writer.sync().unwrap();
    writer.close().unwrap();
    for &(cut, ahead) in cuts {
        take_snapshot(&disk, cut, ahead, 3 * entries).unwrap();
    }
    disk
}

/// What a start finds.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub end: Lsn,
    pub totals: RunningTotals,
    /// Each account's balance, and the record that it is of.
    pub balances: Vec<(Cents, Lsn)>,
    /// Key, version and value of the snapshot.
    pub pairs: Vec<(Vec<u8>, Lsn, Vec<u8>)>,
    pub records: Vec<Record>,
}

impl Replay for Found {
    fn snapshot_account(&mut self, _: AccountId, balance: Cents, lsn: Lsn) {
        self.balances.push((balance, lsn));
    }

    fn snapshot_pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) {
        self.pairs.push((key.to_vec(), version, value.to_vec()));
    }

    fn record(&mut self, record: &Record) {
        self.records.push(record.clone());
        let Some(operation) = record.operation() else { return };
        let account = &mut self.balances[operation.accounts.0.0 as usize];
        if operation.lsn > account.1 {
            *account = (operation.balances[0], operation.lsn);
        }
    }
}

/// What a start finds in the books of `disk`, without the records before `from`.
pub fn found(disk: &Forgetful, from: Lsn) -> Found {
    let totals = RunningTotals::new(Cents(0), Cents(0), Cents(0)).unwrap();
    let mut found = Found { end: Lsn(0), totals, balances: Vec::new(), pairs: Vec::new(), records: Vec::new() };
    let recovered = recover(&directory_on(disk), Lsn(0), &mut found, |_| ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((recovered.torn, recovered.damaged_snapshots.len()), (None, 0));
    (found.end, found.totals) = (recovered.end, recovered.totals);
    found.records.retain(|record| record.lsn() >= from);
    found
}

/// The whole stream that a member gives, read in pieces of `most` bytes.
pub fn stream(sender: &Forgetful, keys_from: u64, last: u64, most: usize) -> Option<(Lsn, Vec<u8>)> {
    let mut source = SnapshotSource::open(&directory_on(sender), Lsn(keys_from), Lsn(last)).unwrap()?;
    let mut bytes = Vec::new();
    loop {
        let piece = source.read(most).unwrap();
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= most);
        bytes.extend(piece);
    }
    assert_eq!(bytes.len() as u64, source.bytes());
    Some((source.first_record(), bytes))
}

/// Gives `stream` to a sink in pieces of `most` bytes.
pub fn take_in(receiver: &Forgetful, stream: &[u8], last: u64, most: usize) -> Result<(), SinkError> {
    let mut sink = SnapshotSink::create(&directory_on(receiver), stream.len() as u64, Lsn(last))?;
    stream.chunks(most).try_for_each(|piece| sink.write(piece))?;
    sink.finish()
}
