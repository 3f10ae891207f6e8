//! The driver of connection churn: a thread makes a connection for every operation, sends one PING, waits for the reply, and
//! closes. It measures how fast a server accepts and releases connections.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::tool::client::connection::{Server, read_with_timeout, socket_timeout};
use crate::tool::client::error::ClientError;
use crate::tool::client::load::pipeline::Pipeline;
use crate::tool::client::load::thread::{LoadThread, ThreadResult, ThreadSetup};

/// Runs one thread. It does not retry: a server that cannot accept a connection is what churn is to find.
pub fn run(setup: ThreadSetup<'_>) -> ThreadResult {
    let mut thread = setup.await_start(Ok(()))?;
    let mut pipeline = Pipeline::new(thread.plan(), thread.number());
    loop {
        pipeline.begin(None);
        let now = thread.now();
        pipeline.fill(1, now, &mut thread);
        if pipeline.in_flight() == 0 {
            pipeline.finish(&mut thread);
            return Some((thread.counters, Vec::new()));
        }
        if let Err(error) = exchange(&mut pipeline, &mut thread) {
            pipeline.lose(&error, &mut thread);
            pipeline.give_up(&mut thread);
            return Some((thread.counters, vec![error]));
        }
    }
}

/// One connection: sends the request, and closes after the reply.
fn exchange(pipeline: &mut Pipeline, thread: &mut LoadThread<'_>) -> Result<(), ClientError> {
    const SENDING: &str = "sending a request";
    const WAITING: &str = "waiting for a reply";
    let server = &thread.plan().server;
    let timeout = server.timeout;
    let mut stream = open_socket(server).map_err(|errno| ClientError::Connect {
        address: server.address.to_string(),
        source: io::Error::from(errno),
    })?;
    stream.write_all(&pipeline.out).map_err(|source| ClientError::from_io(SENDING, timeout, source))?;
    pipeline.out.clear();
    while pipeline.in_flight() > 0 {
        let read = read_with_timeout(&mut pipeline.received, &mut stream, timeout);
        let (count, _) = read.map_err(|source| ClientError::from_io(WAITING, timeout, source))?;
        if count == 0 {
            return Err(ClientError::closed(WAITING));
        }
        let now = thread.now();
        pipeline.receive(now, thread)?;
    }
    Ok(())
}

/// Connects with few system calls: the generator shares its cores with the server that it measures.
fn open_socket(server: &Server) -> nix::Result<TcpStream> {
    let family = if server.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Close by a reset. Else each connection would keep its port for a minute (TIME_WAIT), and there are about 28,000 ports.
    setsockopt(&fd, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    // The send timeout bounds connect(2), too (socket(7)).
    setsockopt(&fd, SendTimeout, &time_val(server.timeout)?)?;
    setsockopt(&fd, ReceiveTimeout, &time_val(socket_timeout(server.timeout))?)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(server.address))?;
    Ok(TcpStream::from(fd))
}

fn time_val(time: Duration) -> nix::Result<TimeVal> {
    let seconds = i64::try_from(time.as_secs()).map_err(|_| Errno::EDOM)?;
    Ok(TimeVal::new(seconds, i64::from(time.subsec_micros())))
}
