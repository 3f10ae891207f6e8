//! Orderly stops, and what they make of damage; and what is kept of a torn tail.

use std::path::Path;

use super::disk::forgetful::Forgetful;
use super::recovery::{Damage, Slot, Witness};
use super::test_support::{
    PER_SEGMENT, append, check_prefix, directory_on, one_by_one, place, recover_on, segment_file,
};
use super::*;
use crate::base::limits::MAX_TORN_TAILS;
use crate::base::vocab::Lsn;

fn mark() -> &'static Path {
    Path::new("/data/closed")
}

/// A journal of `count` records, the last two of one batch, closed in order.
fn closed_after(count: u64) -> Forgetful {
    let disk = one_by_one(count - 2);
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(count - 2)).unwrap();
    append(&mut writer, 2);
    writer.sync().unwrap();
    writer.close().unwrap();
    disk
}

fn damage_of(disk: &Forgetful) -> (Lsn, Damage) {
    match recover_on(disk).0 {
        Err(RecoveryError::Corrupt { lsn, damage, .. }) => (lsn, damage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_an_orderly_stop_every_flipped_bit_of_the_last_batch_is_damage() {
    for count in [2, 7, 10, 11] {
        let disk = closed_after(count);
        assert_eq!(recover_on(&disk).0.unwrap().end, Lsn(count));
        for lsn in [count - 1, count] {
            let (path, offset) = place(lsn);
            for bit in 0..8 * RECORD_BYTES {
                disk.tamper(&path, |bytes| bytes[offset + bit / 8] ^= 1 << (bit % 8));
                let (at, damage) = damage_of(&disk);
                assert_eq!(at, Lsn(lsn), "bit {bit}");
                assert!(matches!(damage, Damage::Slot { slot: Slot::Damaged, .. }), "bit {bit}: {damage}");
                disk.tamper(&path, |bytes| bytes[offset + bit / 8] ^= 1 << (bit % 8));
            }
        }
    }
}

#[test]
fn nor_is_a_missing_end_taken_for_a_torn_tail() {
    for (count, tamper) in [(7, false), (10, false), (11, false), (7, true), (10, true), (11, true)] {
        let disk = closed_after(count);
        let (path, offset) = place(count);
        let shown = Witness::Stop(Lsn(count));
        if tamper {
            disk.tamper(&path, |bytes| bytes.truncate(offset + 1));
            assert_eq!(damage_of(&disk), (Lsn(count), Damage::Slot { slot: Slot::Short, witness: shown }));
        } else {
            disk.tamper(&path, |bytes| bytes[offset..offset + RECORD_BYTES].fill(0));
            assert_eq!(damage_of(&disk), (Lsn(count), Damage::Slot { slot: Slot::Zero, witness: shown }));
        }
        // The whole last segment, be there others or not.
        let disk = closed_after(count);
        for first in
            segment::list(&directory_on(&disk)).unwrap().iter().rev().take_while(|first| first.0 + PER_SEGMENT > count)
        {
            disk::Disk::remove(&disk, &segment_file(first.0)).unwrap();
        }
        match recover_on(&disk).0.unwrap_err() {
            RecoveryError::BeginningGone { oldest: Lsn(0), .. } => assert!(count <= PER_SEGMENT),
            RecoveryError::Corrupt { lsn: Lsn(11), damage, .. } => {
                assert_eq!(damage, Damage::Slot { slot: Slot::Absent, witness: shown });
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_mark_stays_true_while_the_next_run_writes_and_when_it_ends_badly() {
    for seed in 0..100 {
        let disk = closed_after(7);
        let mut writer = recover_on(&disk).0.unwrap().into_writer(0).unwrap();
        append(&mut writer, 2);
        let disk = disk.crash(seed);
        let (recovered, taken) = recover_on(&disk);
        let end = recovered.unwrap().end;
        assert!(end >= Lsn(7));
        check_prefix(&taken, end);
        // The unsynced two may look torn; what was closed in order may not.
        let (path, offset) = place(7);
        disk.tamper(&path, |bytes| bytes[offset + 45] ^= 1);
        assert_eq!(damage_of(&disk).0, Lsn(7), "seed {seed}");
    }
}

#[test]
fn a_stop_that_is_interrupted_leaves_the_mark_of_before_or_the_new_one() {
    let mut marks = Vec::new();
    // create, write, sync, rename, sync the directory
    for call in 1..=5 {
        for seed in 0..20 {
            let disk = closed_after(5);
            let mut writer = recover_on(&disk).0.unwrap().into_writer(0).unwrap();
            append(&mut writer, 1);
            writer.sync().unwrap();
            assert!(writer.wait_until_prepared(Lsn(2 * PER_SEGMENT), std::time::Duration::from_secs(60)));
            disk.fail_call("", call, libc::ENOSPC);
            assert!(matches!(writer.close(), Err(WriterError::Disk(_))), "call {call}");
            let disk = disk.crash(seed);
            let recovered = recover_on(&disk).0.unwrap();
            assert_eq!((recovered.end, recovered.damaged_mark), (Lsn(6), None), "call {call}, seed {seed}");
            marks.push(shutdown_mark::read(&directory_on(&disk)).unwrap().unwrap());
        }
    }
    assert!(
        [Lsn(5), Lsn(6)].iter().all(|mark| marks.contains(mark)) && marks.iter().all(|mark| (5..=6).contains(&mark.0))
    );
}

#[test]
fn a_failed_journal_is_not_closed() {
    let disk = closed_after(5);
    let mut writer = recover_on(&disk).0.unwrap().into_writer(0).unwrap();
    append(&mut writer, 1);
    disk.fail_call("sync 0", 1, libc::EIO);
    assert!(writer.sync().is_err());
    assert!(matches!(writer.close(), Err(WriterError::Failed(_))));
    assert_eq!(shutdown_mark::read(&directory_on(&disk)).unwrap(), Ok(Lsn(5)));
}

#[test]
fn a_damaged_mark_is_named_and_says_nothing() {
    let disk = closed_after(5);
    let mut good = Vec::new();
    disk.tamper(mark(), |bytes| good.clone_from(bytes));
    let bits = (0..good.len() * 8).map(|bit| (format!("bit {bit}"), bit / 8, 1 << (bit % 8)));
    for (what, byte, flip) in bits {
        disk.tamper(mark(), |bytes| bytes[byte] ^= flip);
        let recovered = recover_on(&disk).0.unwrap();
        assert_eq!(recovered.end, Lsn(5), "{what}");
        assert!(recovered.damaged_mark.is_some_and(|damaged| damaged.path == mark()), "{what}");
        disk.tamper(mark(), |bytes| bytes.clone_from(&good));
    }
    let other = closed_after(5);
    other.tamper(mark(), |bytes| bytes.clone_from(&good));
    let why = recover_on(&other).0.unwrap().damaged_mark.unwrap().why;
    assert_eq!(why, "it belongs to another data directory");
}

#[test]
fn a_repair_takes_the_mark_away_and_can_be_interrupted_anywhere() {
    for call in 1..30 {
        for seed in 0..6 {
            let mut disk = closed_after(14);
            let (path, offset) = place(14);
            disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
            disk.fail_call("", call, libc::EIO);
            let whole = repair(&directory_on(&disk), 1).is_ok();
            disk = disk.crash(seed);
            if !whole {
                // Not half repaired, and then taken for a torn tail.
                assert!(recover_on(&disk).0.map_or(true, |recovered| recovered.torn.is_none()), "call {call}");
                repair(&directory_on(&disk), 2).unwrap();
            }
            let (recovered, taken) = recover_on(&disk);
            assert_eq!(recovered.unwrap().end, Lsn(13), "call {call}, seed {seed}");
            check_prefix(&taken, Lsn(13));
            if whole {
                assert!(!disk.files().contains(&mark().to_owned()), "call {call}");
                assert!(disk.files().contains(&"/data/removed-1/closed".into()), "call {call}");
            }
        }
    }
}

#[test]
fn a_torn_tail_is_kept_where_the_report_says_before_it_is_cut() {
    for count in [3, 9] {
        let disk = one_by_one(5);
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(5)).unwrap();
        append(&mut writer, count);
        drop(writer);
        let (path, offset) = place(6);
        disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
        let mut tail = Vec::new();
        disk.tamper(&path, |bytes| tail.extend_from_slice(&bytes[offset..]));
        let segments = if count > 5 { 2 } else { 1 };
        let mut recovered = recover_on(&disk).0.unwrap();
        assert_eq!((recovered.end, recovered.torn.is_some()), (Lsn(5), true));
        let kept = recovered.truncate_torn_tail(1_700_000_000).unwrap().unwrap();
        assert_eq!((kept.files.len(), kept.bytes, kept.left_out), (segments, count * 128, 0));
        assert_eq!(kept.files[0], Path::new("/data/torn/001700000000-from-record-00000000000000000006"));
        assert!(kept.to_string().contains(&kept.files[0].display().to_string()), "{kept}");
        let mut found = Vec::new();
        disk.crash(1).tamper(&kept.files[0], |bytes| found.clone_from(bytes));
        assert_eq!(found[..], tail[..found.len()]);
        assert!(tail[found.len()..].iter().all(|&byte| byte == 0));
        assert_eq!(recover_on(&disk).0.unwrap().torn, None);
    }
}

/// A file that ends within a slot: what there is of that record is kept, too.
#[test]
fn the_last_bytes_of_a_torn_tail_are_kept_though_they_are_no_whole_slot() {
    let disk = one_by_one(5);
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(5)).unwrap();
    append(&mut writer, 2);
    drop(writer);
    let (path, offset) = place(7);
    disk.tamper(&path, |bytes| bytes.truncate(offset + 50));
    let mut recovered = recover_on(&disk).0.unwrap();
    assert_eq!(recovered.end, Lsn(6));
    let missing = 4096 + PER_SEGMENT * 128 - (offset as u64 + 50);
    assert_eq!(recovered.torn.as_ref().map(|torn| torn.missing_bytes), Some(missing));
    let kept = recovered.truncate_torn_tail(1).unwrap().unwrap();
    assert_eq!((kept.bytes, kept.left_out), (50, 0));
    let mut found = Vec::new();
    disk.tamper(&kept.files[0], |bytes| found.clone_from(bytes));
    assert_eq!(found, test_support::record(7).encode()[..50]);
    disk.tamper(&path, |bytes| assert_eq!(bytes.len() as u64, 4096 + PER_SEGMENT * 128, "filled up"));
}

#[test]
fn no_more_torn_tails_are_kept_than_the_bound() {
    let disk = one_by_one(5);
    for now in 0..2 * MAX_TORN_TAILS as u64 {
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(5)).unwrap();
        append(&mut writer, 1);
        drop(writer);
        let (path, offset) = place(6);
        disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
        let kept = recover_on(&disk).0.unwrap().truncate_torn_tail(now).unwrap().unwrap();
        assert!(disk.files().contains(&kept.files[0]), "the newest stays");
    }
    let kept = disk.files().into_iter().filter(|path| path.starts_with("/data/torn")).count();
    assert_eq!(kept, MAX_TORN_TAILS);
}
