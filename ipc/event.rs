//! One process wakes another's event loop (`eventfd(2)`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{self, EfdFlags};

use crate::ipc::error::IpcError;

/// A counter in the kernel that makes a poll wake up; made before fork, so that both sides have it.
pub struct EventFd(eventfd::EventFd);

impl EventFd {
    /// A new one, non-blocking and CLOEXEC.
    ///
    /// # Errors
    /// What `eventfd(2)` gives.
    pub fn new() -> Result<Self, IpcError> {
        eventfd::EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map(EventFd)
            .map_err(|errno| IpcError::system("make", "an eventfd", errno))
    }

    /// The one that another program of this process has made (`eventfd(2)`), with all who have it.
    #[must_use]
    pub fn adopt(fd: OwnedFd) -> Self {
        // SAFETY: it only fixes the type of a descriptor that is owned; a wrong one fails at the first use.
        EventFd(unsafe { eventfd::EventFd::from_owned_fd(fd) })
    }

    /// Wakes the other side. What it is to do, it reads in shared memory; write that first.
    pub fn send(&self) {
        // EAGAIN means that 2^64 - 2 wake-ups are pending: it will wake up anyway.
        let _ = self.0.write(1);
    }

    /// Takes all pending wake-ups; whether there were any.
    #[must_use]
    pub fn take(&self) -> bool {
        loop {
            match self.0.read() {
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
