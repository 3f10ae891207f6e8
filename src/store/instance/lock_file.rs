//! The lock file of a data directory: `DATA/lock`, locked with `flock(2)` by the process that writes there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Only the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a lock file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// The kernel refuses it.
    #[error("cannot open the lock file {path}: {source}; choose another directory with --data")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not such a file as a server makes: somebody else could hold the lock, or have something else overwritten.
    #[error("the lock file {path} {why}; {remedy}, or choose another directory with --data")]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// Where the lock file of the data directory `data` is.
#[must_use]
pub fn path_in(data: &Path) -> PathBuf {
    data.join("lock")
}

/// Opens the lock file of the data directory `data`, or makes it if `make`. Its contents, which say who has the lock, stay.
///
/// # Errors
/// There is none; it may not be opened; it is a link or no regular file, another user's, or writable by others.
pub fn open(data: &Path, make: bool) -> Result<File, LockFileError> {
    let path = path_in(data);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(make).truncate(false).mode(0o600);
    // O_NONBLOCK: a pipe in its place is not waited for.
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let found = options.open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match found {
        Ok(found) => found,
        Err(source) => {
            // A link gives ELOOP, a folder EISDIR, a socket ENXIO: what it is says more.
            let wrong = fs::symlink_metadata(&path).ok().as_ref().and_then(fault_of);
            return Err(match wrong {
                Some((why, remedy)) => LockFileError::Unsafe { path, why, remedy },
                None => LockFileError::Open { path, source },
            });
        }
    };
    match fault_of(&metadata) {
        Some((why, remedy)) => Err(LockFileError::Unsafe { path, why, remedy }),
        None => Ok(file),
    }
}

/// What is wrong with a lock file, and what to do about it.
fn fault_of(metadata: &fs::Metadata) -> Option<(String, &'static str)> {
    let (user, mode) = (nix::unistd::geteuid().as_raw(), metadata.mode() & 0o7777);
    if metadata.is_symlink() {
        Some(("is a symbolic link".to_owned(), "remove it"))
    } else if !metadata.is_file() {
        Some(("is no regular file".to_owned(), "remove it"))
    } else if metadata.uid() != user {
        let why = format!("belongs to user {}, and this process is user {user}'s", metadata.uid());
        Some((why, "run as that user"))
    } else if metadata.nlink() != 1 {
        Some((format!("has {} names (hard links)", metadata.nlink()), "remove it"))
    } else if mode & WRITABLE_BY_OTHERS != 0 {
        Some((format!("has mode {mode:04o}, so others may write it"), "chmod it to 0600"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refusal(prepare: impl FnOnce(&Path)) -> String {
        let home = tempfile::tempdir().unwrap();
        prepare(home.path());
        open(home.path(), true).unwrap_err().to_string()
    }

    #[test]
    fn only_such_a_file_as_a_server_makes_is_taken() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(open(home.path(), false), Err(LockFileError::Open { .. })), "there is none");
        assert_eq!(open(home.path(), true).unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        open(home.path(), false).unwrap();
        type Preparation = (&'static str, fn(&Path));
        let cases: [Preparation; 5] = [
            ("symbolic link", |home| {
                fs::write(home.join("elsewhere"), "kept").unwrap();
                symlink("elsewhere", home.join("lock")).unwrap();
            }),
            ("symbolic link", |home| symlink("nowhere", home.join("lock")).unwrap()),
            ("2 names", |home| {
                fs::write(home.join("elsewhere"), "kept").unwrap();
                fs::hard_link(home.join("elsewhere"), home.join("lock")).unwrap();
            }),
            ("no regular file", |home| fs::create_dir(home.join("lock")).unwrap()),
            ("no regular file", |home| {
                nix::unistd::mkfifo(&home.join("lock"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            }),
        ];
        for (wanted, prepare) in cases {
            let text = refusal(prepare);
            assert!(text.contains(wanted) && text.contains("/lock") && text.contains("--data"), "{text}");
        }
        for mode in [0o620, 0o602, 0o666] {
            let text = refusal(|home| {
                fs::write(home.join("lock"), "").unwrap();
                fs::set_permissions(home.join("lock"), fs::Permissions::from_mode(mode)).unwrap();
            });
            assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
        }
    }

    #[test]
    fn a_lock_file_of_another_user_is_refused() {
        // Only root can make one; for others the file that root owns will do.
        let home = tempfile::tempdir().unwrap();
        let text = if nix::unistd::geteuid().is_root() {
            fs::write(home.path().join("lock"), "").unwrap();
            std::os::unix::fs::chown(home.path().join("lock"), Some(12_345), None).unwrap();
            open(home.path(), true).unwrap_err().to_string()
        } else {
            let (why, _) = fault_of(&fs::metadata("/proc/version").unwrap()).unwrap();
            why
        };
        assert!(text.contains("belongs to user"), "{text}");
    }
}
