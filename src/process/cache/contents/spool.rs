//! A content whose length is not known, or that memory has no room for: in memory while it is short, then in a file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use super::memory::{Memory, MemoryFiles};
use crate::base::limits::{CACHE_SPOOL_MEMORY_BYTES, MAX_CACHE_FETCHES};

/// What spools may take together.
pub struct Budget {
    folders: Vec<PathBuf>,
    /// Bytes that are in memory.
    in_memory: usize,
}

impl Budget {
    /// Nothing is taken yet; files are in the first of these folders that takes one.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Budget { folders, in_memory: 0 }
    }

    /// Bytes that are in memory.
    #[cfg(test)]
    pub fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// A file without a name (`O_TMPFILE`), so that nothing is left of it, whatever happens.
    fn file(&self) -> io::Result<File> {
        let mut made = Err(io::ErrorKind::NotFound.into());
        for folder in &self.folders {
            made = tempfile::tempfile_in(folder);
            if made.is_ok() {
                break;
            }
        }
        made
    }
}

/// One content.
#[derive(Default)]
pub struct Spool {
    /// All of it, while there is no file.
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    /// What was moved to memory of the file; nothing before that has begun.
    moved: Option<Memory>,
}

impl Spool {
    /// One with room for a content of this length, if it is known.
    ///
    /// # Errors
    /// No file can be had, or the disk has no room.
    pub fn new(length: Option<u64>, budget: &Budget) -> io::Result<Self> {
        let Some(length) = length.filter(|length| *length > CACHE_SPOOL_MEMORY_BYTES as u64) else {
            return Ok(Spool::default());
        };
        let file = budget.file()?;
        match fallocate(&file, FallocateFlags::empty(), 0, libc::off_t::try_from(length).map_err(io::Error::other)?) {
            // Some file systems cannot say beforehand.
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(Spool { file: Some(file), ..Spool::default() }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// There is neither memory nor a file for them.
    pub fn append(&mut self, bytes: &[u8], budget: &mut Budget) -> io::Result<()> {
        let is_short = self.memory.len() + bytes.len() <= CACHE_SPOOL_MEMORY_BYTES
            && budget.in_memory + bytes.len() <= MAX_CACHE_FETCHES * CACHE_SPOOL_MEMORY_BYTES;
        if self.file.is_none() && is_short && self.memory.try_reserve(bytes.len()).is_ok() {
            self.memory.extend_from_slice(bytes);
            budget.in_memory += bytes.len();
        } else {
            self.file(budget)?.write_all(bytes)?;
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The file, into which what was in memory is put first.
    fn file(&mut self, budget: &mut Budget) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut file = budget.file()?;
            file.write_all(&self.memory)?;
            budget.in_memory -= self.memory.len();
            self.memory = Vec::new();
            return Ok(self.file.insert(file));
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads what there is of its file from a place on, up to `most` bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self, position: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let there = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX);
        buffer.resize(there.min(most), 0);
        file.read_exact_at(buffer, position)
    }

    /// What there is from a place on; `buffer` is what was loaded.
    pub fn loaded<'a>(&'a self, position: u64, buffer: &'a [u8]) -> &'a [u8] {
        if self.file.is_some() {
            return buffer;
        }
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(self.memory.len());
        &self.memory[start..]
    }

    /// Moves up to `most` bytes of the file to memory. When that is all, gives the memory, and the spool is empty.
    ///
    /// # Errors
    /// `OutOfMemory`, or it cannot be read.
    pub fn advance(&mut self, most: usize, budget: &mut Budget, files: &MemoryFiles) -> io::Result<Option<Memory>> {
        let Some(file) = &self.file else {
            budget.in_memory -= self.memory.len();
            return Memory::of(std::mem::take(&mut self.memory), files).map(Some);
        };
        let mut moved = match self.moved.take() {
            Some(moved) => moved,
            None => Memory::new(self.length, files)?,
        };
        let missing = usize::try_from(moved.length() - moved.there()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; missing.min(most)];
        file.read_exact_at(&mut bytes, moved.there())?;
        moved.append(&bytes)?;
        if missing <= most {
            return Ok(Some(moved));
        }
        self.moved = Some(moved);
        Ok(None)
    }

    /// It is needed no more.
    pub fn give_back(self, budget: &mut Budget) {
        budget.in_memory -= self.memory.len();
    }

    /// Whether it has no file.
    #[cfg(test)]
    pub fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }
}
