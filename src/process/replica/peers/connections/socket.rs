//! The system calls on the sockets of peers. None of them waits.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout};
use nix::sys::socket::{MsgFlags, sendmsg, setsockopt};

use crate::base::limits::PEER_SILENCE_SECONDS;
use crate::ipc::net;

/// Begins to connect. Whether that has succeeded is told by [`is_connected`] once the socket can be written to.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::from(mio::net::TcpStream::connect(address)?);
    prepare(&stream)?;
    Ok(stream)
}

/// Whether the connection is made; `false` while it is being made.
pub(super) fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// The next connection and where it comes from; `None` when there is none now.
pub(super) fn accept(listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    while let Some(fd) = net::accept(listener.as_fd())? {
        let stream = TcpStream::from(fd);
        // One that broke while it waited concerns nobody.
        if let (Ok(address), Ok(())) = (stream.peer_addr(), prepare(&stream)) {
            return Ok(Some((stream, address)));
        }
    }
    Ok(None)
}

/// Small frames go at once, and a peer whose machine is gone is noticed although nothing is to be sent to it.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, KeepAlive, &true)?;
    setsockopt(stream, TcpKeepIdle, &1)?;
    setsockopt(stream, TcpKeepInterval, &1)?;
    setsockopt(stream, TcpKeepCount, &(PEER_SILENCE_SECONDS - 1))?;
    setsockopt(stream, TcpUserTimeout, &(PEER_SILENCE_SECONDS * 1000))?;
    Ok(())
}

/// Sends both parts, or the beginning of them; no SIGPIPE. `WouldBlock` when nothing can be sent now.
pub(super) fn send(stream: &TcpStream, parts: [&[u8]; 2]) -> io::Result<usize> {
    let slices = parts.map(IoSlice::new);
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    Ok(sendmsg(stream.as_raw_fd(), &slices, &[], flags, None::<&()>)?)
}
