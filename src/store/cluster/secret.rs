//! The file of `--cluster-secret`: by what is in it, the members of a cluster prove to each other that they belong together.
//!
//! It is one line of hex digits. Whoever can read it can join; whoever can write it can shut members out. So it must be a regular file
//! of the user that the server runs as, and nobody else may read or write it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::base::limits::MAX_SECRET_DIGITS;

/// Hex digits of a secret, at least: 128 bits, which nobody guesses.
pub const MIN_SECRET_DIGITS: usize = 32;
/// Bytes that [`make`] draws.
const DRAWN_BYTES: usize = 32;
/// Permissions of the file: its owner's alone.
const MODE: u32 = 0o600;
/// Permission bits of everybody else.
const OTHERS: u32 = 0o077;
const ROOT: u32 = 0;

/// What members of a cluster share. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes to authenticate with.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a secret's text: one line of [`MIN_SECRET_DIGITS`] to [`MAX_SECRET_DIGITS`] hex digits, an even number of them, upper or lower
    /// case. The line may end with a line end, and nothing else may follow.
    ///
    /// # Errors
    /// What is wrong with the text. None of it is repeated.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\n') {
            return Err(TextError::Lines);
        }
        if let Some(column) = line.iter().position(|byte| !byte.is_ascii_hexdigit()) {
            return Err(TextError::Digit { column: column + 1 });
        }
        let range = MIN_SECRET_DIGITS..=MAX_SECRET_DIGITS;
        if !range.contains(&line.len()) || !line.len().is_multiple_of(2) {
            return Err(TextError::Length(line.len()));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        Ok(Secret(line.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()))
    }

    /// Reads the file of `--cluster-secret`.
    ///
    /// # Errors
    /// It cannot be read, is not this user's alone, or holds no secret; the error names it and says what to do.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let fail = |source| SecretError::Read { path: path.to_owned(), source };
        // A link is not followed, and a pipe is not waited for.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(SecretError::Untrusted { path: path.to_owned(), why: Distrust::Link });
            }
            Err(error) => return Err(fail(error)),
        };
        let metadata = file.metadata().map_err(fail)?;
        let found = Found {
            is_file: metadata.is_file(),
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
            user: geteuid().as_raw(),
        };
        found.judge().map_err(|why| SecretError::Untrusted { path: path.to_owned(), why })?;
        let mut text = Vec::new();
        // Of a file that is longer than any secret, only so much is read.
        (&mut file).take(MAX_SECRET_DIGITS as u64 + 3).read_to_end(&mut text).map_err(fail)?;
        Secret::parse(&text).map_err(|why| SecretError::Text { path: path.to_owned(), why })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is at the path, and who asks.
#[derive(Clone, Copy, Debug)]
struct Found {
    is_file: bool,
    owner: u32,
    mode: u32,
    user: u32,
}

impl Found {
    /// As of a data directory's files, and nobody else may read it either. Root's own file is taken by any server that can read it, so that
    /// an administrator may hand it in.
    fn judge(self) -> Result<(), Distrust> {
        let Found { is_file, owner, mode, user } = self;
        if !is_file {
            Err(Distrust::NoFile)
        } else if owner != user && owner != ROOT {
            Err(Distrust::Owner { owner, user })
        } else if mode & OTHERS != 0 {
            Err(Distrust::Mode { mode })
        } else {
            Ok(())
        }
    }
}

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// More than one line.
    #[error("it has more than one line; a secret is one")]
    Lines,
    /// Something that is no hex digit.
    #[error("there is no hex digit at column {column}")]
    Digit {
        /// Where, counted from 1.
        column: usize,
    },
    /// Too short, too long, or an odd number.
    #[error("it has {0} hex digits; there must be an even number from {MIN_SECRET_DIGITS} to {MAX_SECRET_DIGITS}")]
    Length(usize),
}

/// Why a file is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is behind a symbolic link.
    #[error("it is a symbolic link; name the file itself")]
    Link,
    /// A directory, a device, a pipe…
    #[error("it is no regular file")]
    NoFile,
    /// Another user's.
    #[error("it belongs to user {owner}, and the server is user {user}; `chown` it, or run the server as that user")]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who the server is.
        user: u32,
    },
    /// Others may read or write it.
    #[error("others can get at it (mode {mode:04o}); make a new one if they may have read it, else `chmod 600` it")]
    Mode {
        /// Its permission bits.
        mode: u32,
    },
}

/// Why a secret could not be had or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Opening or reading the file.
    #[error("cannot read the cluster's secret {}: {source}; make one with `vaultctl cluster secret`", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others could have read or replaced it.
    #[error("the cluster's secret {} is not trusted: {why}", path.display())]
    Untrusted {
        /// The file as it was named.
        path: PathBuf,
        /// Why.
        why: Distrust,
    },
    /// What is in it.
    #[error("the cluster's secret {} is none: {why}; make one with `vaultctl cluster secret`", path.display())]
    Text {
        /// The file as it was named.
        path: PathBuf,
        /// What is wrong with it.
        why: TextError,
    },
    /// Drawing random bytes.
    #[error("cannot draw random bytes for a secret: {0}")]
    Draw(getrandom::Error),
    /// There is something at that path.
    #[error("there is already something at {}; remove it first, or name another file", path.display())]
    Exists {
        /// The file as it was named.
        path: PathBuf,
    },
    /// Writing or syncing a new one.
    #[error("cannot write a new secret to {}: {source}", path.display())]
    Write {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Draws a secret of 256 bits and gives its line, without the line end.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn draw() -> Result<String, SecretError> {
    let mut bytes = [0; DRAWN_BYTES];
    getrandom::fill(&mut bytes).map_err(SecretError::Draw)?;
    Ok(bytes.iter().fold(String::with_capacity(2 * DRAWN_BYTES), |line, byte| line + &format!("{byte:02x}")))
}

/// Draws a secret and writes it to a new file of mode 0600, synced with its directory.
///
/// # Errors
/// There is something at that path already, or it cannot be written; then nothing is left there.
pub fn make(path: &Path) -> Result<(), SecretError> {
    let line = draw()?;
    let fail = |source| SecretError::Write { path: path.to_owned(), source };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(SecretError::Exists { path: path.to_owned() });
        }
        Err(error) => return Err(fail(error)),
    };
    let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // What is left is no secret, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        return Err(fail(source));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
