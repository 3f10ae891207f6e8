//! What can be wrong with users and with their file.

use std::io;
use std::path::PathBuf;

use super::entry::{LineError, NameError};
use crate::base::limits::MAX_CREDENTIAL_BYTES;

/// Why the users file could not be used or changed; each variant is one step.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Opening or reading it.
    #[error("cannot read the users file {}: {source}; make one with `vaultctl user add`", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Checking that no other user may write it: one who can, can become a teller.
    #[error(
        "the users file {} can be written by others (mode {mode:04o}) and is not trusted; \
         look through it, then `chmod 600` it", path.display()
    )]
    WritableByOthers {
        /// The file as it was named.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Reading one of its lines.
    #[error("the users file {}, line {line}: {source}", path.display())]
    Line {
        /// The file as it was named.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: LineError,
    },
    /// Making the directory that is to hold it.
    #[error("cannot make the directory {} for the users file: {source}", path.display())]
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Locking it against other writers.
    #[error("cannot lock the users file {}: {source}; nothing was changed", path.display())]
    Lock {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing its next version beside it.
    #[error("cannot write {}, the users file's next version: {source}; nothing was changed", path.display())]
    WriteNext {
        /// The temporary file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Putting the next version in its place.
    #[error("cannot put a new version in place of the users file {}: {source}; nothing was changed", path.display())]
    Replace {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Making the replacement durable.
    #[error(
        "the users file was changed, but its directory {} could not be synced: {source}; \
         the change may be lost if the machine stops now", path.display()
    )]
    SyncDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Adding a user who is there already.
    #[error("there is already a user `{name}` in {}; remove it first to change it", path.display())]
    Exists {
        /// The user.
        name: String,
        /// The file as it was named.
        path: PathBuf,
    },
    /// Removing a user who is not there.
    #[error("there is no user `{name}` in {}", path.display())]
    NoSuchUser {
        /// The user.
        name: String,
        /// The file as it was named.
        path: PathBuf,
    },
    /// Checking a new user's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Checking a new user's password.
    #[error("a password has 1 to {MAX_CREDENTIAL_BYTES} bytes, and this one has {0}")]
    PasswordLength(usize),
    /// Drawing the salt.
    #[error("cannot draw random bytes for the salt: {0}")]
    Salt(getrandom::Error),
    /// Hashing a new user's password.
    #[error("cannot hash the password with argon2id: {0}")]
    Hash(argon2::password_hash::Error),
}
