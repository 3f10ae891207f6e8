//! A folder under the data directory for what is taken out of a journal: copies of bytes, and whole files.

use std::fmt;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::segment::{CHUNK_BYTES, Segment, chunks};

/// Such a folder, made when something is taken out.
pub(super) struct Quarantine<'a> {
    directory: &'a Directory,
    folder: PathBuf,
    made: bool,
}

impl<'a> Quarantine<'a> {
    /// A folder called `name` under the data directory.
    pub(super) fn new(directory: &'a Directory, name: &str) -> Self {
        Quarantine { directory, folder: directory.path().join(name), made: false }
    }

    /// The folder, if something is in it.
    pub(super) fn made(&self) -> Option<&Path> {
        self.made.then_some(&*self.folder)
    }

    fn make(&mut self) -> Result<(), DiskError> {
        if !self.made {
            self.directory.disk().create_dir(&self.folder).step("make the directory", &self.folder)?;
            self.directory.sync(self.directory.path())?;
            self.made = true;
        }
        Ok(())
    }

    /// Moves a file here, durably; gives its place.
    pub(super) fn move_in(&mut self, path: &Path) -> Result<PathBuf, DiskError> {
        self.make()?;
        let to = self.folder.join(path.file_name().unwrap_or_default());
        self.directory.disk().rename(path, &to).step("move aside", path)?;
        self.directory.sync(&self.folder)?;
        self.directory.sync(path.parent().unwrap_or(path))?;
        Ok(to)
    }

    /// Copies bytes `from` to `to` of a segment into a file called `name`, durably; gives its place.
    pub(super) fn copy_in(&mut self, segment: &Segment, from: u64, to: u64, name: &str) -> Result<PathBuf, DiskError> {
        self.make()?;
        let path = self.folder.join(name);
        let file = self.directory.disk().create(&path).step("make", &path)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        for (at, length) in chunks(from, to) {
            let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
            file.write_at(&buffer[..filled], at - from).step("write", &path)?;
        }
        file.sync_all().step("sync", &path)?;
        self.directory.sync(&self.folder)?;
        Ok(path)
    }

    /// Removes the files of the folder whose names come first, all but the last `count`.
    pub(super) fn keep_last(&self, count: usize) -> Result<(), DiskError> {
        let names = self.directory.disk().list(&self.folder).step("list", &self.folder)?;
        let old = &names[..names.len().saturating_sub(count)];
        old.iter().try_for_each(|name| self.directory.remove(&self.folder.join(name)))
    }
}

/// What was kept of a torn tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptTail {
    /// The files, one for each segment that the tail was in.
    pub files: Vec<PathBuf>,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes of the tail that were too many to be kept.
    pub left_out: u64,
}

impl fmt::Display for KeptTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.files.split_first() else { return f.write_str("it held nothing to be kept") };
        write!(f, "its {} bytes are kept in {}", self.bytes, first.display())?;
        others.iter().try_for_each(|file| write!(f, " and {}", file.display()))?;
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "; {more} bytes more were too many to keep"),
        }
    }
}
