//! The journal on disk: what was done, in order, so that it is still done after the machine has stopped.
//!
//! A [`Directory`] holds segments of [`Record`]s and snapshots of all balances. Only one process, with a [`Writer`], adds to
//! it; anybody may look with a reader. Nothing here knows of accounts in memory, of other processes, or of sockets.

mod directory;
pub mod disk;
mod error;
pub mod record;
mod room;
pub mod segment;
mod writer;

pub use directory::{Directory, DirectoryError, Identity, Openings};
pub use error::DiskError;
pub use record::{Kind, RECORD_BYTES, Record, RecordBytes, RecordError, Verdict};
pub use room::Room;
pub use writer::{Writer, WriterError};
