//! What can go wrong with a snapshot that is sent, taken in, or put in place.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::assembly::AssemblyError;
use crate::store::journal::error::DiskError;
use crate::store::journal::reader::ReadError;
use crate::store::journal::record::RecordError;
use crate::store::journal::recovery::RecoveryError;
use crate::store::journal::shutdown_mark::DamagedMark;
use crate::store::journal::snapshot::{Damaged, SnapshotError};
use crate::store::journal::writer::WriterError;

/// Why a snapshot cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record is damaged, or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The snapshot was damaged after its transfer had begun.
    #[error(transparent)]
    Snapshot(Damaged),
    /// A record was removed, or cut, after the transfer had begun.
    #[error("record {lsn}, which is to be sent, is not in the journal under {} any more; begin the transfer anew", path.display())]
    Gone {
        /// The record.
        lsn: Lsn,
        /// The data directory.
        path: PathBuf,
    },
}

/// What is wrong with a snapshot that comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is something else.
    #[error("it does not begin as a snapshot does")]
    Magic,
    /// Of a version that this program does not know.
    #[error("it is of version {0}, which this program does not know")]
    Version(u32),
    /// The checksum of the header is wrong.
    #[error("its header's checksum is wrong")]
    HeaderCrc,
    /// The sender has other accounts.
    #[error(
        "its sender has {found} accounts that opened with {opening} together, and there are {accounts} here that opened with {total}"
    )]
    Accounts {
        /// Accounts of the sender.
        found: u32,
        /// What they opened with.
        opening: Cents,
        /// Accounts here.
        accounts: u32,
        /// What they opened with.
        total: Cents,
    },
    /// The sender has segments of another size.
    #[error(
        "its sender has segments of {found} records, and those here have {wanted}; --segment-records must be the same for all members"
    )]
    Segments {
        /// Records of a segment of the sender.
        found: u64,
        /// Records of a segment here.
        wanted: u64,
    },
    /// It ends with another record than was agreed on.
    #[error("it ends with record {found}, and one up to record {wanted} was announced")]
    Last {
        /// Its last record.
        found: Lsn,
        /// The last record that was announced.
        wanted: Lsn,
    },
    /// It has another length than was announced.
    #[error("it should have {found} bytes, and {announced} were announced")]
    Length {
        /// Bytes that follow from its header.
        found: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// Its header says what cannot be.
    #[error("its header's checksum is right, but its {0} cannot be")]
    Senseless(&'static str),
    /// What an account holds cannot be, or is newer than the last record.
    #[error("what it says of account {0} cannot be")]
    Account(u32),
    /// A block of keys and values that is too long, or that does not end with the bytes that were announced.
    #[error("{0} bytes of keys and values cannot come next")]
    Pairs(u64),
    /// A key with its value that cannot be, or that is newer than the cut.
    #[error("what it says of a key cannot be")]
    Pair,
    /// A record that cannot be.
    #[error("record {lsn} cannot be: {why}")]
    Record {
        /// The record that should be there.
        lsn: Lsn,
        /// What is wrong with it.
        why: RecordError,
    },
    /// Another record than the next one.
    #[error("record {found} is in the place of record {expected}")]
    Order {
        /// The record that should be there.
        expected: Lsn,
        /// The one that is.
        found: Lsn,
    },
    /// A record that is sealed for another journal.
    #[error("record {0} is sealed")]
    Sealed(Lsn),
    /// A record that cannot follow those before it, which are of one write to the key-value store.
    #[error("record {lsn} cannot be: {why}")]
    Write {
        /// The record.
        lsn: Lsn,
        /// Why not.
        why: AssemblyError,
    },
    /// Its term, index, or end of an entry does not go with the record before, or the last one ends no entry.
    #[error("record {0} does not continue the log that it is of")]
    Entry(Lsn),
    /// More bytes came than were announced.
    #[error("more came than the {0} bytes that were announced")]
    Long(u64),
    /// It ended before all had come.
    #[error("it ended {0} bytes before its end")]
    Short(u64),
    /// Its checksum is wrong.
    #[error("its checksum is wrong")]
    Crc,
}

/// Why a snapshot that comes is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// There is too little room on the disk; nothing was written.
    #[error("{} has {free} bytes free, and a snapshot from another member needs {needed}; make room", path.display())]
    NoRoom {
        /// The data directory.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A directory that it would take the place of is elsewhere; nothing was written.
    #[error(
        "{} is a symbolic link or a mount point, and a snapshot from another member cannot take its place; move it into the data directory, or link the data directory as a whole", path.display()
    )]
    Elsewhere {
        /// The directory.
        path: PathBuf,
    },
    /// The disk became full.
    #[error("no room for a snapshot from another member: {0}")]
    Full(Arc<DiskError>),
    /// What came is damaged, or does not belong here.
    #[error("a snapshot from another member is not taken into {}: at byte {at}, {flaw}", path.display())]
    Damaged {
        /// Where it was written to.
        path: PathBuf,
        /// The byte of the stream.
        at: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// What was written cannot be read back as a start reads it.
    #[error("a snapshot from another member was written to {}, and cannot be read back: {why}", path.display())]
    Unreadable {
        /// Where it was written to.
        path: PathBuf,
        /// What recovery says of it.
        why: String,
    },
    /// A file could not be used.
    #[error(transparent)]
    Disk(DiskError),
    /// The journal could not be written.
    #[error(transparent)]
    Writer(WriterError),
    /// The snapshot file could not be written.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// It was used again after an error.
    #[error("a snapshot from another member goes on although it was refused; begin it anew")]
    Over,
}

/// What became of a snapshot that was not taken in: what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFailure {
    /// There is no room for it.
    NoRoom,
    /// It is damaged, out of order, or does not belong here.
    Damaged,
    /// The disk failed, or something else on this side.
    Disk,
}

impl SinkError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn failure(&self) -> SinkFailure {
        match self {
            SinkError::NoRoom { .. } | SinkError::Full(_) => SinkFailure::NoRoom,
            SinkError::Damaged { .. } | SinkError::Unreadable { .. } | SinkError::Over => SinkFailure::Damaged,
            SinkError::Elsewhere { .. } | SinkError::Disk(_) | SinkError::Writer(_) | SinkError::Snapshot(_) => {
                SinkFailure::Disk
            }
        }
    }
}

impl From<DiskError> for SinkError {
    fn from(error: DiskError) -> Self {
        if error.is_no_space() { SinkError::Full(error.into()) } else { SinkError::Disk(error) }
    }
}

impl From<WriterError> for SinkError {
    fn from(error: WriterError) -> Self {
        match error {
            WriterError::NoSpace(failure) => SinkError::Full(failure.into()),
            WriterError::Disk(failure) => failure.into(),
            other => SinkError::Writer(other),
        }
    }
}

impl From<SnapshotError> for SinkError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Disk(failure) => failure.into(),
            other => SinkError::Snapshot(other),
        }
    }
}

impl SinkError {
    pub(super) fn unreadable(path: PathBuf, error: RecoveryError) -> Self {
        match error {
            RecoveryError::Disk(failure) => failure.into(),
            other => SinkError::Unreadable { path, why: other.to_string() },
        }
    }
}

/// Why what came from another member cannot take the place of journal and snapshots.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be used. It can be tried again.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is there is not whole.
    #[error(
        "{} is to take the place of journal and snapshots, and is not whole; the order is not this directory's: put DATA/raft back from a copy that goes with it, or start with an empty directory", path.display()
    )]
    NotWhole {
        /// The directory.
        path: PathBuf,
    },
    /// The mark that says that it is whole cannot be read.
    #[error(transparent)]
    Mark(#[from] DamagedMark),
    /// What is there ends with another record.
    #[error(
        "{} is to take the place of journal and snapshots up to record {wanted}, and ends with record {found}; the order is not this directory's: put DATA/raft back from a copy that goes with it, or start with an empty directory", path.display()
    )]
    OtherEnd {
        /// The directory.
        path: PathBuf,
        /// Its last record.
        found: Lsn,
        /// The one that it should end with.
        wanted: Lsn,
    },
}
