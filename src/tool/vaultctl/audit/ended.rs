//! Why an audit has not come to its end.

use crate::base::vocab::Lsn;
use crate::store::journal::{Directory, DiskError, RecoveryError, segment};

/// The first thing that is wrong, or a file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// Something is wrong, with this record if it is one.
    #[error("{what}")]
    Wrong { what: String, lsn: Option<Lsn> },
    /// A file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Ended {
    /// Something is wrong; [`Ended::at`] says with which record.
    pub(super) fn wrong(what: impl Into<String>) -> Ended {
        Ended::Wrong { what: what.into(), lsn: None }
    }

    /// What is wrong is so with record `lsn`, although it was found out later.
    pub(super) fn of(self, lsn: Lsn) -> Ended {
        let Ended::Wrong { what, .. } = self else { return self };
        Ended::Wrong { what, lsn: Some(lsn) }
    }

    /// What is wrong is so with record `lsn`, unless [`Ended::of`] has named another: names it, and where it stands.
    pub(super) fn at(self, lsn: Lsn, directory: &Directory) -> Ended {
        let Ended::Wrong { what, lsn: of } = self else { return self };
        let lsn = of.unwrap_or(lsn);
        let per_segment = directory.records_per_segment();
        // What is wrong before the first record is wrong at the beginning of its file.
        let path = directory.segment_path(segment::first_of(lsn.max(Lsn(1)), per_segment));
        let offset = if lsn == Lsn(0) { 0 } else { segment::offset_of(lsn, per_segment) };
        Ended::Wrong { what: format!("record {lsn}, byte {offset} of {}: {what}", path.display()), lsn: Some(lsn) }
    }
}

impl From<RecoveryError> for Ended {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Disk(error) => Ended::Disk(error),
            RecoveryError::Corrupt { lsn, .. } => Ended::Wrong { what: error.to_string(), lsn: Some(lsn) },
            other => Ended::wrong(other.to_string()),
        }
    }
}
