//! Listening sockets, and what they accept.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, getpeername, getsockname, listen,
    setsockopt, socket,
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
    let fd = bound(address, shared_port)?;
    let backlog = Backlog::new(BACKLOG).map_err(fail("listen on"))?;
    listen(&fd, backlog).map_err(fail("listen on"))?;
    Ok(fd)
}

/// Whether a [`listener`] with a port of its own could be had now: binds a socket, and lets it go.
///
/// # Errors
/// As of [`listener`].
pub fn try_address(address: SocketAddr) -> Result<(), IpcError> {
    bound(address, false).map(drop)
}

fn bound(address: SocketAddr, shared_port: bool) -> Result<OwnedFd, IpcError> {
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
    Ok(fd)
}

/// Lets others of this user listen on the port of `listener`, which had it alone until now (SO_REUSEPORT). The kernel looks at the
/// option when another socket is bound, so it may be set afterwards.
///
/// # Errors
/// What `setsockopt(2)` gives.
pub fn share_port(listener: BorrowedFd<'_>) -> Result<(), IpcError> {
    setsockopt(&listener, ReusePort, &true)
        .map_err(|errno| IpcError::system("set SO_REUSEPORT for", "a listening socket", errno))
}

/// Has the kernel keep connections of a listening socket to itself until the client has sent something, or for about `seconds`
/// (TCP_DEFER_ACCEPT, tcp(7)): a client that speaks first and at once is never seen silent, however many others are.
///
/// # Errors
/// What `setsockopt(2)` gives.
pub fn defer_accept(listener: BorrowedFd<'_>, seconds: i32) -> Result<(), IpcError> {
    set_tcp_option(listener, libc::TCP_DEFER_ACCEPT, seconds)
        .map_err(|errno| IpcError::system("set TCP_DEFER_ACCEPT for", "a listening socket", errno))
}

/// Has the kernel wait with a segment that is not full for what follows (TCP_CORK, tcp(7)). That must come at once, be it more bytes or
/// the end of the stream: it waits for 200 ms, or until [`push`]. Sockets that are not TCP's do not wait.
pub fn hold_back(socket: BorrowedFd<'_>) {
    let _ = set_tcp_option(socket, libc::TCP_CORK, 1);
}

/// Has the kernel send what it waits with, be it for [`hold_back`] or for MSG_MORE.
pub fn push(socket: BorrowedFd<'_>) {
    let _ = set_tcp_option(socket, libc::TCP_CORK, 0);
}

fn set_tcp_option(socket: BorrowedFd<'_>, option: i32, number: i32) -> Result<(), Errno> {
    let (value, length) = ((&raw const number).cast(), size_of::<i32>());
    let length = libc::socklen_t::try_from(length).unwrap_or(0);
    // SAFETY: `value` is an int of `length` bytes, which lives until the call is over; the kernel only reads it.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, length) };
    Errno::result(set).map(drop)
}

/// The address that a socket is bound to.
///
/// # Errors
/// What `getsockname(2)` gives.
pub fn local_address(socket: BorrowedFd<'_>) -> Result<SocketAddr, IpcError> {
    let fail = |errno| IpcError::system("read the address of", "a listening socket", errno);
    let storage: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(fail)?;
    internet(&storage).ok_or_else(|| fail(Errno::EAFNOSUPPORT))
}

/// The address of a connection's other end; `None` when it is gone already.
#[must_use]
pub fn peer_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    internet(&getpeername(socket.as_raw_fd()).ok()?)
}

fn internet(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
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

/// What a TCP connection has moved since it began, as its kernel end counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that were read out of the socket.
    pub consumed: u64,
    /// Bytes that were written into the socket, whether they have left it or not.
    pub handed_over: u64,
}

/// States in which the peer's FIN is in, and counted like a byte (`tcp_states.h`): TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING.
const STATES_WITH_FIN: [u8; 4] = [6, 8, 9, 11];
/// The connection is gone, and with it the counts.
const STATE_CLOSE: u8 = 7;

/// Counts what all processes have read from and written to `socket`. None may be reading or writing meanwhile.
///
/// The numbers come from TCP_INFO and SIOCINQ (`tcp(7)`), which the kernel moves on by itself as segments come and go: they
/// are read again until twice the same.
///
/// # Errors
/// The connection was reset, or is no TCP connection.
pub fn moved(socket: BorrowedFd<'_>) -> io::Result<Moved> {
    let mut last = look(socket)?;
    loop {
        let now = look(socket)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

fn look(socket: BorrowedFd<'_>) -> io::Result<Moved> {
    let info = tcp_info(socket)?;
    let mut unread: libc::c_int = 0;
    // SAFETY: a place for the result of this request, which is SIOCINQ for a TCP socket.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut unread) })?;
    if info.tcpi_state == STATE_CLOSE {
        return Err(Errno::ENOTCONN.into());
    }
    let fin = u64::from(STATES_WITH_FIN.contains(&info.tcpi_state));
    let unread = u64::try_from(unread).unwrap_or(0);
    Ok(Moved {
        consumed: info.tcpi_bytes_received.saturating_sub(unread + fin),
        handed_over: (info.tcpi_bytes_sent - info.tcpi_bytes_retrans) + u64::from(info.tcpi_notsent_bytes),
    })
}

fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    // SAFETY: a structure of numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let wanted = size_of::<libc::tcp_info>();
    let mut length = libc::socklen_t::try_from(wanted).map_err(io::Error::other)?;
    let place = (&raw mut info).cast::<libc::c_void>();
    // SAFETY: a place of `length` bytes for the result; the kernel writes no more than that.
    let read =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length) };
    Errno::result(read)?;
    if (length as usize) < wanted.min(OLDEST_KERNEL_BYTES) {
        return Err(Errno::ENOTCONN.into());
    }
    Ok(info)
}

/// Up to and with `tcpi_bytes_retrans`, which kernels have since 4.19.
const OLDEST_KERNEL_BYTES: usize = std::mem::offset_of!(libc::tcp_info, tcpi_bytes_retrans) + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::files;
    use std::io::{IoSlice, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Sends a few bytes that the kernel waits with.
    fn send_held_back(server: &TcpStream, by_option: bool) {
        let sent = if by_option {
            hold_back(server.as_fd());
            files::send_parts(server.as_fd(), &[IoSlice::new(b"tail")])
        } else {
            files::send_parts_more(server.as_fd(), &[IoSlice::new(b"tail")])
        };
        assert_eq!(sent.unwrap(), 4);
    }

    fn segments_out(stream: &TcpStream) -> u32 {
        tcp_info(stream.as_fd()).unwrap().tcpi_segs_out
    }

    /// Whether it holds in one of a few tries: the kernel waits for 200 ms only, and this thread may have to wait for longer.
    fn in_some_try(by_option: bool, holds: impl Fn(&mut TcpStream, &TcpStream, u32) -> bool) -> bool {
        (0..10).any(|_| {
            let (mut client, server) = pair();
            let segments = segments_out(&server);
            send_held_back(&server, by_option);
            holds(&mut client, &server, segments)
        })
    }

    #[test]
    fn what_is_held_back_goes_out_in_one_segment_with_the_end_of_the_stream() {
        for by_option in [true, false] {
            let is_one = |client: &mut TcpStream, server: &TcpStream, before| {
                server.shutdown(Shutdown::Write).unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                assert_eq!(got, b"tail");
                segments_out(server) == before + 1
            };
            assert!(in_some_try(by_option, is_one), "by option: {by_option}");
        }
    }

    #[test]
    fn what_is_held_back_goes_out_when_it_is_pushed() {
        for by_option in [true, false] {
            let has_waited = |client: &mut TcpStream, server: &TcpStream, _| {
                let waiting = || tcp_info(server.as_fd()).unwrap().tcpi_notsent_bytes;
                let waited = waiting() == 4;
                push(server.as_fd());
                assert_eq!(waiting(), 0);
                client.read_exact(&mut [0; 4]).unwrap();
                waited
            };
            assert!(in_some_try(by_option, has_waited), "by option: {by_option}");
        }
    }

    #[test]
    fn counts_are_exact_in_every_state_of_a_connection() {
        let (mut client, mut server) = pair();
        let moved = |stream: &TcpStream| moved(stream.as_fd()).unwrap();
        assert_eq!(moved(&server), Moved { consumed: 0, handed_over: 0 });
        client.write_all(&[1; 5_000]).unwrap();
        server.read_exact(&mut [0; 1_234]).unwrap();
        assert_eq!(moved(&server), Moved { consumed: 1_234, handed_over: 0 }, "the rest is unread");
        // More than the peer takes: what is queued and unsent counts as well.
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = server.write(&[2; 100_000]) {
            written += count as u64;
        }
        assert_eq!(moved(&server), Moved { consumed: 1_234, handed_over: written });
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(moved(&server).consumed, 1_234, "a FIN is no byte");
        server.set_nonblocking(false).unwrap();
        server.read_exact(&mut [0; 3_766]).unwrap();
        assert_eq!(moved(&server).consumed, 5_000, "all but the end");
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(moved(&server).consumed, 5_000, "also when the end was read");
        let mut left = written;
        while left > 0 {
            left -= client.read(&mut vec![0; 65_536]).unwrap() as u64;
        }
        assert_eq!(moved(&server), Moved { consumed: 5_000, handed_over: written }, "all acknowledged");
    }

    #[test]
    fn a_port_that_was_had_alone_first_is_shared_afterwards() {
        for host in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let first = listener(host.parse().unwrap(), false).unwrap();
            let address = local_address(first.as_fd()).unwrap();
            for shared in [false, true] {
                assert_eq!(listener(address, shared).unwrap_err().errno(), Some(Errno::EADDRINUSE), "{address}");
            }
            assert_eq!(try_address(address).unwrap_err().errno(), Some(Errno::EADDRINUSE));
            share_port(first.as_fd()).unwrap();
            let second = listener(address, true).unwrap();
            assert_eq!(try_address(address).unwrap_err().errno(), Some(Errno::EADDRINUSE), "but never to be had alone");
            assert_eq!(listener(address, false).unwrap_err().errno(), Some(Errno::EADDRINUSE));
            // The kernel deals connections out between the two: in 64 tries each gets some.
            let target = SocketAddr::from(([127, 0, 0, 1], address.port()));
            let target = if address.is_ipv6() { address } else { target };
            let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(target).unwrap()).collect();
            let taken = |fd: &OwnedFd| std::iter::from_fn(|| accept(fd.as_fd()).unwrap()).count();
            let (at_first, at_second) = (taken(&first), taken(&second));
            assert_eq!(at_first + at_second, clients.len());
            assert!(at_first > 0 && at_second > 0, "{at_first} and {at_second}");
        }
    }

    #[test]
    fn a_connection_that_was_reset_has_no_counts() {
        let (client, mut server) = pair();
        server.write_all(b"never read").unwrap();
        drop(client);
        while server.write_all(b"x").is_ok() {}
        assert_eq!(moved(server.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    }
}
