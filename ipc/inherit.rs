//! Descriptors that survive `execve(2)`: named by their numbers on one side, owned again on the other.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Whether `fd` is to be closed when this process executes another program.
///
/// # Errors
/// What `fcntl(2)` gives.
pub fn close_on_exec(fd: BorrowedFd<'_>, close: bool) -> io::Result<()> {
    let flags = if close { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// The descriptors that the program before this one left open for it. There is one, made before anything else is opened.
pub struct Inheritance {
    taken: Vec<RawFd>,
}

impl Inheritance {
    /// Takes over what was left.
    ///
    /// # Safety
    /// Called once, first thing in the process: no number that will be asked for is owned by anybody else.
    #[must_use]
    unsafe fn new() -> Self {
        Inheritance { taken: Vec::new() }
    }

    /// The inheritance that the environment variable `variable` announces, with the message that came with it; `None` where there
    /// is none. The variable is not looked at again.
    ///
    /// # Errors
    /// The message cannot be read.
    pub fn announced_by(variable: &str) -> io::Result<Option<(Self, Vec<u8>)>> {
        use std::sync::atomic::{AtomicBool, Ordering};
        static LOOKED: AtomicBool = AtomicBool::new(false);
        let number = std::env::var(variable).ok().and_then(|text| text.parse().ok());
        let Some(number) = number.filter(|_| !LOOKED.swap(true, Ordering::Relaxed)) else { return Ok(None) };
        // SAFETY: once, as the flag makes sure, and called by a program's first steps; numbers from 3 on were opened by the
        // program before, which says so by the variable.
        let mut inheritance = unsafe { Inheritance::new() };
        let mut message = File::from(inheritance.take(number)?);
        message.rewind()?;
        let mut bytes = Vec::new();
        message.read_to_end(&mut bytes)?;
        Ok(Some((inheritance, bytes)))
    }

    /// Owns descriptor `number`.
    ///
    /// # Errors
    /// It is not open, is a standard one, or was taken already.
    pub fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        if number < 3 || self.taken.contains(&number) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: only borrowed, for a call that fails on a number that is not open.
        close_on_exec(unsafe { BorrowedFd::borrow_raw(number) }, true)?;
        self.taken.push(number);
        // SAFETY: open, as the call above has shown, and nobody else's, as `new` says and `taken` makes sure.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }
}

/// A message to the next program, which finds it by its number.
///
/// # Errors
/// What `memfd_create(2)` or writing gives.
pub fn message(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"vault-upgrade", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let fd = OwnedFd::from(file);
    debug_assert!(fd.as_raw_fd() > 2);
    Ok(fd)
}
