//! Sockets by which processes of this machine meet: SEQPACKET, with a name in the kernel's abstract namespace (`unix(7)`).
//!
//! An abstract name is no file. It is gone with the socket, so the death of who listens leaves nothing. Anybody may connect, and anybody may take
//! a name that is free: each side asks the kernel who the other is ([`peer`]) before it believes a word.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect as connect_to, getsockopt, listen,
    socket,
};

use crate::ipc::error::IpcError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Who is at the other end, as the kernel noted it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

impl Peer {
    /// Whether it is a process of this process' user.
    #[must_use]
    pub fn is_this_user(self) -> bool {
        self.uid == nix::unistd::geteuid().as_raw()
    }
}

/// A socket that others connect to; its name is gone when it is dropped.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens by this abstract name.
    ///
    /// # Errors
    /// The name is taken (EADDRINUSE), or longer than 107 bytes.
    pub fn bind(name: &str) -> Result<Self, IpcError> {
        let failed = |errno| IpcError::system("listen at", format!("the abstract socket @{name}"), errno);
        let socket = new_socket().map_err(failed)?;
        let address = UnixAddr::new_abstract(name.as_bytes()).map_err(failed)?;
        bind(socket.as_raw_fd(), &address).map_err(failed)?;
        listen(&socket, Backlog::new(BACKLOG).map_err(failed)?).map_err(failed)?;
        Ok(Listener(socket))
    }

    /// The next connection; `None` when none waits. Never waits.
    ///
    /// # Errors
    /// What `accept4(2)` gives.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        loop {
            return match accept4(self.0.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
                // SAFETY: the kernel has just installed this descriptor, and nobody else knows it.
                Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(Errno::EAGAIN) => Ok(None),
                Err(errno) => Err(errno.into()),
            };
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Connects to who listens by this abstract name. Never waits.
///
/// # Errors
/// Nobody listens (ECONNREFUSED), or too many wait to be accepted (EAGAIN).
pub fn connect(name: &str) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    connect_to(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// Who is at the other end of a connection: who listened, or who connected.
///
/// # Errors
/// What `getsockopt(2)` gives.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials)?;
    Ok(Peer { pid: u32::try_from(credentials.pid()).unwrap_or(0), uid: credentials.uid() })
}

fn new_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::fdpass;

    #[test]
    fn who_connects_is_known_and_the_name_goes_with_the_listener() {
        let name = format!("test-local-socket-{}", std::process::id());
        assert_eq!(connect(&name).unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
        let listener = Listener::bind(&name).unwrap();
        assert_eq!(Listener::bind(&name).unwrap_err().errno(), Some(Errno::EADDRINUSE));
        assert!(listener.accept().unwrap().is_none());
        let far = connect(&name).unwrap();
        let near = listener.accept().unwrap().unwrap();
        for end in [&near, &far] {
            let peer = peer(end.as_fd()).unwrap();
            assert_eq!(peer.pid, std::process::id());
            assert!(peer.is_this_user());
        }
        fdpass::send(far.as_fd(), b"hello", None).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(fdpass::receive(near.as_fd(), &mut buffer).unwrap().unwrap().length, 5);
        drop(listener);
        assert_eq!(connect(&name).unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
        Listener::bind(&name).unwrap();
        assert!(Listener::bind(&"x".repeat(108)).is_err());
    }
}
