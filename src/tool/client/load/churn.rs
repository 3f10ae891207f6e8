//! A thread that makes a connection for every operation: connect, one PING, its answer, close. What it measures is how fast
//! a server takes connections in and lets them go.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::tool::client::connection::{Server, read_patiently, slice};
use crate::tool::client::error::ClientError;
use crate::tool::client::load::desk::Desk;
use crate::tool::client::load::line::Line;

/// Runs one thread to its end. Returns why it ended early, if it did: there is no second attempt, since a server that
/// cannot take a connection in is what this is to find.
pub fn drive(desk: &mut Desk<'_>) -> Option<ClientError> {
    let mut line = Line::new(desk.plan(), desk.number());
    loop {
        line.begin(None);
        let now = desk.now();
        line.fill(1, now, desk);
        if line.under_way() == 0 {
            line.finish(desk);
            return None;
        }
        if let Err(error) = visit(&mut line, desk) {
            line.lose(&error, desk);
            line.abandon(desk);
            return Some(error);
        }
    }
}

/// One connection: sends what the line holds, and leaves when it is answered.
fn visit(line: &mut Line, desk: &mut Desk<'_>) -> Result<(), ClientError> {
    const SENDING: &str = "sending a request";
    const WAITING: &str = "waiting for a reply";
    let server = &desk.plan().server;
    let timeout = server.timeout;
    let mut stream = knock(server).map_err(|errno| ClientError::Connect {
        address: server.address.to_string(),
        source: io::Error::from(errno),
    })?;
    stream.write_all(&line.out).map_err(|source| ClientError::from_io(SENDING, timeout, source))?;
    line.out.clear();
    while line.under_way() > 0 {
        let read = read_patiently(&mut line.inbox, &mut stream, timeout);
        let (count, _) = read.map_err(|source| ClientError::from_io(WAITING, timeout, source))?;
        if count == 0 {
            return Err(ClientError::closed(WAITING));
        }
        let now = desk.now();
        line.receive(now, desk)?;
    }
    Ok(())
}

/// Connects in as few calls as it takes: the generator shares its cores with the server that it measures.
fn knock(server: &Server) -> nix::Result<TcpStream> {
    let family = if server.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Closing resets the connection. Else each would keep its port for a minute, and there are some ten thousands of them.
    setsockopt(&fd, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    // The time-out for sending holds for connect(2), too (socket(7)).
    setsockopt(&fd, SendTimeout, &time_val(server.timeout)?)?;
    setsockopt(&fd, ReceiveTimeout, &time_val(slice(server.timeout))?)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(server.address))?;
    Ok(TcpStream::from(fd))
}

fn time_val(time: Duration) -> nix::Result<TimeVal> {
    let seconds = i64::try_from(time.as_secs()).map_err(|_| Errno::EDOM)?;
    Ok(TimeVal::new(seconds, i64::from(time.subsec_micros())))
}
