//! The journal on disk: what was done, in order, so that it is still done after the machine has stopped.
//!
//! A [`Directory`] holds segments of [`Record`]s and snapshots of all balances. Only one process, with a [`Writer`], adds to
//! it; anybody may look with a [`Reader`]. Nothing here knows of accounts in memory, of other processes, or of sockets.

mod aside;
mod closed;
mod directory;
pub mod disk;
mod error;
mod flows;
mod principals;
mod reader;
pub mod record;
mod recover;
pub mod recovery;
mod repair;
mod room;
pub mod segment;
pub mod snapshot;
mod sweep;
mod text;
mod trust;
mod writer;

pub use aside::Kept;
pub use closed::DamagedMark;
pub use directory::{Directory, DirectoryError, Identity, Openings};
pub use error::DiskError;
pub use flows::Flows;
pub use principals::{Principals, PrincipalsError};
pub use reader::{ReadError, Reader, Walk};
pub use record::{Kind, RECORD_BYTES, Record, RecordBytes, RecordError, Verdict};
pub use recover::{Recovered, Replay, StartError, recover};
pub use recovery::{RecoveryError, TornTail};
pub use repair::{Report, repair};
pub use room::Room;
pub use snapshot::{SnapshotError, SnapshotWriter};
pub use sweep::{Swept, sweep};
pub use trust::Distrust;
pub use writer::{Writer, WriterError};

#[cfg(test)]
mod closed_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod test_support;
