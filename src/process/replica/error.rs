//! Why a replica process ends.

use crate::base::vocab::Lsn;
use crate::process::replica::core::LoadError;
use crate::store::cluster::{SecretError, StateFileError};
use crate::store::journal::{DiskError, ReadError, RecordError};
use crate::store::kv::applier::LogApplyError;

/// Why a replica process ends, though it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// A call failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file of the secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// DATA/raft cannot be used.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// A file of the journal cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is loaded does not fit together.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A committed record is not in the journal.
    #[error("record {0} is committed, and is not in the journal")]
    Missing(Lsn),
    /// A committed record is none.
    #[error("record {lsn} is committed, and cannot be: {source}")]
    Record {
        /// The record.
        lsn: Lsn,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A committed record is not of this ledger.
    #[error(transparent)]
    Apply(#[from] LogApplyError),
    /// Entries of the journal do not continue each other.
    #[error("the journal's entries are not those of a log: {0}")]
    Log(#[from] crate::process::replica::core::LogError),
}
