//! What can be wrong with a journal.

use std::path::PathBuf;

use super::decision::Slot;
use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::assembly::AssemblyError;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::DiskError;
use crate::store::journal::record::RecordError;
use crate::store::journal::segment::{HeaderError, first_of, offset_of};
use crate::store::journal::snapshot::Damaged;

/// What is wrong with a corrupt journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The slot's contents.
    #[error("{}, although {witness} shows that it had been durable", describe(*.slot))]
    Slot {
        /// Its contents.
        slot: Slot,
        /// What shows that it had been durable.
        witness: Witness,
    },
    /// A record that checks and says what cannot be.
    #[error("the record's checksum is right, but {0}")]
    Senseless(RecordError),
    /// A record that cannot follow those before it, which are of one write to the key-value store.
    #[error("the record's checksum is right, but {0}")]
    Write(AssemblyError),
    /// A record of an account that was never opened.
    #[error("the record's checksum is right, but it changes account {0}, which was never opened")]
    Account(u32),
    /// A record with which the sums over all accounts cannot be.
    #[error(
        "the record's checksum is right, but with it more was deposited, or withdrawn, than there can be: all openings and \
         deposits together come to {} at most, and no more can go out",
        Cents(i64::MAX)
    )]
    Totals,
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
    /// Something that had been acknowledged is damaged. An operator must decide to start without it.
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

impl RecoveryError {
    /// Damage at record `lsn`.
    pub(crate) fn corrupt(directory: &Directory, lsn: Lsn, damage: Damage) -> Self {
        let per_segment = directory.records_per_segment();
        let path = directory.segment_path(first_of(lsn, per_segment));
        RecoveryError::Corrupt { path, offset: offset_of(lsn, per_segment), lsn, damage }
    }
}

/// What is left of a batch that was never acknowledged.
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
