//! Descriptors that survive `execve(2)`: named by their numbers on one side, owned again on the other.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    message: OwnedFd,
    taken: Vec<RawFd>,
}

impl Inheritance {
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
        check(number)?;
        // SAFETY: open, as just checked. Once, as the flag makes sure, and called by a program's first steps, so nobody else owns it:
        // numbers from 3 on were opened by the program before, which says so by the variable.
        let message = unsafe { OwnedFd::from_raw_fd(number) };
        close_on_exec(message.as_fd(), true)?;
        let mut file = File::from(message);
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some((Inheritance { message: file.into(), taken: vec![number] }, bytes)))
    }

    /// Whether all of these are open, and could be taken.
    ///
    /// # Errors
    /// One of them is not.
    pub fn check(&self, numbers: impl IntoIterator<Item = RawFd>) -> io::Result<()> {
        numbers.into_iter().try_for_each(check)
    }

    /// The descriptor of the message, for a program that is executed to be told the same.
    #[must_use]
    pub fn message(&self) -> BorrowedFd<'_> {
        self.message.as_fd()
    }

    /// Owns descriptor `number`.
    ///
    /// # Errors
    /// It is not open, is a standard one, or was taken already.
    pub fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        if self.taken.contains(&number) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        check(number)?;
        self.taken.push(number);
        // SAFETY: open, as just checked, and nobody else's: it is one of those that the program before has left, none of which
        // is closed or owned before it is taken, and `taken` makes sure that it is taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        close_on_exec(fd.as_fd(), true)?;
        Ok(fd)
    }
}

/// Whether `number` is an open descriptor that may have been left.
fn check(number: RawFd) -> io::Result<()> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only borrowed, for a call that fails on a number that is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_GETFD).map(drop).map_err(io::Error::from)
}

/// Executes the program in the open file `number`, whose path may lead elsewhere by now (`fexecve(3)`); comes back only with an error.
#[must_use]
pub fn execute_file(number: RawFd, arguments: &[CString], environment: &[CString]) -> io::Error {
    if let Err(error) = check(number) {
        return error;
    }
    // SAFETY: open, as just checked; only borrowed for a call that does not come back, or fails.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    match nix::unistd::fexecve(file, arguments, environment) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
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
