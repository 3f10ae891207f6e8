//! What a reply shows, and what may be shown.

use crate::base::vocab::{Committed, Lsn};

/// What a reply shows: operations up to one, and, if it reads, what was so at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// The last operation whose result it shows; it must be committed.
    pub lsn: Lsn,
    /// The round of reads that must have confirmed that this instance is the primary; 0 for none.
    ///
    /// That what is shown is committed is not enough: an instance that is cut off shows what was, and others have gone on.
    pub round: u64,
}

impl Shows {
    /// Operation `lsn`, and nothing that another could have changed since.
    #[must_use]
    pub fn operation(lsn: Lsn) -> Shows {
        Shows { lsn, round: 0 }
    }

    /// What both show.
    #[inline]
    #[must_use]
    pub fn max(self, other: Shows) -> Shows {
        Shows { lsn: self.lsn.max(other.lsn), round: self.round.max(other.round) }
    }

    /// Whether all that `other` shows is shown here as well.
    #[inline]
    #[must_use]
    pub fn covers(self, other: Shows) -> bool {
        self.lsn >= other.lsn && self.round >= other.round
    }
}

/// What may be shown now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// How far operations are committed.
    pub committed: Committed,
    /// The last round of reads that was confirmed.
    pub rounds: u64,
}

impl Visible {
    /// Whether a reply that shows this may leave.
    #[inline]
    #[must_use]
    pub fn includes(self, shows: Shows) -> bool {
        self.committed.includes(shows.lsn) && shows.round <= self.rounds
    }
}
