//! Making sure that this master is the only one: of its data directory, and of its instance name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::instance::stale::{self, StaleError};
use crate::ipc::{IpcError, filelock};

/// Why this master may not be the one.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
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
    /// Somebody else has it.
    #[error("the data directory {path} is in use by {holder}; stop that one, or choose another directory with --data")]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who has it, as it wrote into the lock file.
        holder: String,
    },
    /// An instance of that name runs already, with another data directory.
    #[error(
        "an instance named `{name}` runs already (master pid {pid}, data {data}); choose another name with --instance"
    )]
    NameTaken {
        /// The instance's name.
        name: String,
        /// Its master.
        pid: u32,
        /// Its data directory.
        data: String,
    },
    /// The lock itself failed.
    #[error(transparent)]
    Lock(#[from] IpcError),
    /// What dead instances left could not be looked at or removed.
    #[error(transparent)]
    Stale(#[from] StaleError),
}

/// Locks the data directory, made if it is not there; the lock is held as long as the file is open in any process.
///
/// # Errors
/// See [`ClaimError`].
pub fn lock_data(data: &Path, instance: &str) -> Result<File, ClaimError> {
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |source| ClaimError::Io { step, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(fail("make", data))?;
    let path = data.join("lock");
    // Not truncated: while it cannot be locked it says who has it.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(fail("open", &path))?;
    if !filelock::try_lock(&file, &path.display().to_string())? {
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(fail("read", &path))?;
        let holder = Some(holder.trim()).filter(|h| !h.is_empty()).unwrap_or("a process that is just starting");
        return Err(ClaimError::InUse { path: data.to_owned(), holder: holder.to_owned() });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail("clear", &path))?;
    writeln!(file, "vault-master pid {} of instance {instance}", std::process::id()).map_err(fail("write", &path))?;
    Ok(file)
}

/// Removes what dead instances of that name left, and says which objects these were.
///
/// # Errors
/// An instance of that name runs; or see [`ClaimError`].
pub fn clear_stale(instance: &str) -> Result<(), ClaimError> {
    let census = stale::census(instance)?;
    if let Some(living) = census.living.first() {
        return Err(ClaimError::NameTaken {
            name: instance.to_owned(),
            pid: living.master_pid,
            data: living.data.clone(),
        });
    }
    if !census.stale.is_empty() {
        log::warn!("removing {} objects that a dead instance `{instance}` left behind", census.stale.len());
        for object in &census.stale {
            log::warn!("removing {object}");
        }
        stale::remove(&census.stale)?;
    }
    Ok(())
}

/// The data directory's full path, for those who look from elsewhere.
#[must_use]
pub fn full_path(data: &Path) -> String {
    fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()).display().to_string()
}
