//! The journal on a disk that forgets: power fails at every moment, disks fail at every call, bits flip.

use super::disk::forgetful::{Dice, Forgetful};
use super::recovery::{Damage, Slot, Witness};
use super::segment::HeaderError;
use super::test_support::{
    ACCOUNTS, PER_SEGMENT, append, check_prefix, directory_on, one_by_one, place, record, recover_on, segment_file,
};
use super::*;
use crate::base::vocab::{AccountId, Lsn};

/// Batches of random size are written and some synced, the power fails, what is left is recovered and written on, again and
/// again. Whatever was synced is there, and what is there is a prefix of what was written. Each life writes other contents, so
/// that nothing of an earlier one can pass for its own.
#[test]
fn what_was_synced_survives_every_power_failure() {
    let mut torn = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut disk = Forgetful::default();
        let mut written: Vec<OperationRecord> = Vec::new();
        let mut synced = Lsn(0);
        for life in 0..4 {
            let (recovered, taken) = recover_on(&disk);
            let recovered = recovered.unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            assert!(recovered.end >= synced, "seed {seed}, life {life}: {} of {synced}", recovered.end);
            written.truncate(taken.records.len());
            assert_eq!(taken.records, written, "seed {seed}, life {life}");
            assert_eq!(recovered.end.0, written.len() as u64);
            torn += u64::from(recovered.torn.is_some());
            let mut writer = recovered.into_writer(0).unwrap();
            for _ in 0..dice.below(6) {
                write_some(&mut writer, &mut written, life, &mut dice);
                if dice.below(2) == 0 {
                    writer.sync().unwrap();
                }
                // A dead process is not a dead machine: its successor writes again what may not be durable.
                if dice.below(4) == 0 {
                    let on_disk = writer.on_disk().0;
                    drop(writer);
                    writer = Writer::resume(&directory_on(&disk), on_disk).unwrap();
                    write_again(&mut writer, &written);
                }
            }
            synced = writer.on_disk().0;
            if dice.below(4) == 0 {
                // An orderly stop, and maybe another start, behind which nothing is written before the power fails.
                synced = writer.sync().unwrap().0;
                writer.close().unwrap();
            }
            // While the next segment may be half prepared.
            disk = disk.crash(seed * 31 + u64::from(life));
        }
    }
    assert!(torn > 100, "the failures were hard enough: {torn} torn tails");
}

/// Appends one to seven records of a life, and notes them.
fn write_some(writer: &mut Writer, written: &mut Vec<OperationRecord>, life: u32, dice: &mut Dice) {
    for _ in 0..=dice.below(7) {
        written.push(OperationRecord { principal: life, ..record(written.len() as u64 + 1) });
    }
    write_again(writer, written);
}

/// Appends what of `written` the writer has not.
fn write_again(writer: &mut Writer, written: &[OperationRecord]) {
    let from = usize::try_from(writer.last().0).unwrap();
    let mut batch: Vec<_> = written[from..].iter().map(OperationRecord::encode).collect();
    assert!(writer.wait_until_prepared(Lsn(written.len() as u64), std::time::Duration::from_secs(60)));
    writer.append(&mut batch, writer.on_disk().0).unwrap();
}

/// The cutting of a torn tail is itself cut short.
#[test]
fn a_cut_that_is_interrupted_is_done_again() {
    for seed in 0..300 {
        let disk = Forgetful::default();
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
        append(&mut writer, 7);
        writer.sync().unwrap();
        append(&mut writer, 9);
        append(&mut writer, 8);
        let mut disk = disk.crash(seed);
        drop(writer);
        for call in 1..40 {
            let (recovered, taken) = recover_on(&disk);
            let recovered = recovered.unwrap();
            assert!(recovered.end >= Lsn(7));
            check_prefix(&taken, recovered.end);
            disk.fail_call("", call, libc::EIO);
            let started = recovered.into_writer(0);
            let whole = started.is_ok();
            drop(started);
            disk = disk.crash(seed + call);
            if whole {
                break;
            }
        }
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        assert_eq!(recovered.torn, None, "nothing is left of it");
        check_prefix(&taken, recovered.end);
    }
}

#[test]
fn a_flipped_bit_in_any_byte_of_any_but_the_last_record_is_refused_at_its_place() {
    let disk = one_by_one(24);
    for lsn in 1..24 {
        let (path, offset) = place(lsn);
        for byte in 0..RECORD_BYTES {
            let bit = 1u8 << (byte % 8);
            disk.tamper(&path, |bytes| bytes[offset + byte] ^= bit);
            match recover_on(&disk).0 {
                Err(RecoveryError::Corrupt { path: at, offset: found, lsn: which, damage }) => {
                    assert_eq!((&at, found, which), (&path, offset as u64, Lsn(lsn)), "byte {byte}");
                    assert!(matches!(damage, Damage::Slot { slot: Slot::Damaged, .. }), "{damage}");
                }
                other => panic!("record {lsn}, byte {byte}: {other:?}"),
            }
            disk.tamper(&path, |bytes| bytes[offset + byte] ^= bit);
        }
    }
    assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(24), "and put right, it is whole again");
}

#[test]
fn the_last_records_cut_at_any_byte_are_a_torn_tail() {
    for cut_to in 0..=3 * RECORD_BYTES {
        // Three records in one batch, which was never synced.
        let disk = one_by_one(5);
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(5)).unwrap();
        append(&mut writer, 3);
        drop(writer);
        let (path, offset) = place(6);
        disk.tamper(&path, |bytes| bytes.truncate(offset + cut_to));
        let (recovered, taken) = recover_on(&disk);
        let recovered = recovered.unwrap();
        let whole = 5 + (cut_to / RECORD_BYTES) as u64;
        assert_eq!(recovered.end, Lsn(whole));
        check_prefix(&taken, Lsn(whole));
        let torn = recovered.torn.unwrap();
        assert_eq!((torn.from, torn.slots), (Lsn(whole + 1), 0));
        assert_eq!(torn.missing_bytes, 5 * 128 - cut_to as u64);
        drop(recovered.into_writer(0).unwrap());
        let (again, taken) = recover_on(&disk.crash(1));
        assert_eq!(again.unwrap().torn, None, "it was cut, durably, and the file is whole");
        check_prefix(&taken, Lsn(whole));
    }
}

#[test]
fn zeros_in_place_of_acknowledged_records_are_damage() {
    let disk = one_by_one(24);
    let (path, offset) = place(8);
    disk.tamper(&path, |bytes| bytes[offset..offset + 2 * RECORD_BYTES].fill(0));
    let (error, taken) = recover_on(&disk);
    check_prefix(&taken, Lsn(7));
    // The first record behind the gap has no good one before it; the second has.
    let damage = Damage::Slot { slot: Slot::Zero, witness: Witness::Record(Lsn(11)) };
    match error.unwrap_err() {
        RecoveryError::Corrupt { lsn: Lsn(8), damage: found, .. } => assert_eq!(found, damage),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_wrong_with_whole_segments_has_its_name() {
    let damage_of = |disk: &Forgetful| match recover_on(disk).0.unwrap_err() {
        RecoveryError::Corrupt { path, damage, .. } => (path, damage),
        other => panic!("{other}"),
    };
    let disk = one_by_one(24);
    let middle = segment_file(11);
    disk::Disk::remove(&disk, &middle).unwrap();
    assert_eq!(damage_of(&disk), (middle.clone(), Damage::Missing));

    let disk = one_by_one(24);
    disk.tamper(&middle, |bytes| bytes[40] ^= 1);
    assert_eq!(damage_of(&disk), (middle.clone(), Damage::Header(HeaderError::Crc)));

    let (disk, other) = (one_by_one(24), one_by_one(24));
    let mut foreign = Vec::new();
    other.tamper(&middle, |bytes| foreign.clone_from(bytes));
    disk.tamper(&middle, |bytes| bytes.clone_from(&foreign));
    assert_eq!(damage_of(&disk), (middle.clone(), Damage::Header(HeaderError::Identity)));

    let disk = one_by_one(24);
    disk.tamper(&middle, |bytes| bytes.clone_from(&vec![0; 100]));
    assert_eq!(damage_of(&disk), (middle, Damage::Header(HeaderError::Short)));

    let disk = one_by_one(24);
    disk::Disk::remove(&disk, &segment_file(1)).unwrap();
    let gone = recover_on(&disk).0.unwrap_err();
    assert!(matches!(gone, RecoveryError::BeginningGone { oldest: Lsn(11), wanted: Lsn(1), .. }), "{gone}");
}

#[test]
fn a_segment_that_was_only_prepared_is_a_clean_end() {
    let disk = one_by_one(10);
    assert!(disk.files().contains(&segment_file(11)), "one segment is always ahead");
    let (recovered, taken) = recover_on(&disk);
    let recovered = recovered.unwrap();
    assert_eq!((recovered.end, recovered.torn), (Lsn(10), None));
    check_prefix(&taken, Lsn(10));
}

#[test]
fn a_sensible_checksum_over_a_senseless_record_is_damage() {
    let disk = one_by_one(3);
    let mut stranger = record(4);
    stranger.accounts.0 = AccountId(ACCOUNTS);
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(3)).unwrap();
    writer.append(&mut [stranger.encode()], Lsn(3)).unwrap();
    drop(writer);
    let error = recover_on(&disk).0.unwrap_err();
    assert!(matches!(error, RecoveryError::Corrupt { damage: Damage::Account(ACCOUNTS), .. }), "{error}");
}

#[test]
fn repair_cuts_at_the_damage_and_keeps_what_it_removes() {
    for lsn in 1..24 {
        let disk = one_by_one(24);
        let (path, offset) = place(lsn);
        disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
        assert!(recover_on(&disk).0.is_err());
        let report = repair(&directory_on(&disk), 1234).unwrap();
        assert_eq!(report.end, Lsn(lsn - 1), "{report}");
        let damage = format!("record {lsn}, byte {offset} of {}: ", path.display());
        assert!(report.done[0].starts_with(&damage), "{report}");
        let (recovered, taken) = recover_on(&disk.crash(lsn));
        check_prefix(&taken, Lsn(lsn - 1));
        let recovered = recovered.unwrap();
        assert_eq!((recovered.end, recovered.torn), (Lsn(lsn - 1), None));
        let mut writer = Writer::resume(&directory_on(&disk), recovered.end).unwrap();
        append(&mut writer, 3);
        let first = lsn - (lsn - 1) % PER_SEGMENT;
        let removed = report.removed.unwrap();
        let mut kept = Vec::new();
        disk.tamper(&removed.join(format!("{first:020}.tail-from-byte-{offset}")), |bytes| kept.clone_from(bytes));
        let records = 24.min(first + PER_SEGMENT - 1) - lsn + 1;
        assert_eq!(kept.len() as u64, records * 128, "the damaged record and those behind it");
        let later =
            (first + PER_SEGMENT..=21).step_by(10).map(|first| removed.join(segment_file(first).file_name().unwrap()));
        assert!(later.into_iter().all(|file| disk.files().contains(&file)), "and the later segments");
    }
}

#[test]
fn repair_writes_a_header_anew_that_the_records_tell() {
    for first in [1, 11, 21] {
        let disk = one_by_one(24);
        disk.tamper(&segment_file(first), |bytes| bytes[50] ^= 1);
        assert!(recover_on(&disk).0.is_err());
        let report = repair(&directory_on(&disk), 1).unwrap();
        assert_eq!(report.end, Lsn(24), "{report}");
        let [saved, written] = &report.done[..] else { panic!("{report}") };
        assert!(saved.starts_with("bytes 0 to 4096 of ") && saved.contains("were saved as"), "{report}");
        assert!(written.starts_with(&segment_file(first).display().to_string()), "{report}");
        assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(24));
    }
    let untouched = repair(&directory_on(&one_by_one(24)), 1).unwrap();
    assert_eq!(untouched, Report { end: Lsn(24), done: Vec::new(), removed: None });
}
