//! The journal on real files: written, recovered, read, prepared ahead, and quick enough.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::store::journal::disk::RealDisk;
use bank_vault::store::journal::record::seal;
use bank_vault::store::journal::{
    Directory, Kind, OperationRecord, ReadError, Reader, Record, RecordBytes, Recovered, RecoveryError, Replay,
    Verdict, Writer, recover,
};

const ACCOUNTS: u32 = 10;

fn open(home: &Path, records_per_segment: u64) -> Directory {
    let disk = Arc::new(RealDisk);
    Directory::open_or_create_on(disk, home, ACCOUNTS, Cents(100), records_per_segment).unwrap()
}

/// Transfers around a ring of accounts: record n moves a cent from account n to account n + 1.
fn record(lsn: u64) -> OperationRecord {
    let account = |lsn: u64| AccountId(u32::try_from(lsn % u64::from(ACCOUNTS)).unwrap());
    OperationRecord {
        lsn: Lsn(lsn),
        time_ns: 1_700_000_000_000_000_000 + lsn,
        kind: Kind::Transfer,
        verdict: Verdict::Done,
        principal: 1,
        accounts: (account(lsn), Some(account(lsn + 1))),
        amount: Cents(1),
        balances: [Cents(100), Cents(101)],
        // Account n was the second of the record before, account n + 1 the first one a round ago, less one.
        previous: [Lsn(lsn - 1), Lsn(lsn.saturating_sub(u64::from(ACCOUNTS) - 1))],
        key: lsn.is_multiple_of(3).then(|| u128::from(lsn).to_le_bytes()),
    }
}

fn append(writer: &mut Writer, count: u64) {
    let from = writer.last().0 + 1;
    let mut batch: Vec<RecordBytes> = (from..from + count).map(|lsn| record(lsn).encode()).collect();
    assert!(writer.wait_until_prepared(Lsn(from + count - 1), Duration::from_secs(60)));
    let synced = writer.on_disk().0;
    writer.append(&mut batch, synced).unwrap();
}

struct Count {
    next: u64,
    accounts: u32,
}

impl Replay for Count {
    fn snapshot_account(&mut self, account: AccountId, balance: Cents, lsn: Lsn) {
        assert_eq!((account, balance, lsn), (AccountId(self.accounts), Cents(100), Lsn(0)));
        self.accounts += 1;
    }

    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}

    fn record(&mut self, record: &Record) {
        assert_eq!(record.lsn(), Lsn(self.next));
        self.next += 1;
    }
}

fn recover_all(directory: &Directory) -> Result<Recovered, RecoveryError> {
    let mut count = Count { next: 1, accounts: 0 };
    let recovered = recover(directory, Lsn(0), &mut count, |_| ())?;
    assert_eq!((count.next, count.accounts), (recovered.end.0 + 1, ACCOUNTS));
    Ok(recovered)
}

#[test]
fn what_is_written_is_recovered_and_read_across_segments() {
    let home = tempfile::tempdir().unwrap();
    let directory = open(home.path(), 64);
    let mut writer = recover_all(&directory).unwrap().into_writer(0).unwrap();
    for count in [1, 62, 1, 1, 30, 20] {
        append(&mut writer, count);
        assert_eq!(writer.sync().unwrap().0, writer.last());
    }
    drop(writer);
    let directory = Directory::open(home.path()).unwrap();
    let recovered = recover_all(&directory).unwrap();
    assert_eq!((recovered.end, recovered.torn), (Lsn(115), None));
    let mut writer = recovered.into_writer(0).unwrap();
    append(&mut writer, 100);
    writer.sync().unwrap();

    let mut reader = Reader::open(&directory);
    for lsn in 1..=215 {
        assert_eq!(reader.get(Lsn(lsn)).unwrap(), Some(record(lsn).into()), "{lsn}");
    }
    for lsn in [0, 216, 10_000] {
        assert_eq!(reader.get(Lsn(lsn)).unwrap(), None, "{lsn}");
    }
    assert_eq!(reader.oldest().unwrap(), Some(Lsn(1)));
    assert_eq!(writer.remove_before(Lsn(100), 0).unwrap(), 1);
    assert_eq!(Reader::open(&directory).oldest().unwrap(), Some(Lsn(65)));
}

#[test]
fn a_statement_is_a_walk_backwards() {
    let home = tempfile::tempdir().unwrap();
    let directory = open(home.path(), 64);
    let mut writer = recover_all(&directory).unwrap().into_writer(0).unwrap();
    append(&mut writer, 90);
    writer.sync().unwrap();
    let account = AccountId(5);
    let touches = |lsn: &u64| lsn % 10 == 5 || lsn % 10 == 4;
    let walked = |reader: &mut Reader| {
        let mut walk = reader.walk(account, Lsn(85));
        let lsns: Vec<_> = walk.by_ref().map(|record| record.unwrap().lsn.0).collect();
        (lsns, walk.is_cut_off())
    };
    let wanted: Vec<_> = (1..=85).rev().filter(touches).collect();
    assert_eq!(walked(&mut Reader::open(&directory)), (wanted.clone(), false));
    writer.remove_before(Lsn(65), 0).unwrap();
    let left: Vec<_> = wanted.into_iter().filter(|&lsn| lsn > 64).collect();
    assert_eq!(walked(&mut Reader::open(&directory)), (left, true));
    let mut reader = Reader::open(&directory);
    let wrong = reader.walk(account, Lsn(88)).next().unwrap().unwrap_err();
    assert!(matches!(wrong, ReadError::NotOfAccount { lsn: Lsn(88), .. }), "{wrong}");
}

#[test]
fn a_reader_sees_every_flipped_bit() {
    let home = tempfile::tempdir().unwrap();
    let directory = open(home.path(), 8);
    let mut writer = recover_all(&directory).unwrap().into_writer(0).unwrap();
    append(&mut writer, 12);
    writer.sync().unwrap();
    for (lsn, offset) in [(1, 4096), (5, 4096 + 4 * 128), (9, 4096)] {
        let path = directory.segment_path(if lsn < 9 { Lsn(1) } else { Lsn(9) });
        let good = std::fs::read(&path).unwrap();
        for byte in 0..128 {
            let mut wrong = good.clone();
            wrong[offset + byte] ^= 0x10;
            std::fs::write(&path, &wrong).unwrap();
            let damaged = Reader::open(&directory).get(Lsn(lsn)).unwrap_err();
            assert!(matches!(damaged, ReadError::Damaged { offset: at, .. } if at == offset as u64), "{damaged}");
        }
        std::fs::write(&path, &good).unwrap();
    }
}

#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let directory = open(&data, 8);
    drop(Writer::resume(&directory, Lsn(0)).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [&data, &directory.journal(), &directory.snapshots()] {
        assert_eq!(mode(folder), 0o700);
    }
    assert_eq!((mode(&data.join("format")), mode(&directory.segment_path(Lsn(1)))), (0o600, 0o600));
}

/// Not a benchmark: far above what is measured, and far below what a mistake of the quadratic kind would cost.
#[test]
fn sealing_and_recovery_stay_quick() {
    let mut batch: Vec<RecordBytes> = (1..=100_000).map(|lsn| record(lsn).encode()).collect();
    let begun = Instant::now();
    let mut chain = 1;
    for bytes in &mut batch {
        chain = seal(bytes, Lsn(0), chain);
    }
    let sealed = begun.elapsed();
    let home = tempfile::tempdir().unwrap();
    let directory = open(home.path(), 1 << 16);
    let mut writer = recover_all(&directory).unwrap().into_writer(0).unwrap();
    for _ in 0..100 {
        append(&mut writer, 1000);
    }
    writer.sync().unwrap();
    let begun = Instant::now();
    assert_eq!(recover_all(&directory).unwrap().end, Lsn(100_000));
    let recovered = begun.elapsed();
    eprintln!("100,000 records: sealed in {sealed:?}, recovered in {recovered:?}");
    assert!(sealed < Duration::from_secs(2) && recovered < Duration::from_secs(5));
}
