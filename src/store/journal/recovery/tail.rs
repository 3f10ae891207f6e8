//! What is behind the first slot that is no good record: leftovers, and witnesses that it had been durable.

use std::convert::Infallible;
use std::ops::ControlFlow;

use super::decision::Slot;
use super::error::Damage;
use super::slots::{Contents, read_slots};
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::record::{self, RECORD_BYTES, RecordBytes};
use crate::store::journal::segment::{Segment, State, bytes_of_segment, first_of};

/// The first slot that is no good record.
pub struct BadSlot {
    pub lsn: Lsn,
    pub slot: Slot,
    pub damage: Option<Damage>,
    /// Its contents, if the file is long enough.
    pub contents: Option<RecordBytes>,
    /// The checksum before it.
    pub chain: u32,
}

impl BadSlot {
    /// The slot of record `lsn`, which holds `contents`; `damage` where its checksum is right.
    pub fn new(lsn: Lsn, contents: Contents<'_>, damage: Option<Damage>, chain: u32) -> Self {
        let slot = match contents {
            _ if damage.is_some() => Slot::Senseless,
            None => Slot::Short,
            Some(bytes) if *bytes == [0; RECORD_BYTES] => Slot::Zero,
            Some(_) => Slot::Damaged,
        };
        BadSlot { lsn, slot, damage, contents: contents.copied(), chain }
    }
}

/// What is behind it.
#[derive(Debug, Default)]
pub struct Tail {
    /// The first record that was written when the slot was durable.
    pub witness: Option<Lsn>,
    /// Slots that are not zero.
    pub slots: u64,
    /// Those, and headers of segments that were begun.
    pub leftovers: u64,
    /// Bytes by which the slot's segment is too short.
    pub missing_bytes: u64,
}

/// Reads all that is behind `bad`; `segments` are those that exist, in order.
pub fn read_tail(directory: &Directory, segments: &[(Lsn, State)], bad: &BadSlot) -> Result<Tail, DiskError> {
    let per_segment = directory.records_per_segment();
    let mut tail = Tail::default();
    // The checksums that a next record may rightly continue from.
    let mut before = [bad.contents.as_ref().map(record::stored_crc), None];
    before[1] = bad.contents.as_ref().map(|bytes| record::computed_crc(bytes, bad.chain));
    let here = first_of(bad.lsn, per_segment);
    for &(first, state) in segments.iter().filter(|&&(first, _)| first >= here) {
        let Some(segment) = Segment::open(directory, first)? else { continue };
        let length = segment.file.size().step("measure", &segment.path)?;
        tail.missing_bytes += bytes_of_segment(per_segment).saturating_sub(length);
        let mut from = first;
        if first == here {
            from = Lsn(bad.lsn.0 + 1);
        } else if let State::Active { previous_crc } = state {
            tail.leftovers += 1;
            before[1] = Some(previous_crc);
        }
        if first_of(from, per_segment) != first {
            continue;
        }
        let read = read_slots(directory, &segment, from, |lsn, contents| -> ControlFlow<Infallible> {
            if let Some(bytes) = contents.filter(|bytes| **bytes != [0; RECORD_BYTES]) {
                tail.slots += 1;
                tail.leftovers += 1;
                if tail.witness.is_none() && is_witness(bytes, lsn, bad.lsn, before) {
                    tail.witness = Some(lsn);
                }
            }
            before = [contents.map(record::stored_crc), None];
            ControlFlow::Continue(())
        })?;
        let ControlFlow::Continue(()) = read;
    }
    Ok(tail)
}

/// Whether the record in slot `lsn` is whole and was written when `durable` was durable.
fn is_witness(bytes: &RecordBytes, lsn: Lsn, durable: Lsn, before: [Option<u32>; 2]) -> bool {
    record::lsn_of(bytes) == lsn
        && record::synced_of(bytes) >= durable
        && before.into_iter().flatten().any(|chain| record::check(bytes, chain))
}
