//! The segments of a journal and the slots in them, in order.

use std::ops::ControlFlow;

use super::error::{Damage, RecoveryError};
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::record::{RECORD_BYTES, RecordBytes};
use crate::store::journal::segment::{self, CHUNK_BYTES, Segment, State, bytes_of_segment, chunks, offset_of};

/// The segments from that of record `start` to that of record `last`, each with its state, all of them there and with good headers.
pub fn list_segments(directory: &Directory, start: Lsn, last: Lsn) -> Result<Vec<(Lsn, State)>, RecoveryError> {
    let mut found = Vec::new();
    let mut expected = start;
    for first in segment::list(directory)?.into_iter().filter(|&first| first >= start && first <= last) {
        let missing = |lsn| Err(RecoveryError::corrupt(directory, lsn, Damage::Missing));
        if first != expected {
            return missing(expected);
        }
        let Some(segment) = Segment::open(directory, first)? else { return missing(first) };
        match segment.header(directory)? {
            Ok(state) => found.push((first, state)),
            Err(wrong) => {
                return Err(RecoveryError::Corrupt {
                    path: segment.path,
                    offset: 0,
                    lsn: first,
                    damage: Damage::Header(wrong),
                });
            }
        }
        expected = Lsn(first.0 + directory.records_per_segment());
    }
    Ok(found)
}

/// A slot's contents: `None` where the file ends before the slot does.
pub type Contents<'a> = Option<&'a RecordBytes>;

/// Calls `each` with every slot of `segment` from record `from` on, until it breaks off.
pub fn read_slots<B>(
    directory: &Directory,
    segment: &Segment,
    from: Lsn,
    mut each: impl FnMut(Lsn, Contents<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, DiskError> {
    let per_segment = directory.records_per_segment();
    let end = bytes_of_segment(per_segment);
    let mut lsn = from;
    let mut buffer = vec![0; CHUNK_BYTES];
    for (at, length) in chunks(offset_of(from, per_segment), end) {
        let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
        for (place, bytes) in buffer[..length].chunks_exact(RECORD_BYTES).enumerate() {
            let whole = (place + 1) * RECORD_BYTES <= filled;
            if let ControlFlow::Break(done) = each(lsn, bytes.first_chunk().filter(|_| whole)) {
                return Ok(ControlFlow::Break(done));
            }
            lsn = Lsn(lsn.0 + 1);
        }
    }
    Ok(ControlFlow::Continue(()))
}
