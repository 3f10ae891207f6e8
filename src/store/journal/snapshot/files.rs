//! The files of the snapshots: `DATA/snapshot/{L}.snapshot`.

use std::path::PathBuf;

use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::segment::lsn_by_name;

/// The records after which there are snapshots, oldest first.
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
        directory.remove(&path_of(directory, lsn))?;
    }
    if !old.is_empty() {
        directory.sync(&directory.snapshots())?;
    }
    Ok(kept.first().copied())
}

/// The file of the snapshot of record `lsn`.
pub fn path_of(directory: &Directory, lsn: Lsn) -> PathBuf {
    directory.snapshots().join(format!("{:020}.snapshot", lsn.0))
}
