//! Reads the whole journal in order, for audits; also while a writer is at work.

use super::directory::Directory;
use super::record::Record;
use super::recovery::{self, Known, RecoveryError, TornTail};
use super::segment;
use super::shutdown_mark;
use crate::base::vocab::{Committed, Lsn};

/// A journal that was read from its oldest segment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullScan {
    /// The first record that there is a segment for; 1 where there is none.
    pub oldest: Lsn,
    /// The last record; 0 for none.
    pub end: Lsn,
    /// What a power failure left of a batch that was never acknowledged.
    pub torn: Option<TornTail>,
}

/// Reads every record, from the oldest segment on, and hands it to `each` once it is known to be whole and in its place. Changes
/// nothing.
///
/// `snapshotted` is the newest record that a snapshot holds. Beside a running server, `committed` is what that says is committed:
/// all records up to there must exist, and what is behind is not read.
///
/// # Errors
/// [`RecoveryError::Disk`]; [`RecoveryError::Corrupt`], after all good records before it were handed on.
pub fn full_scan(
    directory: &Directory,
    snapshotted: Lsn,
    committed: Option<Committed>,
    each: impl FnMut(&Record),
) -> Result<FullScan, RecoveryError> {
    let segments = segment::list(directory)?;
    let closed = shutdown_mark::read(directory)?.unwrap_or_default();
    let oldest = segments.first().copied().unwrap_or(Lsn(1));
    let last =
        committed.map_or(Lsn(if segments.is_empty() { snapshotted.0 } else { u64::MAX }), |committed| committed.0);
    if last < oldest {
        return Ok(FullScan { oldest, end: Lsn(oldest.0 - 1), torn: None });
    }
    let scanned = recovery::scan(directory, oldest, Known { snapshotted, closed, committed }, each)?;
    Ok(FullScan { oldest, end: scanned.end, torn: scanned.torn })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::recovery::{Damage, Slot, Witness};
    use crate::store::journal::test_support::{append, directory_on, one_by_one, place, record, segment_file};
    use crate::store::journal::{Writer, disk::Disk};

    fn scan(
        disk: &crate::store::journal::disk::forgetful::Forgetful,
        snapshotted: u64,
        committed: Option<u64>,
    ) -> (Result<FullScan, RecoveryError>, Vec<Record>) {
        let mut records = Vec::new();
        let each = |record: &Record| records.push(record.clone());
        let scanned = full_scan(&directory_on(disk), Lsn(snapshotted), committed.map(|lsn| Committed(Lsn(lsn))), each);
        (scanned, records)
    }

    #[test]
    fn every_record_from_the_oldest_segment_on_is_handed_over() {
        let disk = one_by_one(24);
        let (scanned, records) = scan(&disk, 0, None);
        assert_eq!(scanned.unwrap(), FullScan { oldest: Lsn(1), end: Lsn(24), torn: None });
        assert_eq!(records, (1..=24).map(|lsn| record(lsn).into()).collect::<Vec<_>>());
        disk.remove(&segment_file(1)).unwrap();
        let (scanned, records) = scan(&disk, 0, None);
        assert_eq!(scanned.unwrap(), FullScan { oldest: Lsn(11), end: Lsn(24), torn: None });
        assert_eq!(records, (11..=24).map(|lsn| record(lsn).into()).collect::<Vec<_>>());
    }

    #[test]
    fn beside_a_server_nothing_behind_what_is_committed_is_read_and_all_before_must_be_there() {
        let disk = one_by_one(24);
        let (path, offset) = place(24);
        disk.tamper(&path, |bytes| bytes[offset..].fill(0));
        for committed in [0, 1, 9, 10, 11, 23] {
            let (scanned, records) = scan(&disk, 0, Some(committed));
            assert_eq!(scanned.unwrap(), FullScan { oldest: Lsn(1), end: Lsn(committed), torn: None });
            assert_eq!(records.len() as u64, committed);
        }
        let (scanned, records) = scan(&disk, 0, None);
        assert_eq!((scanned.unwrap().end, records.len()), (Lsn(23), 23), "by itself it looks whole");
        for (snapshotted, committed, witness) in
            [(0, Some(24), Witness::Server(Lsn(24))), (24, None, Witness::Snapshot(Lsn(24)))]
        {
            let (scanned, records) = scan(&disk, snapshotted, committed);
            let Err(RecoveryError::Corrupt { lsn, damage, .. }) = scanned else { panic!("{scanned:?}") };
            assert_eq!((lsn, damage), (Lsn(24), Damage::Slot { slot: Slot::Zero, witness }));
            assert_eq!(records.len(), 23);
        }
        assert_eq!(scan(&disk, 23, None).0.unwrap().end, Lsn(23));
    }

    #[test]
    fn a_journal_without_segments_ends_where_its_snapshot_does() {
        let disk = one_by_one(3);
        [1, 11].iter().for_each(|&first| _ = disk.remove(&segment_file(first)));
        assert_eq!(scan(&disk, 0, None).0.unwrap(), FullScan { oldest: Lsn(1), end: Lsn(0), torn: None });
        assert!(matches!(scan(&disk, 3, None).0, Err(RecoveryError::Corrupt { lsn: Lsn(1), .. })));
    }

    #[test]
    fn a_torn_tail_is_reported_and_left() {
        let disk = one_by_one(5);
        let mut writer = Writer::resume(&directory_on(&disk), Lsn(5)).unwrap();
        append(&mut writer, 2);
        drop(writer);
        let (path, offset) = place(6);
        disk.tamper(&path, |bytes| bytes[offset + 40] ^= 1);
        let mut before = Vec::new();
        disk.tamper(&path, |bytes| before.clone_from(bytes));
        let scanned = scan(&disk, 0, None).0.unwrap();
        let torn = scanned.torn.unwrap();
        assert_eq!((scanned.end, torn.from, torn.slots, torn.missing_bytes), (Lsn(5), Lsn(6), 2, 0));
        disk.tamper(&path, |bytes| assert!(*bytes == before));
    }
}
