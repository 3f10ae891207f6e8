//! Memory for contents, of which there may not be enough: of this process alone, or a file in memory that is sealed when it is whole, so
//! that workers can be given it. A content is in one of them, never in both.

use std::io::{self, Write};
use std::rc::Rc;

use crate::base::limits::MAX_CACHE_MEMFDS;
use crate::ipc::memfd::{MemoryFile, SealedFile};

/// Memory for so many bytes.
///
/// # Errors
/// `OutOfMemory`.
pub fn reserved(length: u64) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(memory)
}

/// Files in memory, up to a bound.
pub struct MemoryFiles {
    /// Each file has a copy of it.
    counted: Rc<()>,
    most: usize,
}

impl MemoryFiles {
    /// None yet; `is_on` says whether there is to be any.
    pub fn new(is_on: bool) -> Self {
        MemoryFiles { counted: Rc::new(()), most: if is_on { MAX_CACHE_MEMFDS } else { 0 } }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        Rc::strong_count(&self.counted) - 1
    }

    /// A new one; `None` where there are as many as there may be.
    fn create(&self) -> Option<(MemoryFile, Rc<()>)> {
        if self.count() >= self.most {
            return None;
        }
        match MemoryFile::create("vault-cache") {
            Ok(file) => Some((file, self.counted.clone())),
            Err(error) => {
                log::debug!("a content is held without a memfd: {error}");
                None
            }
        }
    }
}

/// Memory for one content.
pub struct Memory {
    held: Held,
    /// Bytes of the whole.
    length: u64,
}

enum Held {
    Private(Vec<u8>),
    /// So many bytes were written.
    Coming(MemoryFile, u64, Rc<()>),
    Sealed(SealedFile, #[expect(dead_code, reason = "it counts while it is here")] Rc<()>),
}

impl Memory {
    /// Memory for a content of this length.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(length: u64, files: &MemoryFiles) -> io::Result<Self> {
        // What is empty needs no memory.
        let file = if length > 0 { files.create() } else { None };
        let held = match file {
            Some((file, count)) => Held::Coming(file, 0, count),
            None => Held::Private(reserved(length)?),
        };
        Ok(Memory { held, length })
    }

    /// Memory that holds these bytes already, which are the whole.
    ///
    /// # Errors
    /// There is no memory.
    pub fn of(bytes: Vec<u8>, files: &MemoryFiles) -> io::Result<Self> {
        let mut memory = Memory::new(bytes.len() as u64, files)?;
        if let Held::Private(private) = &mut memory.held {
            *private = bytes;
        } else {
            memory.append(&bytes)?;
        }
        Ok(memory)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// There is no memory, or they are more than the whole.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let there = self.there();
        if bytes.len() as u64 > self.length - there {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match &mut self.held {
            Held::Private(memory) => memory.extend_from_slice(bytes),
            Held::Coming(file, written, _) => {
                file.write_all(bytes)?;
                *written += bytes.len() as u64;
            }
            Held::Sealed(..) => {}
        }
        if self.there() == self.length { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> io::Result<()> {
        self.held = match std::mem::replace(&mut self.held, Held::Private(Vec::new())) {
            Held::Coming(file, _, count) => Held::Sealed(file.seal().map_err(io::Error::other)?, count),
            held => held,
        };
        Ok(())
    }

    /// Bytes that are there.
    pub fn there(&self) -> u64 {
        match &self.held {
            Held::Private(memory) => memory.len() as u64,
            Held::Coming(_, written, _) => *written,
            Held::Sealed(file, _) => file.bytes(),
        }
    }

    /// Bytes of the whole.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file that has all of it, if there is one.
    pub fn sealed(&self) -> Option<&SealedFile> {
        match &self.held {
            Held::Sealed(file, _) => Some(file),
            Held::Private(_) | Held::Coming(..) => None,
        }
    }

    /// What there is from a place on, up to `most` bytes; `buffer` is for what is in a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read<'a>(&'a self, position: u64, most: usize, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let rest = usize::try_from(self.there().saturating_sub(position)).unwrap_or(usize::MAX).min(most);
        match &self.held {
            Held::Private(memory) => {
                let start = usize::try_from(position).unwrap_or(usize::MAX).min(memory.len());
                return Ok(&memory[start..start + rest]);
            }
            Held::Coming(file, ..) => {
                buffer.resize(rest, 0);
                file.read_exact_at(buffer, position)?;
            }
            Held::Sealed(file, _) => {
                buffer.resize(rest, 0);
                file.read_exact_at(buffer, position)?;
            }
        }
        Ok(buffer)
    }
}
