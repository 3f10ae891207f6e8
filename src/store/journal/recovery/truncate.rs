//! Truncating a torn tail: zeros take its place, durably, before anything is written there. Before that its bytes are
//! copied: it may be an acknowledged batch that was damaged later, which cannot be told from a torn one.

use std::ops::ControlFlow;

use super::error::RecoveryError;
use super::slots::{list_segments, read_slots};
use crate::base::limits::{MAX_TORN_TAIL_BYTES, MAX_TORN_TAILS};
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::quarantine::{KeptTail, Quarantine};
use crate::store::journal::record::RECORD_BYTES;
use crate::store::journal::segment::{CHUNK_BYTES, Segment, State, bytes_of_segment, chunks, first_of, offset_of};

/// The folder under the data directory where torn tails are kept.
const FOLDER: &str = "torn";

/// Overwrites everything from record `from` on with zeros, and keeps a copy; `now` is in seconds since 1970. May be interrupted anywhere
/// and begun again: it removes only what is no witness, and only once that is copied.
pub fn truncate(directory: &Directory, from: Lsn, now: u64) -> Result<KeptTail, RecoveryError> {
    let per_segment = directory.records_per_segment();
    let segments = list_segments(directory, first_of(from, per_segment), Lsn(u64::MAX))?;
    let kept = keep(directory, &segments, from, now)?;
    wipe_all(directory, segments, from)?;
    Ok(kept)
}

/// Overwrites everything behind record `keep` with zeros, and keeps no copy. From the newest segment on, each durable before the next, so
/// that an interruption leaves no segment behind one that is cut; done again it comes to the same end.
pub fn cut_behind(directory: &Directory, keep: Lsn) -> Result<(), RecoveryError> {
    let from = Lsn(keep.0 + 1);
    let segments = list_segments(directory, first_of(from, directory.records_per_segment()), Lsn(u64::MAX))?;
    Ok(wipe_all(directory, segments, from)?)
}

fn wipe_all(directory: &Directory, segments: Vec<(Lsn, State)>, from: Lsn) -> Result<(), DiskError> {
    let per_segment = directory.records_per_segment();
    // The later segments first: what is truncated must not be reachable from records that are written in place of the first one.
    for (first, state) in segments.into_iter().rev() {
        let Some(segment) = Segment::open(directory, first)? else { continue };
        let start = first.max(from);
        if start == first && state != State::Prepared {
            segment.write_header(directory, State::Prepared)?;
        }
        wipe(&segment, offset_of(start, per_segment), bytes_of_segment(per_segment))?;
    }
    Ok(())
}

/// Copies what is not zero from record `from` on into files, durably, up to the largest size that is kept.
fn keep(directory: &Directory, segments: &[(Lsn, State)], from: Lsn, now: u64) -> Result<KeptTail, DiskError> {
    let mut quarantine = Quarantine::new(directory, FOLDER);
    let mut kept = KeptTail::default();
    for &(first, _) in segments {
        let Some(segment) = Segment::open(directory, first)? else { continue };
        let start = first.max(from);
        let offset = offset_of(start, directory.records_per_segment());
        let bytes = end_of_contents(directory, &segment, start)? - offset;
        let fits = bytes.min(MAX_TORN_TAIL_BYTES - kept.bytes);
        if fits > 0 {
            // The time first, and as many digits as it will ever have: the names come in order.
            let name = format!("{now:012}-from-record-{start:020}", start = start.0);
            kept.files.push(quarantine.copy_in(&segment, offset, offset + fits, &name)?);
        }
        kept.bytes += fits;
        kept.left_out += bytes - fits;
    }
    if quarantine.made().is_some() {
        quarantine.keep_last(MAX_TORN_TAILS.max(kept.files.len()))?;
    }
    Ok(kept)
}

/// The byte behind the last slot from record `from` on that is not zero; in a file that is too short, its end may be behind that.
pub fn end_of_contents(directory: &Directory, segment: &Segment, from: Lsn) -> Result<u64, DiskError> {
    let per_segment = directory.records_per_segment();
    let mut end = offset_of(from, per_segment);
    let ended: ControlFlow<()> = read_slots(directory, segment, from, |at, contents| {
        if contents.is_some_and(|bytes| *bytes != [0; RECORD_BYTES]) {
            end = offset_of(at, per_segment) + RECORD_BYTES as u64;
        }
        ControlFlow::Continue(())
    })?;
    debug_assert!(ended.is_continue());
    // The last bytes may be part of a slot.
    let length = segment.file.size().step("measure", &segment.path)?;
    Ok(if length < bytes_of_segment(per_segment) { end.max(length) } else { end })
}

/// Writes zeros over what is not zero from byte `from` on, fills the file up to `end`, and syncs it.
pub fn wipe(segment: &Segment, from: u64, end: u64) -> Result<(), DiskError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let zeros = vec![0; CHUNK_BYTES];
    for (at, length) in chunks(from, end) {
        let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
        if filled < length || buffer[..length] != zeros[..length] {
            segment.file.write_at(&zeros[..length], at).step("clear the end of", &segment.path)?;
        }
    }
    segment.file.sync_all().step("sync", &segment.path)
}
