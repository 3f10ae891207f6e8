//! Listening sockets, and what they accept.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, getsockname, listen, setsockopt, socket,
};

use crate::ipc::error::IpcError;

/// Connections that the kernel may queue before anybody accepts them.
const BACKLOG: i32 = 4096;

/// A non-blocking TCP socket that listens on `address`; port 0 lets the kernel choose. With `shared_port` others may listen
/// on the same port, if they say so too (SO_REUSEPORT).
///
/// What it accepts sends small replies at once: TCP_NODELAY is inherited from here, which saves a call per connection.
///
/// # Errors
/// The address is in use, not this machine's, or not allowed.
pub fn listener(address: SocketAddr, shared_port: bool) -> Result<OwnedFd, IpcError> {
    let fail = |step| move |errno| IpcError::system(step, address.to_string(), errno);
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None).map_err(fail("make a socket for"))?;
    setsockopt(&fd, ReuseAddr, &true).map_err(fail("set SO_REUSEADDR for"))?;
    if shared_port {
        setsockopt(&fd, ReusePort, &true).map_err(fail("set SO_REUSEPORT for"))?;
    }
    setsockopt(&fd, TcpNoDelay, &true).map_err(fail("set TCP_NODELAY for"))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(fail("bind"))?;
    let backlog = Backlog::new(BACKLOG).map_err(fail("listen on"))?;
    listen(&fd, backlog).map_err(fail("listen on"))?;
    Ok(fd)
}

/// The address that a socket is bound to.
///
/// # Errors
/// What `getsockname(2)` gives.
pub fn local_address(socket: BorrowedFd<'_>) -> Result<SocketAddr, IpcError> {
    let fail = |errno| IpcError::system("read the address of", "a listening socket", errno);
    let storage: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(fail)?;
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    let v6 = || storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into()));
    v4.or_else(v6).ok_or_else(|| fail(Errno::EAFNOSUPPORT))
}

/// The next connection, non-blocking and CLOEXEC; `None` when there is none now.
///
/// # Errors
/// What `accept4(2)` gives, but for errors of a connection that broke while it waited: EMFILE, ENFILE, ENOBUFS, ENOMEM.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            // SAFETY: the kernel has just made this descriptor for this process, and nobody else knows it.
            Ok(raw) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) })),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EBADF)) => {
                return Err(errno.into());
            }
            // accept(2): pending network errors of the new connection are passed on; they concern nobody else.
            Err(_) => {}
        }
    }
}
