//! What is in the journal after the machine has stopped, at whatever moment it did.
//!
//! A batch is written, then synced as a whole, and only then acknowledged. A batch that was not synced may survive a power
//! failure in any subset of its sectors, so good records behind a bad one prove nothing: they may all be of one batch that
//! nobody was told of. What proves something is the `synced` field: each record carries the highest LSN that was durable when
//! it was written. So a slot that is not good, although a later record says that it had been durable, was damaged *after* it
//! had been acknowledged; without such a witness it is the torn end of the journal, and cutting it loses nothing that
//! anybody was promised. A snapshot is a witness too, for it is finished only when all that it holds is durable, and so is the
//! mark of an orderly stop.
//!
//! A witness must be a record in its own place whose checksum is right behind the one that stands before it, or, right behind
//! the slot in question, behind the checksum that its contents should have. What remains undecidable is damage to the very
//! last batch where there was no orderly stop: it looks like a tear. So what is cut as a torn tail is kept.
//!
//! [`decide`] is the whole decision. Beside it, three things are never the work of a power failure, and so always damage:
//! a header that does not check (it lies within one sector), a missing segment before an existing one (they are made in order
//! and removed from the oldest on), and a record of right checksum and senseless content.

mod behind;
mod cut;
mod scan;

use std::path::PathBuf;

pub(super) use cut::{cut, end_of_contents, wipe};
pub(super) use scan::{Known, corrupt, scan};

use super::error::DiskError;
use super::record::RecordError;
use super::segment::HeaderError;
use super::snapshot::Damaged;
use crate::base::vocab::{Cents, Lsn};

/// What stands in the first slot that is no good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// There is no such segment, nor a later one.
    Absent,
    /// Zeros.
    Zero,
    /// Something whose checksum or LSN is wrong.
    Damaged,
    /// The file ends before the slot does.
    Short,
    /// A record of right checksum that no writer can have written.
    Senseless,
}

/// What the first slot that is no good record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The journal ends there.
    CleanEnd,
    /// The journal ends there; what is left of a batch that was never acknowledged must be cut.
    TornTail,
    /// Something that had been durable is gone.
    Corrupt,
}

/// The table. `witness`: something later shows that the slot had been durable; `leftovers`: something later is not zero.
#[must_use]
pub fn decide(slot: Slot, witness: bool, leftovers: bool) -> Verdict {
    match (slot, witness, leftovers) {
        (_, true, _) | (Slot::Senseless, ..) => Verdict::Corrupt,
        (Slot::Absent | Slot::Zero, false, false) => Verdict::CleanEnd,
        (Slot::Absent | Slot::Zero, false, true) | (Slot::Damaged | Slot::Short, false, _) => Verdict::TornTail,
    }
}

/// What is wrong with a corrupt journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The slot's contents.
    #[error("{}, although {witness} shows that it had been durable", describe(*.slot))]
    Slot {
        /// What stands there.
        slot: Slot,
        /// What shows that it had been durable.
        witness: Witness,
    },
    /// A record that checks and says what cannot be.
    #[error("the record's checksum is right, but {0}")]
    Senseless(RecordError),
    /// A record of an account that was never opened.
    #[error("the record's checksum is right, but it changes account {0}, which was never opened")]
    Account(u32),
    /// A record with which the sums over all accounts cannot be.
    #[error(
        "the record's checksum is right, but with it more was deposited, or withdrawn, than there can be: all openings and \
         deposits together come to {} at most, and no more can go out",
        Cents(i64::MAX)
    )]
    Flows,
    /// The header of the segment.
    #[error("{0}")]
    Header(HeaderError),
    /// The segment was never begun, although those before it were removed as no longer needed.
    #[error("the segment was never begun, and the one before it is gone")]
    NotBegun,
    /// The segment is missing.
    #[error("the segment is missing, and what comes before or behind it is there")]
    Missing,
}

/// What shows that a record had been durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Witness {
    /// A record that was written when it was.
    #[error("record {0}")]
    Record(Lsn),
    /// A snapshot that holds it.
    #[error("a snapshot that holds record {0}")]
    Snapshot(Lsn),
    /// The mark of an orderly stop.
    #[error("the orderly stop after record {0}, which DATA/closed tells of,")]
    Stop(Lsn),
    /// The server, which runs.
    #[error("the running server, which made record {0} durable,")]
    Server(Lsn),
}

fn describe(slot: Slot) -> &'static str {
    match slot {
        Slot::Absent => "there is no segment for the record",
        Slot::Zero => "there are zeros in the record's place",
        Slot::Damaged | Slot::Senseless => "the record is damaged",
        Slot::Short => "the file ends before the record does",
    }
}

/// Why a journal cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something that had been acknowledged is damaged. Starting without it must be somebody's decision.
    #[error(
        "the journal is damaged at record {lsn}, byte {offset} of {}: {damage}. Nothing was changed. Put the file back from \
         a copy, or run `vaultctl repair`, which cuts the journal there, keeps what it removes, and says what is lost",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The byte in it.
        offset: u64,
        /// The record.
        lsn: Lsn,
        /// What is wrong.
        damage: Damage,
    },
    /// The sums of a snapshot do not go with accounts that were opened later.
    #[error(
        "the accounts opened with {opening}, and with what was deposited that is more than {}; put `format` back from a copy",
        Cents(i64::MAX)
    )]
    TooMuchOpened {
        /// What all accounts opened with together.
        opening: Cents,
    },
    /// A snapshot was good when it was looked at first, and is not any more.
    #[error("{0}; somebody writes to it")]
    SnapshotChanged(Damaged),
    /// The journal begins too late.
    #[error(
        "the journal begins with record {oldest}, and no good snapshot holds what was before (wanted: record {wanted}; \
         unusable snapshots: {}); put the missing segments or a snapshot back from a copy", damaged.len()
    )]
    BeginningGone {
        /// The oldest record that there is a segment for; 0 for none.
        oldest: Lsn,
        /// The record that should be there.
        wanted: Lsn,
        /// The snapshots that could not be used.
        damaged: Vec<Damaged>,
    },
}

/// What was left of a batch that had never been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a torn tail from record {from} on: {slots} records' places hold leftovers, {missing_bytes} bytes of the files are missing"
)]
pub struct TornTail {
    /// The first record that is gone.
    pub from: Lsn,
    /// Places of records that are not zero, from there on.
    pub slots: u64,
    /// Bytes by which segments are too short.
    pub missing_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_over_all_inputs() {
        use Slot::{Absent, Damaged, Senseless, Short, Zero};
        use Verdict::{CleanEnd, Corrupt, TornTail};
        let wanted = [
            // (slot, [no witness: nothing behind, leftovers behind; a witness: either])
            (Absent, [CleanEnd, TornTail, Corrupt, Corrupt]),
            (Zero, [CleanEnd, TornTail, Corrupt, Corrupt]),
            (Damaged, [TornTail, TornTail, Corrupt, Corrupt]),
            (Short, [TornTail, TornTail, Corrupt, Corrupt]),
            (Senseless, [Corrupt, Corrupt, Corrupt, Corrupt]),
        ];
        for (slot, verdicts) in wanted {
            let inputs = [(false, false), (false, true), (true, false), (true, true)];
            let found = inputs.map(|(witness, leftovers)| decide(slot, witness, leftovers));
            assert_eq!(found, verdicts, "{slot:?}");
        }
    }
}
