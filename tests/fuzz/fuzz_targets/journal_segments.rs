//! Recovery of a journal in which bytes were changed: it is refused, or a part of it from the beginning on is believed, but nothing that
//! was not written.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bank_vault::base::vocab::{AccountId, Cents, Condition, Lsn};
use bank_vault::store::journal::record::{KvHead, KvKind, KvPiece, KvVerdict, PIECE_BYTES, blocks_of};
use bank_vault::store::journal::{Content, Directory, Kind, OperationRecord, Record, Replay, Verdict, recover};
use bank_vault_fuzz::MemoryDisk;
use libfuzzer_sys::fuzz_target;

/// Records of the journal; they fill one segment and a part of the next.
const RECORDS: u64 = 50;

const TIME_NS: u64 = 1_700_000_000_000_000_000;

fn deposit(lsn: u64) -> Record {
    let operation = OperationRecord {
        lsn: Lsn(lsn),
        time_ns: TIME_NS + lsn,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 7,
        accounts: (AccountId(0), None),
        amount: Cents(1),
        balances: [Cents(100 + lsn.cast_signed()), Cents(0)],
        previous: [Lsn(lsn - 1), Lsn(0)],
        key: None,
    };
    operation.into()
}

/// The records of a write to the key `key` from this one on.
fn write(lsn: u64, kind: KvKind, verdict: KvVerdict, value_bytes: u32) -> Vec<Record> {
    let puts = kind == KvKind::Put;
    let head = KvHead {
        lsn: Lsn(lsn),
        time_ns: TIME_NS + lsn,
        kind,
        verdict,
        principal: 7,
        key_bytes: 3,
        value_bytes,
        condition: Condition::Always,
        fingerprint: [9; 16],
        // What goes was there before the refusal.
        previous: Lsn(if puts { 0 } else { lsn - 2 }),
        keys: u32::from(puts),
        blocks: if puts { blocks_of(3, value_bytes as usize) } else { 0 },
        request: Some([u8::try_from(lsn).expect("it is small"); 16]),
    };
    let data: Vec<u8> = b"key".iter().copied().cycle().take(head.data_bytes()).collect();
    let pieces = (lsn + 1..).zip(data.chunks(PIECE_BYTES));
    let pieces = pieces.map(|(lsn, bytes)| Content::KvPiece(KvPiece::of(Lsn(lsn), head.time_ns, bytes)));
    let contents = std::iter::once(Content::KvHead(head)).chain(pieces);
    contents.map(|content| Record { term: 0, index: 0, ends_entry: false, content }).collect()
}

/// What is written: deposits, and writes to the key-value store, of which one has its pieces in both segments.
fn records() -> Vec<Record> {
    let put = |lsn, value_bytes| write(lsn, KvKind::Put, KvVerdict::Done, value_bytes);
    let records = [
        (1..=25).map(deposit).collect(),
        put(26, 797),
        write(37, KvKind::Put, KvVerdict::Full, 5),
        write(38, KvKind::Delete, KvVerdict::Done, 0),
        (40..=46).map(deposit).collect(),
        put(47, 200),
    ]
    .concat();
    assert_eq!(records.len() as u64, RECORDS);
    records
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
    let mut records = records().into_iter();
    for lsns in [1..=20, 21..=32, 33..=RECORDS] {
        while !writer.wait_until_prepared(Lsn(*lsns.end()), std::time::Duration::from_secs(1)) {}
        let mut batch: Vec<_> = records.by_ref().take(lsns.count()).map(|record| record.encode()).collect();
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
    let mut written = records();
    // No part of a write is believed.
    let is_inside = written.get(believed.0.len()).is_some_and(|next| matches!(next.content, Content::KvPiece(_)));
    assert!(!is_inside, "it ends with record {}", recovered.end);
    written.truncate(believed.0.len());
    assert_eq!(believed.0, written);
});
