//! Snapshots, with right checksums: balances and sums in them are believed only if they can be.
#![no_main]

use std::path::Path;

use bank_vault::base::vocab::{Cents, Committed, Lsn};
use bank_vault::store::journal::disk::Disk;
use bank_vault::store::journal::{Directory, snapshot};
use bank_vault_fuzz::MemoryDisk;
use libfuzzer_sys::fuzz_target;

const ACCOUNTS: u32 = 3;
const OPENING: i64 = 100;

fuzz_target!(|data: &[u8]| {
    let disk = MemoryDisk::with([]);
    let directory = Directory::open_or_create_on(disk.clone(), Path::new("data"), ACCOUNTS, Cents(OPENING), 32);
    let directory = directory.expect("in memory");
    let mut words = data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    let mut word = || words.next().unwrap_or_default();
    let lsn = Lsn(word() % 1000);
    let header = snapshot::Header {
        lsn,
        accounts: ACCOUNTS,
        deposited: Cents(word().cast_signed()),
        withdrawn: Cents(word().cast_signed()),
    };
    let written = snapshot::SnapshotWriter::begin(&directory, header).and_then(|mut writer| {
        for _ in 0..ACCOUNTS {
            writer.push(Cents(word().cast_signed()), Lsn(word() % 1000))?;
        }
        let newest = writer.newest();
        writer.finish(Committed(newest))
    });
    if written.is_err() {
        return;
    }
    // And the bytes themselves, one of them changed.
    let change = word();
    let names = disk.list(&directory.snapshots()).expect("in memory");
    if let Some(name) = names.first().filter(|_| change != 0) {
        let file = disk.open(&directory.snapshots().join(name)).expect("in memory");
        let at = change % file.size().expect("in memory");
        file.write_at(&[(change >> 32) as u8], at).expect("in memory");
    }
    let Ok(found) = snapshot::newest_good(&directory) else { return };
    if let Some(snapshot) = found.snapshot {
        let mut sum = 0i64;
        let read = snapshot.accounts(|_, balance, _| {
            assert!(balance.0 >= 0, "nobody owes the bank");
            sum = sum.wrapping_add(balance.0);
        });
        read.expect("in memory").expect("it was good");
    }
});
