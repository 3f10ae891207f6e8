//! Truncating what the members of a cluster have not agreed on: the log is cut behind a record that stays.
//!
//! What is cut was never acknowledged: no reply leaves before its record is committed, and nothing committed is ever cut. Nor is it lost by an
//! accident that somebody might want to look into: another member's records take its place. So no copy of it is kept, unlike of a torn tail.
//!
//! Whoever orders a truncation has first made durable that it is to happen, the *intent*. A power failure in the middle leaves segments
//! of which parts are zero, and later records may say of them that they had been durable. So a start finishes the intent before it
//! looks at the journal at all.

use super::directory::Directory;
use super::error::DiskError;
use super::recovery::{self, RecoveryError};
use super::segment;
use super::shutdown_mark;
use super::snapshot::{self, Snapshot};
use crate::base::vocab::Lsn;

/// Why a journal cannot be truncated; nothing was changed, unless a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TruncationError {
    /// A file could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment that is to be cut is damaged, or missing.
    #[error(transparent)]
    Journal(RecoveryError),
    /// A snapshot holds what is to be cut, and a snapshot holds only what is committed.
    #[error(
        "the journal is to be cut behind record {keep}, and a snapshot holds record {newest}, which was committed; the order to cut is not this directory's: put DATA/raft back from a copy that goes with it, or start with an empty directory"
    )]
    Snapshot {
        /// The last record that is to stay.
        keep: Lsn,
        /// The newest record that a snapshot holds.
        newest: Lsn,
    },
    /// An orderly stop said of what is to be cut that it was committed.
    #[error(
        "the journal is to be cut behind record {keep}, and DATA/closed says that record {closed} was committed; the order to cut is not this directory's: put DATA/raft back from a copy that goes with it, or start with an empty directory"
    )]
    Closed {
        /// The last record that is to stay.
        keep: Lsn,
        /// The record that the mark names.
        closed: Lsn,
    },
    /// The records up to the one that is to stay are gone.
    #[error("the journal is to be cut behind record {keep}, and it begins with record {oldest}")]
    BeforeOldest {
        /// The last record that is to stay.
        keep: Lsn,
        /// The oldest record that there is a segment for.
        oldest: Lsn,
    },
}

impl From<RecoveryError> for TruncationError {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Disk(failure) => TruncationError::Disk(failure),
            other => TruncationError::Journal(other),
        }
    }
}

/// Finishes a truncation whose intent is there, before [`recover`](super::recover) is called: cuts everything behind record `keep`. It may
/// have been begun, finished, or not begun; and this may be interrupted anywhere and called again.
///
/// # Errors
/// [`TruncationError`].
pub fn finish_truncation(directory: &Directory, keep: Lsn) -> Result<(), TruncationError> {
    check(directory, keep)?;
    Ok(recovery::cut_behind(directory, keep)?)
}

/// Refuses to cut what was committed.
pub(super) fn check(directory: &Directory, keep: Lsn) -> Result<(), TruncationError> {
    // A damaged mark is not believed; recovery names it.
    let closed = shutdown_mark::read(directory)?.unwrap_or_default();
    if closed > keep {
        return Err(TruncationError::Closed { keep, closed });
    }
    for lsn in snapshot::list(directory)? {
        let newest = Snapshot::open(directory, lsn)?.map_or(Lsn(0), |snapshot| snapshot.newest);
        if newest > keep {
            return Err(TruncationError::Snapshot { keep, newest });
        }
    }
    match segment::list(directory)?.first() {
        Some(&oldest) if oldest.0 > keep.0 + 1 => Err(TruncationError::BeforeOldest { keep, oldest }),
        _ => Ok(()),
    }
}
