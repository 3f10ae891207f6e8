//! Cutting off what no journal goes on with: zeros in its place, made durable before anything is written there.

use super::scan::layout;
use super::{DiskError, RecoveryError};
use crate::journal::directory::Directory;
use crate::journal::error::Step;
use crate::journal::segment::{CHUNK_BYTES, Segment, State, bytes_of_segment, first_of, offset_of};
use crate::vocab::Lsn;

/// Makes zeros of everything from record `from` on. May be interrupted anywhere and begun again: it only takes away what is
/// no witness of anything.
pub fn cut(directory: &Directory, from: Lsn) -> Result<(), RecoveryError> {
    let per_segment = directory.records_per_segment();
    let here = first_of(from, per_segment);
    // The later segments first: what is cut must not be reachable from records that are written over the first cut one.
    for (first, state) in layout(directory, here, Lsn(u64::MAX))?.into_iter().rev() {
        let Some(segment) = Segment::open(directory, first)? else { continue };
        let start = first.max(from);
        if start == first && state != State::Prepared {
            segment.write_header(directory, State::Prepared)?;
        }
        wipe(&segment, offset_of(start, per_segment), bytes_of_segment(per_segment))?;
    }
    Ok(())
}

/// Writes zeros over what is not zero from byte `from` on, fills the file up to `end`, and syncs it.
pub fn wipe(segment: &Segment, from: u64, end: u64) -> Result<(), DiskError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let zeros = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
        if filled < length || buffer[..length] != zeros[..length] {
            segment.file.write_at(&zeros[..length], at).step("clear the end of", &segment.path)?;
        }
        at += length as u64;
    }
    segment.file.sync_all().step("sync", &segment.path)
}
