//! What stands behind the first slot that is no good record: leftovers, and witnesses that it had been durable.

use std::convert::Infallible;
use std::ops::ControlFlow;

use super::scan::{Broken, read_slots};
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::record::{self, RECORD_BYTES, RecordBytes};
use crate::store::journal::segment::{Segment, State, bytes_of_segment, first_of};

/// What was found.
#[derive(Debug, Default)]
pub struct Behind {
    /// The first record that was written when the slot was durable.
    pub witness: Option<Lsn>,
    /// Slots that are not zero.
    pub slots: u64,
    /// Those, and headers of segments that were begun.
    pub leftovers: u64,
    /// Bytes by which the slot's segment is too short.
    pub missing_bytes: u64,
}

/// Looks at all that is behind `broken`; `segments` are those that are there, in order.
pub fn look_behind(directory: &Directory, segments: &[(Lsn, State)], broken: &Broken) -> Result<Behind, DiskError> {
    let per_segment = directory.records_per_segment();
    let mut found = Behind::default();
    // The checksums that a next record may rightly continue from.
    let mut before = [broken.contents.as_ref().map(record::stored_crc), None];
    before[1] = broken.contents.as_ref().map(|bytes| record::computed_crc(bytes, broken.chain));
    let here = first_of(broken.lsn, per_segment);
    for &(first, state) in segments.iter().filter(|&&(first, _)| first >= here) {
        let Some(segment) = Segment::open(directory, first)? else { continue };
        let length = segment.file.len().step("measure", &segment.path)?;
        found.missing_bytes += bytes_of_segment(per_segment).saturating_sub(length);
        let mut from = first;
        if first == here {
            from = Lsn(broken.lsn.0 + 1);
        } else if let State::Active { previous_crc } = state {
            found.leftovers += 1;
            before[1] = Some(previous_crc);
        }
        if first_of(from, per_segment) != first {
            continue;
        }
        let read = read_slots(directory, &segment, from, |lsn, contents| -> ControlFlow<Infallible> {
            if let Some(bytes) = contents.filter(|bytes| **bytes != [0; RECORD_BYTES]) {
                found.slots += 1;
                found.leftovers += 1;
                if found.witness.is_none() && is_witness(bytes, lsn, broken.lsn, before) {
                    found.witness = Some(lsn);
                }
            }
            before = [contents.map(record::stored_crc), None];
            ControlFlow::Continue(())
        })?;
        let ControlFlow::Continue(()) = read;
    }
    Ok(found)
}

/// Whether the record in slot `lsn` is whole and was written when `durable` was durable.
fn is_witness(bytes: &RecordBytes, lsn: Lsn, durable: Lsn, before: [Option<u32>; 2]) -> bool {
    record::lsn_of(bytes) == lsn
        && record::synced_of(bytes) >= durable
        && before.into_iter().flatten().any(|chain| record::check(bytes, chain))
}
