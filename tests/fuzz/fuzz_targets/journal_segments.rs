//! Recovery of a journal in which bytes were changed: it is refused, or a part of it from the beginning on is believed, but nothing that
//! was not written.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::store::journal::{Directory, Kind, OperationRecord, Record, Replay, Verdict, recover};
use bank_vault_fuzz::MemoryDisk;
use libfuzzer_sys::fuzz_target;

/// Records of the journal; they fill one segment and a part of the next.
const RECORDS: u64 = 50;

fn record(lsn: u64) -> OperationRecord {
    OperationRecord {
        lsn: Lsn(lsn),
        time_ns: 1_700_000_000_000_000_000 + lsn,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 7,
        accounts: (AccountId(0), None),
        amount: Cents(1),
        balances: [Cents(100 + lsn.cast_signed()), Cents(0)],
        previous: [Lsn(lsn - 1), Lsn(0)],
        key: None,
    }
}

/// Takes in what is believed.
#[derive(Default)]
struct Believed(Vec<Record>);

impl Replay for Believed {
    fn snapshot_account(&mut self, _: AccountId, balance: Cents, _: Lsn) {
        assert_eq!(balance, Cents(100));
    }

    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}

    fn record(&mut self, record: &Record) {
        self.0.push(record.clone());
    }
}

fn open(disk: std::sync::Arc<MemoryDisk>) -> Directory {
    Directory::open_or_create_on(disk, Path::new("data"), 3, Cents(100), 32).expect("in memory")
}

/// A journal as it was written.
fn written() -> BTreeMap<PathBuf, Vec<u8>> {
    let disk = MemoryDisk::with([]);
    let directory = open(disk.clone());
    let recovered = recover(&directory, Lsn(0), &mut Believed::default(), |_| ()).expect("in memory");
    let mut writer = recovered.into_writer(0).expect("in memory");
    for lsns in [1..=20, 21..=32, 33..=RECORDS] {
        while !writer.wait_until_prepared(Lsn(*lsns.end()), std::time::Duration::from_secs(1)) {}
        let mut batch: Vec<_> = lsns.map(|lsn| record(lsn).encode()).collect();
        let durable = writer.on_disk().0;
        writer.append(&mut batch, durable).expect("in memory");
        writer.sync().expect("in memory");
    }
    drop(writer);
    disk.files()
}

// Each change is four bytes: which file, where in it (the header's first bytes and the records are what matters), and how.
fuzz_target!(|data: &[u8]| {
    static WRITTEN: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    let mut files = WRITTEN.get_or_init(written).clone();
    let segments: Vec<PathBuf> =
        files.keys().filter(|path| path.extension().is_some_and(|it| it == "segment")).cloned().collect();
    for change in data.chunks_exact(4).take(16) {
        let contents = files.get_mut(&segments[usize::from(change[0] & 15) % segments.len()]).expect("it is there");
        let at = usize::from(u16::from_le_bytes([change[1], change[2]])) % contents.len().max(1);
        match change[0] >> 4 {
            0 => contents.truncate(at),
            1 => contents[at..].fill(0),
            _ if contents.is_empty() => {}
            _ => contents[at] ^= change[3],
        }
    }
    let directory = open(MemoryDisk::with(files));
    let mut believed = Believed::default();
    let Ok(recovered) = recover(&directory, Lsn(0), &mut believed, |_| ()) else { return };
    assert_eq!(recovered.end.0, believed.0.len() as u64);
    for (lsn, seen) in (1..).zip(&believed.0) {
        assert_eq!(*seen, record(lsn).into());
    }
});
