//! Writes to the key-value store, which have several records, on a disk that forgets: at every end a journal has whole writes only.

use super::disk::forgetful::{Dice, Forgetful};
use super::recovery::{Damage, Slot, Witness};
use super::test_support::{PER_SEGMENT, Taken, directory_on, kv_put, place, record, recover_on, segment_file};
use super::*;
use crate::base::limits::MAX_KV_VALUE_BYTES;
use crate::base::vocab::{Cents, Committed, Lsn};

/// Appends `records` in one group, not synced.
fn append_records(writer: &mut Writer, records: &[Record]) {
    let mut group: Vec<_> = records.iter().map(Record::encode).collect();
    let last = Lsn(writer.last().0 + group.len() as u64);
    assert!(writer.wait_until_prepared(last, std::time::Duration::from_secs(60)));
    writer.append(&mut group, writer.on_disk().0).unwrap();
}

fn sync_records(writer: &mut Writer, records: &[Record]) {
    append_records(writer, records);
    writer.sync().unwrap();
}

/// A deposit, a write of 4 records, a deposit, a write of 18, which is in three segments.
fn some() -> Vec<Record> {
    [vec![record(1).into()], kv_put(2, 3, 200), vec![record(6).into()], kv_put(7, 3, 1278)].concat()
}

fn write_by_write(records: &[Record]) -> Forgetful {
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    for write in records.chunk_by(|_, next| next.is_piece()) {
        sync_records(&mut writer, write);
    }
    assert!(writer.wait_until_prepared(Lsn(records.len() as u64 + PER_SEGMENT), std::time::Duration::from_secs(60)));
    drop(writer);
    disk
}

/// The records in their order.
fn all_of(taken: &Taken) -> Vec<Record> {
    let mut all: Vec<Record> = taken.records.iter().cloned().map(Record::from).chain(taken.others.clone()).collect();
    all.sort_by_key(Record::lsn);
    all
}

/// The last record up to `lsn` that ends a write.
fn whole_to(records: &[Record], lsn: u64) -> u64 {
    let is_end = |lsn: &u64| records.get(usize::try_from(*lsn).unwrap()).is_none_or(|next| !next.is_piece());
    (0..=lsn).rev().find(is_end).unwrap()
}

fn damage_of(disk: &Forgetful) -> (Lsn, Damage) {
    match recover_on(disk).0.unwrap_err() {
        RecoveryError::Corrupt { lsn, damage, .. } => (lsn, damage),
        other => panic!("{other}"),
    }
}

#[test]
fn whole_writes_are_handed_on_as_they_were_written() {
    let records = some();
    let (recovered, taken) = recover_on(&write_by_write(&records));
    let recovered = recovered.unwrap();
    assert_eq!((recovered.end, recovered.torn, recovered.records), (Lsn(24), None, 24));
    assert_eq!(all_of(&taken), records);
    assert_eq!(recovered.totals.deposited, Cents(2), "pieces are no operations of an account");
}

/// The file ends at any byte within the last write.
#[test]
fn a_write_of_which_any_byte_is_missing_never_happened() {
    let records = some();
    for cut_to in 0..18 * RECORD_BYTES {
        let disk = write_by_write(&records[..6]);
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(6)).unwrap();
        append_records(&mut writer, &records[6..]);
        drop(writer);
        let lsn = 7 + (cut_to / RECORD_BYTES) as u64;
        let (path, offset) = place(lsn);
        disk.tamper(&path, |bytes| bytes.truncate(offset + cut_to % RECORD_BYTES));
        for first in (11..=21).step_by(10).filter(|&first| first > lsn) {
            disk.tamper(&segment_file(first), |bytes| bytes[4096..].fill(0));
        }
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        assert_eq!(recovered.end, Lsn(6), "{cut_to}");
        assert_eq!(all_of(&taken), records[..6]);
        assert_eq!(recovered.torn.unwrap().from, Lsn(7));
        if cut_to % RECORD_BYTES != 77 {
            continue;
        }
        // It is cut, durably, and writing goes on in its place.
        let mut writer = recovered.into_writer(0).unwrap();
        let others = kv_put(7, 7, 300);
        sync_records(&mut writer, &others);
        drop(writer);
        let (again, taken) = recover_on(&disk.crash(1));
        let again = again.unwrap();
        assert_eq!((again.end, again.torn), (Lsn(11), None));
        assert_eq!(all_of(&taken), [&records[..6], &others].concat());
    }
}

/// A group may end inside a write, and what was synced of it is not shown to be more by that.
#[test]
fn a_write_of_which_the_beginning_was_synced_by_itself_never_happened() {
    let records = some();
    for synced in 7..24 {
        for written in synced + 1..=24 {
            let disk = write_by_write(&records[..6]);
            let mut writer = Writer::resume(&directory_on(&disk), Lsn(6)).unwrap();
            sync_records(&mut writer, &records[6..synced]);
            append_records(&mut writer, &records[synced..written]);
            drop(writer);
            // The first record of the second group is lost; those behind it say that the first group had been durable.
            let (path, offset) = place(synced as u64 + 1);
            disk.tamper(&path, |bytes| bytes[offset..offset + RECORD_BYTES].fill(0));
            let (recovered, taken) = recover_on(&disk);
            let mut recovered = recovered.unwrap();
            assert_eq!((recovered.end, all_of(&taken)), (Lsn(6), records[..6].to_vec()));
            let torn = recovered.torn.unwrap();
            assert_eq!((torn.from, torn.slots), (Lsn(7), written as u64 - 7), "all but the one that is lost");
            assert!(recovered.truncate_torn_tail(0).unwrap().is_some());
            let (again, _) = recover_on(&disk.crash(written as u64));
            let again = again.unwrap();
            assert_eq!((again.end, again.torn), (Lsn(6), None), "{synced} of {written}");
        }
    }
}

/// As for journals of single records: groups that end anywhere, some synced, the power fails, again and again.
#[test]
fn what_was_synced_survives_every_power_failure_and_is_whole_writes() {
    let (mut torn, mut inside) = (0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut disk = Forgetful::default();
        let mut written: Vec<Record> = Vec::new();
        let mut synced = 0;
        for life in 0..4 {
            let (recovered, taken) = recover_on(&disk);
            let recovered = recovered.unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let end = recovered.end.0;
            assert!(end >= whole_to(&written, synced) && end <= written.len() as u64, "seed {seed}, life {life}");
            assert_eq!(end, whole_to(&written, end), "seed {seed}, life {life}");
            written.truncate(usize::try_from(end).unwrap());
            assert_eq!(all_of(&taken), written, "seed {seed}, life {life}");
            torn += u64::from(recovered.torn.is_some());
            let mut writer = recovered.into_writer(0).unwrap();
            for _ in 0..1 + dice.below(3) {
                let next = written.len() as u64 + 1;
                written.extend(match dice.below(3) {
                    0 => vec![record(next).into()],
                    _ => kv_put(next, 1 + dice.below(255), dice.below(1500)),
                });
            }
            while let from = usize::try_from(writer.last().0).unwrap()
                && from < written.len()
            {
                let upto = from + 1 + dice.below(written.len() - from);
                append_records(&mut writer, &written[from..upto]);
                if dice.below(2) == 0 {
                    writer.sync().unwrap();
                }
                if dice.below(4) == 0 {
                    break;
                }
            }
            synced = writer.on_disk().0.0;
            inside += u64::from(whole_to(&written, synced) != synced);
            disk = disk.crash(seed * 31 + life);
        }
    }
    assert!(torn > 50 && inside > 50, "{torn} torn tails, {inside} groups that end inside a write");
}

#[test]
fn the_longest_write_goes_across_many_segments() {
    let disk = Forgetful::default();
    let directory = Directory::open_or_create_on(
        std::sync::Arc::new(disk.clone()),
        std::path::Path::new("/data"),
        4,
        Cents(1000),
        64,
    );
    let directory = directory.unwrap();
    let records = [vec![record(1).into()], kv_put(2, 255, MAX_KV_VALUE_BYTES), vec![record(826).into()]].concat();
    let mut writer = Writer::resume(&directory, Lsn(0)).unwrap();
    // As the journal process does: as much as is prepared, and the rest afterwards.
    let mut from = 0;
    while from < records.len() {
        assert!(writer.wait_until_prepared(Lsn(from as u64 + 1), std::time::Duration::from_secs(60)));
        let upto = records.len().min(usize::try_from(writer.prepared_to().0).unwrap());
        append_records(&mut writer, &records[from..upto]);
        if from == 0 {
            writer.sync().unwrap();
        }
        from = upto;
    }
    writer.sync().unwrap();
    drop(writer);
    let mut taken = Taken::default();
    let recovered = recover(&directory, Lsn(0), &mut taken, |_| ()).unwrap();
    assert_eq!((recovered.end, recovered.torn, all_of(&taken)), (Lsn(826), None, records.clone()));
    // Its head's segment is removed: what is left of it is passed over.
    let mut writer = Writer::resume(&directory, Lsn(826)).unwrap();
    assert_eq!(writer.remove_before(Lsn(800), 0).unwrap(), 12);
    drop(writer);
    let mut seen = Vec::new();
    let scanned = full_scan(&directory, Lsn(826), None, |record| seen.push(record.clone())).unwrap();
    assert_eq!((scanned.oldest, scanned.end, scanned.torn), (Lsn(769), Lsn(826), None));
    assert_eq!(seen, records[768..]);
}

#[test]
fn records_of_right_checksums_that_are_no_write_are_damage() {
    let put = kv_put(2, 3, 200);
    let first: Record = record(1).into();
    let written = |records: &[Record]| {
        let disk = Forgetful::default();
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
        sync_records(&mut writer, records);
        drop(writer);
        disk
    };
    let unfinished = AssemblyError::Unfinished { head: Lsn(2), found: Lsn(4) };
    let cases = [
        ([&put[..2], &[record(4).into()]].concat(), Damage::Write(unfinished)),
        (kv_put(1, 3, 200)[1..].to_vec(), Damage::Write(AssemblyError::Orphan(Lsn(2)))),
        ([&put[..2], &kv_put(3, 3, 60)[1..]].concat(), Damage::Write(AssemblyError::Time(Lsn(4)))),
    ];
    for (records, damage) in cases {
        let disk = written(&[std::slice::from_ref(&first), &records].concat());
        let (lsn, found) = damage_of(&disk);
        assert_eq!(found, damage);
        assert!(found.to_string().contains("checksum is right"));
        // Repair cuts before the write, not inside it, and the next start finds nothing to cut.
        let report = repair(&directory_on(&disk), 1).unwrap();
        assert!(lsn > Lsn(1) && report.end == Lsn(1), "{report}");
        let (recovered, taken) = recover_on(&disk.crash(1));
        let recovered = recovered.unwrap();
        assert_eq!((recovered.end, recovered.torn, all_of(&taken)), (Lsn(1), None, vec![first.clone()]));
    }
    let one = |mut record: Record, index, ends_entry| {
        (record.term, record.index, record.ends_entry) = (1, index, ends_entry);
        record
    };
    // An entry ends inside a write.
    let mut entry: Vec<_> = put.iter().cloned().map(|record| one(record, 1, false)).collect();
    entry.insert(0, one(first.clone(), 1, false));
    entry[3].ends_entry = true;
    assert_eq!(damage_of(&written(&entry)), (Lsn(4), Damage::Write(AssemblyError::Entry(Lsn(4)))));
}

#[test]
fn several_writes_of_one_raft_entry_are_there_wholly_or_not_at_all() {
    let mut entry = [kv_put(1, 3, 200), kv_put(5, 3, 300), vec![record(10).into()]].concat();
    entry.iter_mut().for_each(|record| (record.term, record.index) = (1, 1));
    entry[9].ends_entry = true;
    for there in 1..=10 {
        let disk = Forgetful::default();
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
        sync_records(&mut writer, &entry[..there]);
        drop(writer);
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        let whole = if there == 10 { 10 } else { 0 };
        assert_eq!((recovered.end, all_of(&taken).len()), (Lsn(whole as u64), whole), "{there}");
        assert_eq!(recovered.torn.is_some(), there < 10);
    }
}

#[test]
fn repair_cuts_before_the_write_that_is_damaged() {
    let records = some();
    for lsn in 1..=23 {
        let disk = write_by_write(&records);
        // A record behind the damage that was written when all before it had been durable.
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(24)).unwrap();
        sync_records(&mut writer, &[record(25).into()]);
        drop(writer);
        let (path, offset) = place(lsn);
        disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
        assert_eq!(damage_of(&disk).0, Lsn(lsn));
        let report = repair(&directory_on(&disk), 1234).unwrap();
        assert_eq!(report.end.0, whole_to(&records, lsn - 1), "{report}");
        let (recovered, taken) = recover_on(&disk.crash(lsn));
        let recovered = recovered.unwrap();
        assert_eq!((recovered.end, recovered.torn), (report.end, None));
        assert_eq!(all_of(&taken), records[..usize::try_from(report.end.0).unwrap()]);
    }
}

#[test]
fn something_that_shows_a_part_of_a_write_shows_all_of_it() {
    let disk = write_by_write(&some());
    Writer::resume(&directory_on(&disk), Lsn(24)).unwrap().close_committed(Committed(Lsn(24))).unwrap();
    let (path, offset) = place(24);
    disk.tamper(&path, |bytes| bytes[offset..].fill(0));
    let witness = Witness::Stop(Lsn(24));
    assert_eq!(damage_of(&disk), (Lsn(24), Damage::Slot { slot: Slot::Zero, witness }));
}

/// Beside a server only whole writes are read, wherever what it says to be committed ends.
#[test]
fn what_is_read_beside_a_server_ends_with_a_write() {
    let records = some();
    let disk = write_by_write(&records);
    for committed in 1..=24 {
        let mut seen = Vec::new();
        let each = |record: &Record| seen.push(record.clone());
        let scanned = full_scan(&directory_on(&disk), Lsn(0), Some(Committed(Lsn(committed))), each).unwrap();
        let whole = whole_to(&records, committed);
        assert_eq!((scanned.end, scanned.torn), (Lsn(whole), None));
        assert_eq!(seen, records[..usize::try_from(whole).unwrap()]);
    }
}
