//! Snapshots: all balances as of some record, so that recovery need not read the journal from its beginning.
//!
//! A snapshot is fuzzy: its accounts are read one by one while operations go on, so each carries the LSN that its balance is
//! of, at or behind the record L that the snapshot is named after. Replay from L on changes an account only by records that
//! are newer than its own LSN. A snapshot can be finished only when all that it holds is durable in the journal: otherwise
//! it could remember what the journal forgets.
//!
//! `DATA/snapshot/{L}.snapshot`: a header, blocks of 4096 accounts (16 bytes each: balance, LSN), an end mark. Header, blocks
//! and end mark have a checksum each, seeded with the one before.

mod layout;
mod reader;
mod writer;

use std::path::PathBuf;

pub use layout::Header;
pub use reader::{Damaged, Newest, Snapshot, newest_good};
pub use writer::SnapshotWriter;

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::segment::lsn_by_name;
use crate::base::vocab::Lsn;

/// Why a snapshot could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// More or fewer accounts came than were announced; it is not kept.
    #[error("a snapshot of {announced} accounts was given {pushed}")]
    Accounts {
        /// Accounts in its header.
        announced: u32,
        /// Accounts that came.
        pushed: u32,
    },
    /// It holds what may yet be lost; it is not kept.
    #[error("a snapshot that holds record {holds} cannot be finished while only record {durable} is durable")]
    NotDurable {
        /// The newest record in it.
        holds: Lsn,
        /// The last record that is durable.
        durable: Lsn,
    },
}

/// The records after which there are snapshots, oldest first.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(directory: &Directory) -> Result<Vec<Lsn>, DiskError> {
    let folder = directory.snapshots();
    let names = directory.disk().list(&folder).step("list", &folder)?;
    let mut found: Vec<_> = names.iter().filter_map(|name| lsn_by_name(name, ".snapshot")).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes all snapshots but the newest `count`; gives the oldest that stays, which the journal must still reach.
///
/// # Errors
/// A file cannot be removed; those removed before are gone.
pub fn keep_newest(directory: &Directory, count: usize) -> Result<Option<Lsn>, DiskError> {
    let found = list(directory)?;
    let (old, kept) = found.split_at(found.len().saturating_sub(count));
    for &lsn in old {
        let path = path_of(directory, lsn);
        directory.disk().remove(&path).step("remove", &path)?;
    }
    if !old.is_empty() {
        directory.disk().sync_dir(&directory.snapshots()).step("sync the directory", &directory.snapshots())?;
    }
    Ok(kept.first().copied())
}

pub(super) fn path_of(directory: &Directory, lsn: Lsn) -> PathBuf {
    directory.snapshots().join(format!("{:020}.snapshot", lsn.0))
}
