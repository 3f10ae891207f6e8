//! Writing to a standard descriptor without ever waiting for its reader.
//!
//! Descriptors 1 and 2 are shared with strangers: the shell, a service manager, other programs of the same pipeline. O_NONBLOCK
//! belongs to the open file description and not to the descriptor, so setting it here would change theirs. What is done
//! instead depends on what the descriptor is:
//!
//! - a pipe or a terminal: it is opened anew by its name in `/proc/self/fd`, which makes an open file description of its own,
//!   and the descriptor is replaced by that. Children inherit it.
//! - where that is not allowed (the pipe is another user's): each write carries RWF_NOWAIT (`pwritev2(2)`), and where the kernel
//!   does not know that for pipes, the descriptor is polled first.
//! - a socket, such as the one of a service manager's journal: each send carries MSG_DONTWAIT.
//! - a file: a write to it waits for the disk at most. It is not opened anew, because its offset is shared.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, dup2_stdout, isatty, write};

/// Which of the two standard descriptors that are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// What keeps a write from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// The open file description does not block, or is a file.
    Plain,
    /// A flag of each write.
    Flagged,
    /// A flag of each send.
    Socket,
}

/// A standard descriptor that takes what it has room for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    which: Standard,
    means: Means,
}

impl Output {
    /// Prepares a descriptor; see the module's text. What cannot be prepared is written to as well as can be.
    #[must_use]
    pub fn prepare(which: Standard) -> Output {
        let means = with(which, |fd| {
            let kind = fstat(fd).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
            if kind == SFlag::S_IFSOCK {
                return Means::Socket;
            }
            let may_wait = kind == SFlag::S_IFIFO || isatty(fd).unwrap_or(false);
            if !may_wait || is_non_blocking(fd) || replace(which, fd).is_ok() { Means::Plain } else { Means::Flagged }
        });
        Output { which, means }
    }

    /// Writes once, without waiting, and tells how many bytes were taken. Up to PIPE_BUF (4096) bytes are taken by a pipe whole
    /// or not at all (`pipe(7)`).
    ///
    /// # Errors
    /// EAGAIN when there is no room; else what `write(2)` gives. SIGPIPE must be ignored.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match with(self.which, |fd| self.means.write(fd, bytes)) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }
}

impl Means {
    fn write(self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Means::Plain => write(fd, bytes),
            Means::Socket => send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Means::Flagged => match write_without_waiting(fd, bytes) {
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if has_room(fd)? => write(fd, bytes),
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Err(Errno::EAGAIN),
                done => done,
            },
        }
    }
}

fn with<T>(which: Standard, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    match which {
        Standard::Output => act(io::stdout().as_fd()),
        Standard::Error => act(io::stderr().as_fd()),
    }
}

fn is_non_blocking(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK))
}

/// Puts an open file description of this process' own, which does not block, in the place of the one that it shares.
fn replace(which: Standard, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let own: OwnedFd = open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags, Mode::empty())?;
    match which {
        Standard::Output => dup2_stdout(own),
        Standard::Error => dup2_stderr(own),
    }
}

fn write_without_waiting(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let vector = [IoSlice::new(bytes)];
    // SAFETY: IoSlice has the layout of iovec, and the one in the array names `bytes`, which outlive the call. The offset -1 means
    // the file's own position (`pwritev2(2)`).
    let written =
        unsafe { libc::pwritev2(fd.as_raw_fd(), vector.as_ptr().cast::<libc::iovec>(), 1, -1, libc::RWF_NOWAIT) };
    Errno::result(written).map(|count| usize::try_from(count).unwrap_or(0))
}

/// Whether a pipe has room for PIPE_BUF bytes, or a terminal for any. Another process may take it before it is used.
fn has_room(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use nix::pty::openpty;

    /// Writes until there is no room, which must be said at once; then there is room again, and the next line comes whole.
    fn fill(means: Means, writer: BorrowedFd<'_>, reader: &mut impl Read) {
        let line = [b'x'; 1000];
        let mut taken = 0;
        let refusal = loop {
            match means.write(writer, &line) {
                Ok(count) => taken += count,
                Err(errno) => break errno,
            }
        };
        assert_eq!(refusal, Errno::EAGAIN, "{means:?}");
        assert!(
            taken >= line.len() && !is_non_blocking(writer),
            "{means:?}: {taken}, and nobody else's flag is changed"
        );
        reader.read_exact(&mut vec![0; taken]).unwrap();
        assert_eq!(means.write(writer, b"again"), Ok(5), "{means:?}");
    }

    #[test]
    fn where_flags_of_each_write_keep_it_from_waiting() {
        let (mut reader, writer) = io::pipe().unwrap();
        fill(Means::Flagged, writer.as_fd(), &mut reader);
        let (mut reader, writer) = UnixStream::pair().unwrap();
        fill(Means::Socket, writer.as_fd(), &mut reader);
        drop(reader);
        assert_eq!(Means::Socket.write(writer.as_fd(), b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_terminal_that_is_stopped_takes_nothing_and_does_not_wait() {
        let pty = openpty(None, None).unwrap();
        nix::sys::termios::tcflow(&pty.slave, nix::sys::termios::FlowArg::TCOOFF).unwrap();
        assert_eq!(Means::Flagged.write(pty.slave.as_fd(), b"x"), Err(Errno::EAGAIN));
    }
}
