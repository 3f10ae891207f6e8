//! Making sure that this master is the only one of its data directory and of its instance name.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::ipc::{IpcError, filelock};
use crate::store::instance::lock_file::{self, LockFileError};
use crate::store::instance::lock_holders::{self, Waited};
use crate::store::instance::stale::{self, StaleError};

/// Why this master may not be the one.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// The data directory cannot be used.
    #[error("cannot {step} {path}: {source}; choose another directory with --data")]
    Io {
        /// What was being done.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The lock file cannot be opened, or is not to be trusted.
    #[error(transparent)]
    LockFile(#[from] LockFileError),
    /// Another server has the data directory.
    #[error("the data directory {path} is in use by {holder}; stop that one, or choose another directory with --data")]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Which one, by its lock file or by `/proc`.
        holder: String,
    },
    /// An instance of that name runs already, with another data directory.
    #[error("an instance named `{name}` runs already ({holder}); choose another name with --instance")]
    NameTaken {
        /// The instance's name.
        name: String,
        /// Its master, with pid and data directory.
        holder: String,
    },
    /// The lock itself failed.
    #[error(transparent)]
    Lock(#[from] IpcError),
    /// What dead instances left could not be looked at or removed.
    #[error(transparent)]
    Stale(#[from] StaleError),
}

/// Whether the data directory and the name can be taken; waits for processes that are dying. Changes nothing.
///
/// # Errors
/// See [`OwnershipError`].
pub fn check(data: &Path, instance: &str) -> Result<(), OwnershipError> {
    // Without a directory or a lock file there is no server.
    if fs::symlink_metadata(lock_file::path_in(data)).is_ok() {
        let file = lock_file::open(data, false)?;
        let name = lock_file::path_in(data).display().to_string();
        await_lock(&file, data, || filelock::is_locked(&file, &name).map(|locked| !locked))?;
    }
    let (_, holder) = stale::scan_settled(instance)?;
    holder.map_or(Ok(()), |(living, waited)| Err(taken(instance, &living, &waited)))
}

/// Locks the data directory, made if it is not there; the lock is held as long as the file is open in any process.
///
/// # Errors
/// See [`OwnershipError`].
pub fn lock_data(data: &Path, instance: &str) -> Result<File, OwnershipError> {
    let path = lock_file::path_in(data);
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |source| OwnershipError::Io { step, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(fail("make", data))?;
    // Not truncated: it names the process that holds the lock.
    let mut file = lock_file::open(data, true)?;
    await_lock(&file, data, || filelock::try_lock(&file, &path.display().to_string()))?;
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail("clear", &path))?;
    writeln!(file, "vault-master pid {} of instance {instance}", std::process::id()).map_err(fail("write", &path))?;
    Ok(file)
}

/// Waits until the lock is free, if the processes that hold it are dying.
fn await_lock(
    mut file: &File,
    data: &Path,
    is_free: impl FnMut() -> Result<bool, IpcError>,
) -> Result<(), OwnershipError> {
    let waited = lock_holders::wait_for(file, is_free)?;
    let mut text = String::new();
    // Only for the message, so errors do not matter. A master's line is short.
    let _ = file.rewind().and_then(|()| file.take(256).read_to_string(&mut text));
    let written = text.trim();
    let holder = match waited {
        Waited::Free => return Ok(()),
        Waited::Lives(holder) if written.contains(&format!("pid {} ", holder.pid)) => written.to_owned(),
        Waited::Lives(holder) => holder.to_string(),
        Waited::Stuck(holders) if holders.is_empty() => {
            format!("a process that cannot be seen from here: in another container? (its lock file says `{written}`)")
        }
        Waited::Stuck(holders) => format!("{}, whose master is gone, and do not end", stale::list(&holders)),
    };
    Err(OwnershipError::InUse { path: data.to_owned(), holder })
}

fn taken(instance: &str, living: &stale::RunningInstance, waited: &Waited) -> OwnershipError {
    OwnershipError::NameTaken { name: instance.to_owned(), holder: stale::name_holder(living, waited) }
}

/// Removes what dead instances of that name left; logs which objects it removes and which it does not.
///
/// # Errors
/// An instance of that name runs; or see [`OwnershipError`].
pub fn remove_stale(instance: &str) -> Result<(), OwnershipError> {
    let (scan, holder) = stale::scan_settled(instance)?;
    if let Some((living, waited)) = holder {
        return Err(taken(instance, &living, &waited));
    }
    for warning in scan.warnings() {
        log::warn!("{warning}");
    }
    if !scan.stale.is_empty() {
        log::warn!("removing {} objects that a dead instance `{instance}` left behind", scan.stale.len());
        for object in &scan.stale {
            log::warn!("removing {object}");
        }
        stale::remove(&scan.stale)?;
    }
    Ok(())
}
