//! The log of a member of a cluster: entries that are not whole, and truncations that are interrupted anywhere.

use super::disk::forgetful::{Dice, Forgetful};
use super::recovery::{Damage, Slot, Witness};
use super::test_support::{PER_SEGMENT, Taken, directory_on, one_by_one, place, record, recover_on, segment_file};
use super::*;
use crate::base::vocab::{Committed, Lsn};

/// Record `lsn` as part of an entry; `life` tells apart what was written at different times.
fn part(lsn: u64, term: u64, index: u64, ends_entry: bool, life: u32) -> Record {
    let operation = OperationRecord { principal: life, ..record(lsn) };
    Record { term, index, ends_entry, ..Record::from(operation) }
}

fn append_records(writer: &mut Writer, records: &[Record]) {
    let mut batch: Vec<_> = records.iter().map(Record::encode).collect();
    let last = Lsn(writer.last().0 + batch.len() as u64);
    assert!(writer.wait_until_prepared(last, std::time::Duration::from_secs(60)));
    writer.append(&mut batch, writer.on_disk().0).unwrap();
}

/// Entries of three records each, in term 1, each entry synced by itself.
fn entries(count: u64) -> (Forgetful, Vec<Record>) {
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    let mut written = Vec::new();
    for index in 1..=count {
        let first = 3 * index - 2;
        let entry: Vec<_> = (first..first + 3).map(|lsn| part(lsn, 1, index, lsn == first + 2, 1)).collect();
        append_records(&mut writer, &entry);
        writer.sync().unwrap();
        written.extend(entry);
    }
    assert!(writer.wait_until_prepared(Lsn(3 * count + PER_SEGMENT), std::time::Duration::from_secs(60)));
    drop(writer);
    (disk, written)
}

/// All kinds of records, as they come.
#[derive(Default)]
struct All(Vec<Record>);

impl Replay for All {
    fn snapshot_account(&mut self, _: crate::base::vocab::AccountId, _: crate::base::vocab::Cents, _: Lsn) {}
    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}

    fn record(&mut self, record: &Record) {
        self.0.push(record.clone());
    }
}

fn all_of(disk: &Forgetful, committed: u64) -> (Recovered, Vec<Record>) {
    let mut all = All::default();
    let recovered = recover_up_to(&directory_on(disk), Lsn(0), Committed(Lsn(committed)), &mut all, |_| ());
    (recovered.unwrap(), all.0)
}

#[test]
fn only_what_is_committed_is_handed_on_and_the_rest_is_left_whole() {
    let (disk, written) = entries(8);
    for committed in (0..=24).step_by(3) {
        let (recovered, taken) = all_of(&disk, committed);
        assert_eq!((recovered.end, recovered.replayed_to, recovered.torn), (Lsn(24), Lsn(committed), None));
        assert_eq!(taken, written[..usize::try_from(committed).unwrap()]);
    }
    let (recovered, taken) = all_of(&disk, u64::MAX);
    assert_eq!((recovered.replayed_to, taken), (Lsn(24), written));
}

#[test]
fn what_an_orderly_stop_shows_to_be_committed_is_handed_on_though_the_commit_is_not_known() {
    let (disk, written) = entries(8);
    let writer = Writer::resume(&directory_on(&disk), Lsn(24)).unwrap();
    writer.close_committed(Committed(Lsn(18))).unwrap();
    let (recovered, taken) = all_of(&disk, 6);
    assert_eq!((recovered.end, recovered.replayed_to), (Lsn(24), Lsn(18)));
    assert_eq!(taken, written[..18]);
}

#[test]
fn an_entry_that_is_not_whole_goes_with_all_its_records() {
    for there in 1..6 {
        // Entry 4 of six records, of which only the first have been written; they are in two segments.
        let (disk, written) = entries(3);
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(9)).unwrap();
        let entry: Vec<_> = (10..16).map(|lsn| part(lsn, 1, 4, lsn == 15, 1)).collect();
        append_records(&mut writer, &entry[..there]);
        writer.sync().unwrap();
        drop(writer);
        let (recovered, taken) = all_of(&disk, u64::MAX);
        assert_eq!((recovered.end, &taken), (Lsn(9), &written));
        let torn = recovered.torn.unwrap();
        assert_eq!((torn.from, torn.slots), (Lsn(10), there as u64));
        let mut writer = recovered.into_writer(0).unwrap();
        append_records(&mut writer, &entry);
        writer.sync().unwrap();
        drop(writer);
        let (recovered, taken) = all_of(&disk.crash(there as u64), u64::MAX);
        assert_eq!((recovered.end, recovered.torn), (Lsn(15), None));
        assert_eq!(taken, [&written[..], &entry].concat());
    }
}

#[test]
fn an_entry_of_which_a_part_was_committed_was_whole() {
    let (disk, _) = entries(8);
    Writer::resume(&directory_on(&disk), Lsn(24)).unwrap().close_committed(Committed(Lsn(22))).unwrap();
    let (path, offset) = place(24);
    disk.tamper(&path, |bytes| bytes[offset..].fill(0));
    let RecoveryError::Corrupt { lsn, damage, .. } = recover_on(&disk).0.unwrap_err() else { panic!("another error") };
    let witness = Witness::Stop(Lsn(22));
    assert_eq!((lsn, damage), (Lsn(24), Damage::Slot { slot: Slot::Zero, witness }));
}

#[test]
fn an_entry_that_a_full_disk_left_in_parts_is_no_damage_although_all_of_it_was_committed() {
    let (disk, written) = entries(3);
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(9)).unwrap();
    append_records(&mut writer, &[part(10, 1, 4, false, 1), part(11, 1, 4, false, 1)]);
    writer.sync().unwrap();
    writer.close_committed(Committed(Lsn(15))).unwrap();
    let (recovered, taken) = all_of(&disk, u64::MAX);
    assert_eq!((recovered.end, taken), (Lsn(9), written));
    assert_eq!(recovered.torn.unwrap().from, Lsn(10));
}

#[test]
fn a_truncated_log_ends_where_it_was_cut_and_goes_on_there() {
    for keep in 0..=30 {
        let disk = one_by_one(30);
        let directory = directory_on(&disk);
        let mut writer = Writer::resume(&directory, Lsn(30)).unwrap();
        assert_eq!(writer.truncate_after(Lsn(keep)).unwrap().0, Lsn(keep));
        assert_eq!((writer.last(), writer.on_disk().0), (Lsn(keep), Lsn(keep)));
        let (recovered, taken) = recover_on(&disk.crash(keep));
        let recovered = recovered.unwrap();
        assert_eq!((recovered.end, recovered.torn), (Lsn(keep), None));
        assert_eq!(taken.records.len() as u64, keep);
        assert!(disk.files().iter().all(|file| !file.starts_with("/data/torn")), "no copy is kept");
        // Others take the place of what was cut.
        let others: Vec<_> = (keep + 1..=keep + 15).map(|lsn| part(lsn, 2, lsn, true, 2)).collect();
        append_records(&mut writer, &others);
        writer.sync().unwrap();
        drop(writer);
        let mut wanted: Vec<Record> = (1..=keep).map(|lsn| record(lsn).into()).collect();
        wanted.extend(others);
        let (recovered, taken) = all_of(&disk.crash(keep), u64::MAX);
        assert_eq!((recovered.end, recovered.torn, taken), (Lsn(keep + 15), None, wanted));
    }
}

/// Every life: entries are written and some synced, the log is truncated, which is broken off at some call by a failure, and then the power
/// fails. A start finishes the truncation, and nothing of what was cut comes back.
#[test]
fn a_truncation_that_is_broken_off_anywhere_is_finished_by_the_next_start() {
    let (mut broken_off, mut would_be_damage) = (0, 0);
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let (mut disk, mut written) = entries(4 + dice.below(8) as u64);
        for life in 2..5 {
            let directory = directory_on(&disk);
            let recovered = recover(&directory, Lsn(0), &mut DiscardRecords, |_| ()).unwrap();
            assert_eq!(recovered.end.0, written.len() as u64, "seed {seed}, life {life}");
            let mut writer = recovered.into_writer(0).unwrap();
            let first = written.len() as u64 + 1;
            let unsynced: Vec<_> =
                (first..first + dice.below(9) as u64).map(|lsn| part(lsn, u64::from(life), lsn, true, life)).collect();
            append_records(&mut writer, &unsynced);
            let mut keep = dice.below(written.len() + 1);
            while keep > 0 && !written[keep - 1].ends_entry {
                keep -= 1;
            }
            // The preparer's calls are not those of the truncation.
            assert!(writer.wait_until_prepared(Lsn(writer.last().0 + PER_SEGMENT), std::time::Duration::from_secs(60)));
            disk.fail_call(".segment", 1 + dice.below(12) as u64, libc::EIO);
            let cut = writer.truncate_after(Lsn(keep as u64));
            broken_off += u64::from(cut.is_err());
            drop(writer);
            disk = disk.crash(seed * 31 + u64::from(life));
            would_be_damage += u64::from(recover_on(&disk).0.is_err());
            // The start after it may be broken off as well.
            for attempt in 0..3 {
                disk.fail_call(".segment", 1 + dice.below(8) as u64, libc::EIO);
                let _ = finish_truncation(&directory_on(&disk), Lsn(keep as u64));
                disk = disk.crash(seed * 57 + attempt);
            }
            finish_truncation(&directory_on(&disk), Lsn(keep as u64)).unwrap();
            written.truncate(keep);
            let (recovered, taken) = all_of(&disk, u64::MAX);
            assert_eq!((recovered.end.0, recovered.torn), (keep as u64, None), "seed {seed}, life {life}");
            assert_eq!(taken, written, "seed {seed}, life {life}");
            // Others take its place.
            let mut writer = recovered.into_writer(0).unwrap();
            let first = keep as u64 + 1;
            let others: Vec<_> = (first..first + 1 + dice.below(20) as u64)
                .map(|lsn| part(lsn, u64::from(life), lsn, true, 100 + life))
                .collect();
            append_records(&mut writer, &others);
            writer.sync().unwrap();
            written.extend(others);
        }
    }
    assert!(broken_off > 100, "{broken_off}");
    assert!(would_be_damage > 20, "without the intent: {would_be_damage}");
}

#[test]
fn what_was_committed_is_not_cut() {
    let disk = one_by_one(24);
    let directory = directory_on(&disk);
    Writer::resume(&directory, Lsn(24)).unwrap().close_committed(Committed(Lsn(20))).unwrap();
    for keep in [0, 10, 19] {
        let refused = finish_truncation(&directory, Lsn(keep)).unwrap_err();
        assert!(matches!(refused, TruncationError::Closed { closed: Lsn(20), .. }), "{refused}");
        let mut writer = Writer::resume(&directory, Lsn(24)).unwrap();
        let refused = writer.truncate_after(Lsn(keep)).unwrap_err();
        assert!(matches!(refused, WriterError::Truncation(TruncationError::Closed { .. })), "{refused}");
        assert_eq!(writer.last(), Lsn(24), "it goes on");
    }
    assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(24));
    finish_truncation(&directory, Lsn(20)).unwrap();
    assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(20));
    let mut writer = Writer::resume(&directory, Lsn(20)).unwrap();
    assert!(matches!(writer.truncate_after(Lsn(21)), Err(WriterError::BeyondEnd { .. })));
    disk::Disk::remove(&disk, &segment_file(1)).unwrap();
    disk::Disk::remove(&disk, std::path::Path::new("/data/closed")).unwrap();
    let refused = finish_truncation(&directory, Lsn(5)).unwrap_err();
    assert!(matches!(refused, TruncationError::BeforeOldest { oldest: Lsn(11), .. }), "{refused}");
}

#[test]
fn a_snapshot_of_what_is_to_be_cut_keeps_it_from_being_cut() {
    let disk = one_by_one(24);
    let directory = directory_on(&disk);
    let header = snapshot::Header {
        lsn: Lsn(15),
        accounts: test_support::ACCOUNTS,
        deposited: crate::base::vocab::Cents(15),
        withdrawn: crate::base::vocab::Cents::ZERO,
    };
    let mut writer = SnapshotWriter::begin(&directory, header).unwrap();
    (0..test_support::ACCOUNTS).for_each(|_| writer.push(crate::base::vocab::Cents(1000), Lsn(17)).unwrap());
    writer.finish(Committed(Lsn(24))).unwrap();
    let refused = finish_truncation(&directory, Lsn(16)).unwrap_err();
    assert!(matches!(refused, TruncationError::Snapshot { keep: Lsn(16), newest: Lsn(17) }), "{refused}");
    finish_truncation(&directory, Lsn(17)).unwrap();
    // The commit that is known is older than the snapshot, which holds accounts of record 17.
    let mut taken = Taken::default();
    let recovered = recover_up_to(&directory, Lsn(u64::MAX), Committed(Lsn(3)), &mut taken, |_| ()).unwrap();
    assert_eq!((recovered.end, recovered.replayed_to), (Lsn(17), Lsn(17)));
}

#[test]
fn records_and_entries_are_read_as_they_were_written() {
    let (disk, written) = entries(20);
    let mut reader = Reader::open(&directory_on(&disk));
    for (first, last) in [(1, 60), (1, 1), (9, 31), (10, 10), (11, 20), (55, 90), (61, 70)] {
        let wanted: Vec<_> = written.iter().filter(|record| (first..=last).contains(&record.lsn().0)).collect();
        let read = reader.records(Lsn(first), Lsn(last)).unwrap();
        let decoded: Vec<_> = read.iter().map(|bytes| Record::decode(bytes).unwrap()).collect();
        assert!(decoded.iter().eq(wanted.iter().copied()), "{first} to {last}");
        let places: Vec<_> = wanted.iter().map(|record| record.place()).collect();
        assert_eq!(reader.places(Lsn(first), Lsn(last)).unwrap(), places);
    }
    assert_eq!(reader.place(Lsn(12)).unwrap(), Some(written[11].place()));
    assert_eq!(reader.place(Lsn(61)).unwrap(), None);
    for last in [60, 61, 200, 45] {
        for index in 0..=22 {
            let found = reader.end_of_entry(index, Lsn(last)).unwrap();
            let wanted = (index > 0).then(|| written.get(usize::try_from(3 * index - 1).unwrap())).flatten();
            assert_eq!(found, wanted.map(Record::place).filter(|place| place.lsn.0 <= last), "{index} up to {last}");
        }
    }
    disk::Disk::remove(&disk, &segment_file(1)).unwrap();
    let mut reader = Reader::open(&directory_on(&disk));
    assert_eq!(reader.end_of_entry(3, Lsn(60)).unwrap(), None);
    assert_eq!(reader.end_of_entry(4, Lsn(60)).unwrap(), Some(written[11].place()));
    assert_eq!(reader.records(Lsn(9), Lsn(12)).unwrap(), Vec::<RecordBytes>::new());
    let (path, offset) = place(25);
    disk.tamper(&path, |bytes| bytes[offset + 50] ^= 1);
    assert!(matches!(reader.records(Lsn(22), Lsn(30)), Err(ReadError::Damaged { lsn: Lsn(25), .. })));
}
