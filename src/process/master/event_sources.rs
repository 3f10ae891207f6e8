//! The kernel's side of the master's loop: what it waits in, and what the tokens of its events mean.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ipc::IpcError;
use crate::process::master::error::MasterError;

/// Of the signalfd.
pub const SIGNALS: Token = Token(0);
/// Of whatever connections are accepted from.
pub const LISTENER: Token = Token(1);
/// Of the journal process' pidfd.
pub const JOURNAL: Token = Token(usize::MAX);
/// Of the cache process' pidfd.
pub const CACHE: Token = Token(usize::MAX - 1);
/// Of the replica process' pidfd.
pub const REPLICA: Token = Token(usize::MAX - 2);
/// Tokens of the workers' pidfds begin here, in steps of two; those of their lanes lie between.
pub const WORKERS: usize = 2;

/// The kernel's side of the loop: what is waited in, and what signals come from.
pub struct EventSources {
    /// What is waited in.
    pub poll: Poll,
    /// Where signals are read from.
    pub signals: SignalFd,
}

impl EventSources {
    /// Makes both. The signals must be blocked already.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn new() -> Result<Self, MasterError> {
        let poll = Poll::new().map_err(|source| MasterError::Io { step: "make an epoll", source })?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&handled_signals(), flags)
            .map_err(|errno| IpcError::system("make", "a signalfd", errno))?;
        let sources = EventSources { poll, signals };
        sources.watch(sources.signals.as_fd(), SIGNALS)?;
        Ok(sources)
    }

    /// Watches `fd`, edge-triggered as all of mio is.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` gives.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: Token) -> Result<(), IpcError> {
        let watched = self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE);
        watched.map_err(|error| IpcError::io("watch", "a descriptor (epoll_ctl)", &error))
    }

    /// Watches `fd` no more. A pidfd stays ready after its process was collected.
    pub fn unwatch(&self, fd: BorrowedFd<'_>) {
        // It fails for one that is not watched.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
    }
}

/// The signals that the master reads instead of being interrupted by them.
#[must_use]
pub fn handled_signals() -> SigSet {
    use Signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    [SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2].into_iter().collect()
}
