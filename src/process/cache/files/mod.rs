//! Where objects come from if a map file names them: files, read on threads, in the same shape as an upstream.
//!
//! What a file is asked about with later is an ETag of its own, made of what changes when the file does. A file that is changed while it is
//! read fails: what has come of it may be parts of two.

mod map_file;
mod reading;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::process::cache::core::{Path, Validators};
use crate::process::cache::origin::{Failure, Threads, Transfer, Wake};
use map_file::MapFile;
use reading::{Reading, Wanted};

/// The files that a map file names.
pub struct MappedFiles {
    threads: Threads<Reading>,
}

impl MappedFiles {
    /// The files that the map at `map` names, read by up to `threads` threads. `wake` is called when a transfer has something to say.
    #[must_use]
    pub fn new(map: PathBuf, threads: usize, wake: Wake) -> Self {
        MappedFiles { threads: Threads::new(Reading(MapFile::new(map)), "map files", threads, wake) }
    }

    /// Begins to read the file for a path, once a thread is free.
    ///
    /// # Errors
    /// [`Failure::NoThread`].
    pub fn fetch(&self, path: &Path, validators: Validators) -> Result<Transfer, Failure> {
        self.threads.fetch(Wanted { path: path.clone(), validators })
    }

    /// Has the map file read again before the next fetch.
    pub fn reload(&self) {
        self.threads.fetcher().0.reload();
    }
}
