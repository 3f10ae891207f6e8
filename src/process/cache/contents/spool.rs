//! A content whose length is not known: in memory while it is short, then in a file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::memory::reserved;
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
    /// What was moved to memory of the file.
    moved: Vec<u8>,
}

impl Spool {
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

    /// What there is from a place on, up to `most` bytes; `buffer` is for what is in a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read<'a>(&'a self, position: u64, most: usize, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let Some(file) = &self.file else {
            let start = usize::try_from(position).unwrap_or(usize::MAX).min(self.memory.len());
            return Ok(&self.memory[start..]);
        };
        let there = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX);
        buffer.resize(there.min(most), 0);
        file.read_exact_at(buffer, position)?;
        Ok(buffer)
    }

    /// Moves up to `most` bytes of the file to memory; whether that is all.
    ///
    /// # Errors
    /// `OutOfMemory`, or it cannot be read.
    pub fn advance(&mut self, most: usize) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        if self.moved.capacity() == 0 {
            self.moved = reserved(self.length)?;
        }
        let position = self.moved.len();
        let missing = usize::try_from(self.length).unwrap_or(usize::MAX) - position;
        self.moved.resize(position + missing.min(most), 0);
        file.read_exact_at(&mut self.moved[position..], position as u64)?;
        Ok(missing <= most)
    }

    /// All of it, if it is in memory; the spool is empty then.
    pub fn take_whole(&mut self, budget: &mut Budget) -> Option<Vec<u8>> {
        if self.file.is_none() {
            budget.in_memory -= self.memory.len();
            return Some(std::mem::take(&mut self.memory));
        }
        let is_whole = self.moved.len() as u64 == self.length;
        is_whole.then(|| std::mem::take(&mut self.moved))
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
