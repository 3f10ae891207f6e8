//! Puts what came from another member in place of journal and snapshots.

use std::path::PathBuf;

use super::error::InstallError;
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::disk::remove_tree;
use crate::store::journal::error::{DiskError, Step, if_found};
use crate::store::journal::shutdown_mark;

/// `DATA/incoming`, as a directory of the same identity.
pub(super) fn incoming(directory: &Directory) -> Directory {
    directory.rooted_at(directory.path().join("incoming"))
}

/// The last record of what is whole in `DATA/incoming`; `None` where nothing is there, or it is not whole.
///
/// # Errors
/// It cannot be read.
pub fn incoming_end(directory: &Directory) -> Result<Option<Lsn>, DiskError> {
    let end = shutdown_mark::read(&incoming(directory))?.unwrap_or_default();
    Ok(Some(end).filter(|&end| end > Lsn(0)))
}

/// Whether `DATA/incoming` is there. Where the intent to install is, a start has something to finish then: what stands in journal and
/// snapshots may be half old and half new.
///
/// # Errors
/// It cannot be listed.
pub fn is_incoming(directory: &Directory) -> Result<bool, DiskError> {
    let incoming = incoming(directory);
    Ok(if_found(directory.disk().list(incoming.path())).step("list", incoming.path())?.is_some())
}

/// Removes `DATA/incoming`, durably. Only where nothing in it is to be installed.
///
/// # Errors
/// A file cannot be removed; what is left is not whole.
pub fn discard_incoming(directory: &Directory) -> Result<(), DiskError> {
    let incoming = incoming(directory);
    let mark = shutdown_mark::path_of(&incoming);
    // First, so that what is left of the rest is never taken for whole.
    if if_found(directory.disk().remove(&mark)).step("remove", &mark)?.is_some() {
        incoming.sync(incoming.path())?;
    }
    remove_tree(directory.disk(), incoming.path()).step("remove", incoming.path())
}

/// Finishes an installation whose intent is there, before [`recover`](crate::store::journal::recover) is called: what is in `DATA/incoming`,
/// up to record `end`, takes the place of journal and snapshots. It may have been begun, finished, or not begun; and this may be interrupted
/// anywhere and called again. Gives whether there was something to do.
///
/// # Errors
/// [`InstallError`].
pub fn finish_install(directory: &Directory, end: Lsn) -> Result<bool, InstallError> {
    let incoming = incoming(directory);
    let path = incoming.path();
    let Some(names) = if_found(directory.disk().list(path)).step("list", path)? else { return Ok(false) };
    match shutdown_mark::read(&incoming)?? {
        // The mark went last: only the directory is left.
        Lsn(0) if names.is_empty() => {}
        Lsn(0) => return Err(InstallError::NotWhole { path: path.to_owned() }),
        found if found != end => return Err(InstallError::OtherEnd { path: path.to_owned(), found, wanted: end }),
        _ => put_in_place(directory, &incoming)?,
    }
    discard_incoming(directory)?;
    Ok(true)
}

/// Each step is durable before the next, so that old and new are never in one directory.
fn put_in_place(directory: &Directory, incoming: &Directory) -> Result<(), DiskError> {
    let (disk, data) = (directory.disk(), directory.path());
    let sync = || directory.sync(data).and_then(|()| directory.sync(incoming.path()));
    let mark = shutdown_mark::path_of(directory);
    // It speaks of the old journal.
    if if_found(disk.remove(&mark)).step("remove", &mark)?.is_some() {
        directory.sync(data)?;
    }
    for (from, to) in [(incoming.journal(), directory.journal()), (incoming.snapshots(), directory.snapshots())] {
        if if_found(disk.list(&from)).step("list", &from)?.is_none() {
            continue;
        }
        remove_tree(disk, &to).step("remove", &to)?;
        disk.rename(&from, &to).step("put in place", &to)?;
        sync()?;
    }
    let from: PathBuf = shutdown_mark::path_of(incoming);
    disk.rename(&from, &mark).step("put in place", &mark)?;
    sync()
}
