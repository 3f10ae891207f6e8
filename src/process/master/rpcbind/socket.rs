//! A stream on which no step takes longer than it may.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, UnixAddr, bind, connect, getsockopt, recv, send, socket,
    sockopt,
};

/// Ports that only root may have; the portmapper believes who has one. Those below are for servers.
const RESERVED_PORTS: std::ops::RangeInclusive<u16> = 600..=1023;

/// A connected stream that does not block.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Connects to a Unix socket. It never waits: one whose queue is full is an error (EAGAIN, `connect(2)`).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn to_path(path: &Path) -> io::Result<Stream> {
        let stream = Stream::new(AddressFamily::Unix)?;
        connect(stream.0.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(stream)
    }

    /// Connects to an address of IPv4, from a reserved port where this process may have one.
    ///
    /// # Errors
    /// What the kernel said; [`io::ErrorKind::TimedOut`] at the deadline.
    pub fn to_address(address: SocketAddrV4, deadline: Instant) -> io::Result<Stream> {
        let stream = Stream::new(AddressFamily::Inet)?;
        stream.take_reserved_port();
        match connect(stream.0.as_raw_fd(), &SockaddrIn::from(address)) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        stream.wait(PollFlags::POLLOUT, deadline)?;
        match getsockopt(&stream.0, sockopt::SocketError)? {
            0 => Ok(stream),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn new(family: AddressFamily) -> io::Result<Stream> {
        Ok(Stream(socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?))
    }

    fn take_reserved_port(&self) {
        for port in RESERVED_PORTS.rev() {
            let own = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            match bind(self.0.as_raw_fd(), &own) {
                Err(Errno::EADDRINUSE) => {}
                // It has one, or may have none.
                _ => return,
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the kernel said; [`io::ErrorKind::TimedOut`] at the deadline.
    pub fn write(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => bytes = &bytes[count.min(bytes.len())..],
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, deadline)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Reads what comes next into `room`.
    ///
    /// # Errors
    /// What the kernel said; [`io::ErrorKind::TimedOut`] at the deadline; [`io::ErrorKind::UnexpectedEof`] where nothing comes any more.
    pub fn read(&self, room: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            // First, since who sends one byte after the other has no more time than others.
            self.wait(PollFlags::POLLIN, deadline)?;
            match recv(self.0.as_raw_fd(), room, MsgFlags::empty()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.0.as_fd(), what)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
