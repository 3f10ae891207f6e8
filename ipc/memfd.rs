//! Files in memory that are sealed before they are given away (`memfd_create(2)`).
//!
//! Whoever receives a descriptor of somebody else's memory cannot trust what it reads: the giver may still change it, or shorten it,
//! which ends who has it mapped by SIGBUS. A *sealed* file cannot be written, shortened or lengthened by anybody any more, the giver
//! included, and seals are never taken off. So the receiver asks the kernel for the seals and the length, once, and can rely
//! on both from then on. `fdpass` carries the descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::ipc::error::IpcError;

/// What a receiver insists on: nothing changes, neither the bytes nor how many there are.
const NEEDED: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// A file in memory that is being written. Nobody else can have it yet.
#[derive(Debug)]
pub struct MemoryFile(File);

impl MemoryFile {
    /// A new, empty one. The name is only for people: `/proc/PID/fd` shows it.
    ///
    /// # Errors
    /// What `memfd_create(2)` gives.
    pub fn create(name: &str) -> Result<Self, IpcError> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(name, flags).map_err(|errno| IpcError::system("create", object(name), errno))?;
        Ok(MemoryFile(File::from(fd)))
    }

    /// Reads what was written, from `offset` on, until `into` is full.
    ///
    /// # Errors
    /// What `pread(2)` gives; `UnexpectedEof` where there is less.
    pub fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    /// Ends the writing, for good and for everybody. Seals, too, are fixed.
    ///
    /// # Errors
    /// What `fcntl(2)` gives: EBUSY while somebody has the file mapped for writing.
    pub fn seal(self) -> Result<SealedFile, IpcError> {
        let failed = |errno| IpcError::system("seal", "a memfd", errno);
        fcntl(&self.0, FcntlArg::F_ADD_SEALS(NEEDED | SealFlag::F_SEAL_SEAL)).map_err(failed)?;
        let bytes = self.0.metadata().map_err(|error| IpcError::io("measure", "a memfd", &error))?.len();
        Ok(SealedFile { file: self.0, bytes })
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn object(name: &str) -> String {
    format!("memfd {name}")
}

/// Why a received descriptor is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSealed {
    /// It is no file that could be sealed.
    #[error("the descriptor is no memfd: {0}")]
    NoMemfd(Errno),
    /// Its bytes or its length may still change.
    #[error("the memfd is not sealed: it lacks {0}")]
    Unsealed(String),
    /// It has another length than was said.
    #[error("the memfd has {found} bytes and not {expected}")]
    Length {
        /// Bytes that it has.
        found: u64,
        /// Bytes that it was said to have.
        expected: u64,
    },
}

/// A file in memory that nobody can change any more.
#[derive(Debug)]
pub struct SealedFile {
    file: File,
    bytes: u64,
}

impl SealedFile {
    /// Takes a descriptor that came from another process, if it is what it was said to be: sealed, and `expected` bytes long.
    /// The descriptor is closed if it is not.
    ///
    /// # Errors
    /// It is not; the error says why.
    pub fn receive(fd: OwnedFd, expected: u64) -> Result<Self, NotSealed> {
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(NotSealed::NoMemfd)?;
        let missing = NEEDED.difference(SealFlag::from_bits_truncate(seals));
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter_names().map(|(name, _)| name).collect();
            return Err(NotSealed::Unsealed(names.join(", ")));
        }
        let file = File::from(fd);
        // After the seals were seen: now it stays what it is.
        let found = file.metadata().map_err(|error| NotSealed::NoMemfd(errno_of(&error)))?.len();
        if found != expected {
            return Err(NotSealed::Length { found, expected });
        }
        Ok(SealedFile { file, bytes: found })
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from `offset` on. The position that the descriptor has is that of all who share the open file, so it is not used.
    ///
    /// # Errors
    /// What `pread(2)` gives.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    /// Reads from `offset` on until `into` is full.
    ///
    /// # Errors
    /// What `pread(2)` gives; `UnexpectedEof` where there is less.
    pub fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    /// The open file alone.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// The open file, for `sendfile(2)` with an offset of its own.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for SealedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::fdpass;

    fn written(bytes: &[u8]) -> MemoryFile {
        let mut file = MemoryFile::create("vault-test").unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Gives a descriptor away and takes it as its receiver does.
    fn passed(fd: BorrowedFd<'_>, said: u64) -> Result<SealedFile, NotSealed> {
        let (near, far) = fdpass::pair().unwrap();
        fdpass::send(near.as_fd(), &said.to_le_bytes(), Some(fd)).unwrap();
        let mut buffer = [0; 8];
        let message = fdpass::receive(far.as_fd(), &mut buffer).unwrap().unwrap();
        SealedFile::receive(message.fd.unwrap(), u64::from_le_bytes(buffer))
    }

    #[test]
    fn what_is_sealed_arrives_and_stays() {
        for length in [0, 1, 4095, 4096, 100_000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let sealed = written(&bytes).seal().unwrap();
            let received = passed(sealed.as_fd(), length).unwrap();
            let mut read = vec![0; bytes.len() + 1];
            assert_eq!((received.read_at(&mut read, 0).unwrap(), received.bytes()), (bytes.len(), length));
            assert_eq!(read[..bytes.len()], bytes);
            // Neither side can change it, whatever it tries.
            for file in [sealed.file(), received.file()] {
                let refused = |done: io::Result<()>| done.unwrap_err().raw_os_error();
                assert_eq!(refused(file.write_all_at(b"x", 0)), Some(libc::EPERM));
                assert_eq!(refused(file.set_len(length + 1)), Some(libc::EPERM));
                assert!(length == 0 || refused(file.set_len(0)) == Some(libc::EPERM));
                let unsealed = fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE));
                assert_eq!(unsealed, Err(Errno::EPERM), "no more seals either");
            }
        }
    }

    #[test]
    fn what_may_still_change_or_is_something_else_is_refused() {
        let file = written(b"text");
        assert!(matches!(passed(file.0.as_fd(), 4), Err(NotSealed::Unsealed(lacks)) if lacks.contains("F_SEAL_WRITE")));
        let some = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK;
        fcntl(&file.0, FcntlArg::F_ADD_SEALS(some)).unwrap();
        let lacks = passed(file.0.as_fd(), 4).unwrap_err().to_string();
        assert_eq!(lacks, "the memfd is not sealed: it lacks F_SEAL_GROW");
        let sealed = file.seal().unwrap();
        for said in [3, 5] {
            let refused = passed(sealed.as_fd(), said).unwrap_err();
            assert!(matches!(refused, NotSealed::Length { found: 4, expected } if expected == said));
        }
        let (socket, _) = fdpass::pair().unwrap();
        assert!(matches!(passed(socket.as_fd(), 0), Err(NotSealed::NoMemfd(Errno::EINVAL))));
        // A file of a temporary file system could be sealed, but was not made to be.
        let shared = tempfile::tempfile_in("/dev/shm").unwrap();
        assert!(matches!(passed(shared.as_fd(), 0), Err(NotSealed::Unsealed(_) | NotSealed::NoMemfd(_))));
    }
}
