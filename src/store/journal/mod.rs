//! The journal on disk: all operations in order, so that they survive a stop of the machine.
//!
//! A [`Directory`] holds segments of [`Record`]s and snapshots of all balances. One process appends to it with a [`Writer`]; any
//! process may read it with a [`Reader`]. Nothing here knows accounts in memory, other processes, or sockets.

mod assembly;
mod directory;
pub mod disk;
mod error;
mod full_scan;
mod identity;
mod openings;
mod ownership;
mod preparer;
mod principals;
mod quarantine;
mod reader;
pub mod record;
mod recover;
pub mod recovery;
mod repair;
mod running_totals;
pub mod segment;
mod shutdown_mark;
pub mod snapshot;
pub mod snapshot_transfer;
mod text;
mod truncation;
mod writer;

pub use assembly::{Assembly, AssemblyError, KvWrite};
pub use directory::{Directory, DirectoryError, Identity, hexadecimal};
pub use error::DiskError;
pub use full_scan::{FullScan, full_scan};
pub use openings::{
    AccountFile, AccountFileError, BadLine, Bounds, Difference, LineError, OpeningBalances, Openings, write_line,
};
pub use ownership::OwnershipError;
pub use principals::{Principals, PrincipalsError};
pub use quarantine::KeptTail;
pub use reader::{ReadError, Reader, Walk};
pub use record::{Content, Kind, OperationRecord, RECORD_BYTES, Record, RecordBytes, RecordError, Verdict};
pub use recover::{DiscardRecords, Recovered, Replay, StartError, read_balances, recover, recover_up_to};
pub use recovery::{RecoveryError, TornTail};
pub use repair::{Report, repair};
pub use running_totals::RunningTotals;
pub use shutdown_mark::DamagedMark;
pub use snapshot::{SnapshotError, SnapshotWriter};
pub use snapshot_transfer::{
    InstallError, SinkError, SinkFailure, SnapshotSink, SnapshotSource, SourceError, discard_incoming, finish_install,
    incoming_end, is_incoming,
};
pub use truncation::{TruncationError, finish_truncation};
pub use writer::{Writer, WriterError};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod shutdown_mark_tests;
#[cfg(test)]
mod snapshot_pair_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod truncation_tests;
#[cfg(test)]
mod write_tests;
