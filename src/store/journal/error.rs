//! A failed step on a file or directory: what was tried, on which, and what the kernel said.

use std::io;
use std::path::{Path, PathBuf};

/// A step that the file system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried.
    pub step: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl DiskError {
    /// Whether there was no space left, or none that this user may take.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The error of a file that should exist.
pub(super) fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// `None` where there is no such file.
pub(super) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Names the step and the object of an `io::Result`.
pub(super) trait Step<T> {
    fn step(self, step: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError { step, path: path.to_owned(), source })
    }
}
