//! Why the server did not start, or could not go on.

use std::io;
use std::path::PathBuf;

use super::rpcbind::RpcbindError;
use super::start::file_systems::FileSystemError;
use super::start::ownership::OwnershipError;
use super::start::ports::PortError;
use super::start::shortage::Shortage;
use crate::base::config::ConfigError;
use crate::base::crash_point;
use crate::base::vocab::Cents;
use crate::ipc::IpcError;
use crate::store::access_log::LogError;
use crate::store::cache_channel::ChannelError;
use crate::store::cluster::{SecretError, StateFileError};
use crate::store::journal::{
    AccountFileError, DirectoryError, DiskError, InstallError, PrincipalsError, RecoveryError, TruncationError,
};
use crate::store::kv::restore::RestoreError;
use crate::store::users::UsersError;

/// Why the server did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A child process cannot be started. Only a start of the server fails of that.
    #[error("{what} cannot be started: {why}")]
    NotStarted {
        /// Which one.
        what: String,
        /// Why.
        why: String,
    },
    /// A file system cannot be used.
    #[error(transparent)]
    FileSystem(#[from] FileSystemError),
    /// A service cannot serve what it is to serve.
    #[error("{name}: {why}")]
    Service {
        /// Which service.
        name: &'static str,
        /// Why not, and which option changes that.
        why: String,
    },
    /// The data directory is that of a member of a cluster.
    #[error(
        "{} belongs to a member of a cluster, and what it holds may be behind the others: start with --replica-id, --peers and \
         --cluster-secret", .0.display()
    )]
    MemberAlone(PathBuf),
    /// The journal has keys and values, and the server would have none.
    #[error("the journal holds keys and values, and the key-value store is off: start with --kv-port")]
    KeyValuesOff,
    /// The key-value table cannot be filled.
    #[error(transparent)]
    KeyValues(#[from] RestoreError),
    /// A service is not registered, and is to be.
    #[error("--rpcbind require: {0}; start rpcbind, or choose --rpcbind try or no")]
    Rpcbind(#[from] RpcbindError),
    /// DATA/raft cannot be used.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// A truncation of the log that was ordered cannot be finished.
    #[error(transparent)]
    Truncation(#[from] TruncationError),
    /// What another member sent cannot take the place of journal and snapshots.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The file of the cluster's secret cannot be used.
    #[error("--cluster-secret: {0}")]
    Secret(#[from] SecretError),
    /// Something that it needs is short.
    #[error(transparent)]
    Shortage(#[from] Shortage),
    /// The users file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// This master may not be the one.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// A port was taken since it was looked for.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A kernel object cannot be made or used.
    #[error(transparent)]
    Ipc(#[from] IpcError),
    /// The event loop or a standard descriptor failed.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not enough files may be open.
    #[error("{needed} files must be open at a time, and the limit of {limit} cannot be raised (RLIMIT_NOFILE)")]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// How many may be.
        limit: u64,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The file of opening balances cannot be used.
    #[error(transparent)]
    AccountFile(#[from] AccountFileError),
    /// The journal cannot be read.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The access log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The cache process could not be asked.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A file of the journal cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The users cannot be numbered.
    #[error(transparent)]
    Principals(#[from] PrincipalsError),
    /// There is a journal, and it is not to be read.
    #[error(
        "{0} holds a journal, which --durability none would ignore; choose another directory with --data, or another          durability"
    )]
    JournalIgnored(PathBuf),
    /// The journal process has ended because the disk failed; it has said why.
    #[error(
        "the journal failed, so the server has stopped; nothing that was acknowledged is lost. Look after the disk, then restart"
    )]
    JournalFailed,
    /// The environment names a crash point that does not exist.
    #[error("{variable}: `{0}` is not of the form WHO:NAME[#HIT][/stop] with a known name", variable = crash_point::VARIABLE)]
    CrashPoint(String),
    /// The ledger does not balance at the end: money was lost or made.
    #[error("the ledger does not balance: the accounts opened with {expected}, by the sums it was {found}")]
    Unbalanced {
        /// What all accounts held at the beginning.
        expected: Cents,
        /// What they must have held by what came in, went out, and is there.
        found: Cents,
    },
}

impl MasterError {
    /// What it is in the single, where there is more to say than its own line does.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        match self {
            MasterError::AccountFile(error) => error.details().collect(),
            _ => Vec::new(),
        }
    }

    /// The exit code that goes with it: 1 for a check that failed, 2 for an unavailable resource.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            MasterError::Unbalanced { .. } => 1,
            _ => 2,
        }
    }
}
