//! The writer on a disk that fails.

use std::time::Duration;

use super::disk::forgetful::Forgetful;
use super::test_support::{
    PER_SEGMENT, append, batch, check_prefix, directory_on, one_by_one, recover_on, segment_file,
};
use super::*;
use crate::base::vocab::Lsn;

/// A writer of five durable records, with a whole segment ahead, so that only the caller's own calls are counted.
fn five() -> (Forgetful, Writer) {
    let disk = Forgetful::default();
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(0)).unwrap();
    append(&mut writer, 5);
    writer.sync().unwrap();
    assert!(writer.wait_until_prepared(Lsn(2 * PER_SEGMENT), Duration::from_secs(60)));
    disk.take_log();
    (disk, writer)
}

#[test]
fn a_batch_costs_one_write_per_segment_and_one_sync_per_file() {
    let (disk, mut writer) = five();
    append(&mut writer, 5);
    writer.sync().unwrap();
    assert_eq!(disk.take_log(), ["write 00000000000000000001.segment", "sync 00000000000000000001.segment"]);
    writer.sync().unwrap();
    assert_eq!(disk.take_log().len(), 0, "nothing was written since");
    drop(writer);
    // Across the border: both files are written, the second one's header by the same write, and both are synced.
    let (disk, mut writer) = five();
    writer.append(&mut batch(6, 7), Lsn(5)).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let (first, second) = ("00000000000000000001.segment", "00000000000000000011.segment");
    let mine: Vec<_> =
        disk.take_log().into_iter().filter(|call| call.contains(first) || call.contains(second)).collect();
    let wanted = [("write", first), ("write", second), ("sync", first), ("sync", second)];
    assert_eq!(mine, wanted.map(|(what, file)| format!("{what} {file}")));
}

#[test]
fn a_batch_without_space_can_be_tried_again() {
    for call in 1..=2 {
        let (disk, mut writer) = five();
        disk.fail_call("write 0", call, libc::ENOSPC);
        let refused = writer.append(&mut batch(6, 7), Lsn(5)).unwrap_err();
        assert!(matches!(&refused, WriterError::NoSpace(_)), "{refused}");
        assert_eq!((writer.last(), writer.on_disk().0), (Lsn(5), Lsn(5)));
        writer.append(&mut batch(6, 7), Lsn(5)).unwrap();
        assert_eq!(writer.sync().unwrap().0, Lsn(12));
        let (recovered, taken) = recover_on(&disk.crash(call));
        assert_eq!(recovered.unwrap().end, Lsn(12));
        check_prefix(&taken, Lsn(12));
    }
}

#[test]
fn any_other_failed_write_and_any_failed_sync_is_final() {
    let writes = (1..=2).map(|number| ("write 0", number, libc::EIO));
    let syncs = (1..=2).flat_map(|number| [libc::EIO, libc::ENOSPC].map(|errno| ("sync 0", number, errno)));
    for (call, number, errno) in writes.chain(syncs) {
        let (disk, mut writer) = five();
        disk.fail_call(call, number, errno);
        let failed = writer.append(&mut batch(6, 7), Lsn(5)).and_then(|()| writer.sync().map(|_| ())).unwrap_err();
        assert!(matches!(&failed, WriterError::Failed(_)), "{call} {number}: {failed}");
        assert!(matches!(writer.sync(), Err(WriterError::Failed(_))), "although the disk would do it now");
        assert!(matches!(writer.append(&mut batch(6, 1), Lsn(5)), Err(WriterError::Failed(_))));
        assert_eq!(writer.on_disk().0, Lsn(5));
        drop(writer);
        let (recovered, taken) = recover_on(&disk.crash(number));
        let end = recovered.unwrap().end;
        assert!(end >= Lsn(5));
        check_prefix(&taken, end);
    }
}

#[test]
fn records_that_recovery_would_refuse_are_never_written() {
    let (disk, mut writer) = five();
    let refused = writer.append(&mut batch(7, 1), Lsn(5)).unwrap_err();
    assert!(matches!(refused, WriterError::OutOfOrder { expected: Lsn(6), found: Lsn(7) }), "{refused}");
    let mut wrong = batch(6, 2);
    wrong[1][24] = 9;
    let refused = writer.append(&mut wrong, Lsn(5)).unwrap_err();
    let unknown = RecordError::Kind(9);
    assert!(matches!(&refused, WriterError::Record { lsn: Lsn(7), source } if *source == unknown), "{refused}");
    let refused = writer.append(&mut batch(6, 2 * PER_SEGMENT), Lsn(5)).unwrap_err();
    assert!(matches!(refused, WriterError::NotPrepared { lsn: Lsn(25), end: Lsn(20) }), "{refused}");
    assert_eq!(disk.take_log().len(), 0);
    assert_eq!(writer.sync().unwrap().0, Lsn(5));
}

#[test]
fn writing_goes_on_in_what_is_prepared_and_room_comes_back_when_asked_for() {
    let preparation = [
        ("create preparing", 1),
        ("allocate preparing", 1),
        ("write preparing", 1),
        ("write preparing", 2),
        ("sync preparing", 1),
        ("rename 0", 1),
        ("sync-dir journal", 1),
    ];
    for (seed, (call, number)) in (0..).zip(preparation) {
        let disk = Forgetful::default();
        let directory = directory_on(&disk);
        let writer = Writer::resume(&directory, Lsn(0)).unwrap();
        drop(writer);
        // One segment is there, and the next is not wanted before there is a record.
        disk.fail_call(call, number, libc::ENOSPC);
        let mut writer = Writer::resume(&directory, Lsn(0)).unwrap();
        let prepared = writer.prepared_to().0;
        writer.append(&mut batch(1, prepared), Lsn(0)).unwrap();
        writer.sync().unwrap();
        assert!(!writer.wait_until_prepared(Lsn(prepared + 1), Duration::from_secs(60)), "{call}");
        assert!(writer.prepare_failure().is_some_and(|failure| failure.is_no_space()), "{call}");
        assert!(matches!(writer.append(&mut batch(prepared + 1, 1), Lsn(0)), Err(WriterError::NotPrepared { .. })));
        writer.retry_preparing();
        assert!(writer.wait_until_prepared(Lsn(prepared + 1), Duration::from_secs(60)), "{call}");
        assert!(writer.prepare_failure().is_none(), "{call}");
        append(&mut writer, 1);
        writer.sync().unwrap();
        drop(writer);
        let (recovered, taken) = recover_on(&disk.crash(seed));
        assert_eq!(recovered.unwrap().end, Lsn(prepared + 1));
        check_prefix(&taken, Lsn(prepared + 1));
    }
}

#[test]
fn old_segments_are_removed_from_the_oldest_on() {
    let disk = one_by_one(45);
    let mut writer = Writer::resume(&directory_on(&disk), Lsn(45)).unwrap();
    assert_eq!(writer.remove_before(Lsn(10), 0).unwrap(), 0, "record 10 is the last of its segment");
    assert_eq!(writer.remove_before(Lsn(11), 0).unwrap(), 1);
    assert_eq!(writer.remove_before(Lsn(32), 1).unwrap(), 1, "11 to 20 go, 21 to 30 are kept");
    assert!(disk.files().contains(&segment_file(21)) && !disk.files().contains(&segment_file(11)));
    assert_eq!(writer.remove_before(Lsn(u64::MAX), 0).unwrap(), 2, "the last record's segment stays");
    assert!(disk.files().contains(&segment_file(41)));
}

#[test]
fn a_writer_goes_on_only_behind_a_record_that_is_there() {
    let disk = one_by_one(3);
    for after in [Lsn(4), Lsn(99)] {
        assert!(Writer::resume(&directory_on(&disk), after).is_err());
    }
}
