//! Reads the whole journal in order, for audits; also while a writer is at work.

use super::directory::Directory;
use super::record::Record;
use super::recovery::{self, Known, RecoveryError, TornTail};
use super::segment;
use super::shutdown_mark;
use crate::base::vocab::Lsn;

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
/// `snapshotted` is the newest record that a snapshot holds. Beside a running server, `durable` is what that says is durable: all
/// records up to there must exist, and what is behind is not read.
///
/// # Errors
/// [`RecoveryError::Disk`]; [`RecoveryError::Corrupt`], after all good records before it were handed on.
pub fn full_scan(
    directory: &Directory,
    snapshotted: Lsn,
    durable: Option<Lsn>,
    each: impl FnMut(&Record),
) -> Result<FullScan, RecoveryError> {
    let segments = segment::list(directory)?;
    let closed = shutdown_mark::read(directory)?.unwrap_or_default();
    let oldest = segments.first().copied().unwrap_or(Lsn(1));
    let last = durable.unwrap_or(Lsn(if segments.is_empty() { snapshotted.0 } else { u64::MAX }));
    if last < oldest {
        return Ok(FullScan { oldest, end: Lsn(oldest.0 - 1), torn: None });
    }
    let scanned = recovery::scan(directory, oldest, Known { snapshotted, closed, durable }, each)?;
    Ok(FullScan { oldest, end: scanned.end, torn: scanned.torn })
}
