//! The drivers of a thread with a connection of its own: it keeps the pipeline full, and blocks until replies come; or, for churn,
//! it makes a connection for every operation, which measures how fast a server accepts and releases connections.
//!
//! With one request in flight, an operation costs one write, one read and one look at the clock. With many, all of these
//! serve a whole batch: a request's latency runs from the encoding of its batch to the return of the read that brought its
//! reply.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::tool::client::clock::nanoseconds;
use crate::tool::client::connection::{Connection, Server, receive, send, socket_timeout};
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::bank::{Bank, begin_session};
use crate::tool::client::load::pace::Starter;
use crate::tool::client::load::pipeline::Pipeline;
use crate::tool::client::load::protocol::ThreadState;
use crate::tool::client::load::thread::{LoadThread, ThreadResult, ThreadSetup};

/// Runs one thread and its connection.
pub fn run<'r>(setup: ThreadSetup<'r>, starter: Starter<'r>) -> ThreadResult {
    let (connection, mut thread) = setup.begin(starter, || Connection::find(&setup.plan.run.server))?;
    let failure = drive(connection, &mut thread);
    Some((thread.counters, failure.into_iter().collect()))
}

/// Drives one connection to its end. Returns why it ended early, if it did.
fn drive(connection: Connection, thread: &mut LoadThread<'_>) -> Option<ClientError> {
    let mut pipeline = Pipeline::new(thread.setup.plan, thread.setup.number);
    let mut address = connection.address;
    let (mut stream, mut xor) = connection.into_parts();
    loop {
        begin_session(&mut pipeline, xor);
        let Err(error) = exchange(&mut stream, &mut pipeline, thread) else {
            pipeline.finish(thread);
            return None;
        };
        pipeline.lose(&error, thread);
        if matches!(error, ClientError::Timeout { .. }) {
            // What does not answer may be cut off.
            thread.setup.plan.run.server.servers.suspect(address);
        }
        let reconnected = if error.is_transient() { reconnect(&mut pipeline, thread, error) } else { Err(error) };
        match reconnected {
            Ok(Some(connection)) => {
                address = connection.address;
                (stream, xor) = connection.into_parts();
            }
            Ok(None) => {
                pipeline.finish(thread);
                return None;
            }
            Err(error) => {
                pipeline.give_up(thread);
                return Some(error);
            }
        }
    }
}

/// Sends and receives until the plan is done.
fn exchange(
    stream: &mut TcpStream,
    pipeline: &mut Pipeline<Bank>,
    thread: &mut LoadThread<'_>,
) -> Result<(), ClientError> {
    const WAITING: &str = "waiting for replies";
    let timeout = thread.setup.plan.run.server.target.timeout;
    let mut now = thread.now();
    let mut last_reply = now;
    pipeline.fill(now, thread);
    loop {
        if pipeline.in_flight() == 0 {
            let Some(until) = pipeline.deferred_until() else { return Ok(()) };
            // No event tells when the server has room again.
            std::thread::sleep(Duration::from_nanos(until.saturating_sub(thread.now())));
            if interrupt::grace_is_over() {
                return Err(ClientError::Interrupted("waiting for room"));
            }
            now = thread.now();
            last_reply = now;
            pipeline.fill(now, thread);
            continue;
        }
        if !pipeline.out.is_empty() {
            send(stream, &mut pipeline.out, timeout, "sending requests")?;
        }
        receive(stream, pipeline.received.raw(), timeout, WAITING)?;
        now = thread.now();
        if pipeline.receive(now, thread)? > 0 {
            last_reply = now;
        } else if now - last_reply > nanoseconds(timeout) {
            // Bytes trickle in, but no reply is ever complete.
            return Err(ClientError::Timeout { doing: WAITING, after: timeout });
        }
        pipeline.fill(now, thread);
    }
}

/// Makes a new connection, with back-off between the attempts; `None` when there is nothing left to do with one.
fn reconnect(
    pipeline: &mut Pipeline<Bank>,
    thread: &mut LoadThread<'_>,
    mut why: ClientError,
) -> Result<Option<Connection>, ClientError> {
    let mut attempts = 0;
    loop {
        let is_done = thread.now() >= thread.deadline() || pipeline.has_sent_all();
        if is_done && !pipeline.has_resends() {
            return if attempts == 0 { Ok(None) } else { Err(why) };
        }
        if interrupt::grace_is_over() {
            return Err(ClientError::Interrupted("making the connection anew"));
        }
        attempts += 1;
        let wait = pipeline.reconnect_backoff.next_wait(thread.now(), &mut thread.pace.rng);
        let Some(wait) = wait else { return Err(why) };
        // No event tells when a server is back.
        std::thread::sleep(wait);
        match Connection::open(&thread.setup.plan.run.server) {
            Ok(connection) => {
                thread.counters.tally.reconnects += 1;
                return Ok(Some(connection));
            }
            Err(error) if error.is_transient() => why = error,
            Err(error) => return Err(error),
        }
    }
}

/// Runs one thread with a connection for every operation. It does not retry: a server that cannot accept a connection is what
/// churn is to find.
pub fn run_churn<'r>(setup: ThreadSetup<'r>, starter: Starter<'r>) -> ThreadResult {
    let ((), mut thread) = setup.begin(starter, || Ok(()))?;
    let mut pipeline = Pipeline::new(thread.setup.plan, thread.setup.number);
    loop {
        pipeline.begin();
        let now = thread.now();
        pipeline.fill(now, &mut thread);
        if pipeline.in_flight() == 0 {
            pipeline.finish(&mut thread);
            return Some((thread.counters, Vec::new()));
        }
        if let Err(error) = exchange_one(&mut pipeline, &mut thread) {
            pipeline.lose(&error, &mut thread);
            pipeline.give_up(&mut thread);
            return Some((thread.counters, vec![error]));
        }
    }
}

/// One connection of churn: sends the request, and closes after the reply.
fn exchange_one(pipeline: &mut Pipeline<Bank>, thread: &mut LoadThread<'_>) -> Result<(), ClientError> {
    let server = &thread.setup.plan.run.server;
    let timeout = server.target.timeout;
    let address = server.address();
    let mut stream =
        open_socket(server, address).map_err(|errno| server.connect_error(address, io::Error::from(errno)))?;
    send(&mut stream, &mut pipeline.out, timeout, "sending a request")?;
    while pipeline.in_flight() > 0 {
        receive(&mut stream, pipeline.received.raw(), timeout, "waiting for a reply")?;
        let now = thread.now();
        pipeline.receive(now, thread)?;
    }
    Ok(())
}

/// Connects with few system calls: the generator shares its cores with the server that it measures.
fn open_socket(server: &Server, address: SocketAddr) -> nix::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Close by a reset. Else each connection would keep its port for a minute (TIME_WAIT), and there are about 28,000 ports.
    setsockopt(&fd, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    // The send timeout bounds connect(2), too (socket(7)).
    setsockopt(&fd, SendTimeout, &time_val(server.connect_timeout())?)?;
    setsockopt(&fd, ReceiveTimeout, &time_val(socket_timeout(server.target.timeout))?)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(TcpStream::from(fd))
}

fn time_val(time: Duration) -> nix::Result<TimeVal> {
    let seconds = i64::try_from(time.as_secs()).map_err(|_| Errno::EDOM)?;
    Ok(TimeVal::new(seconds, i64::from(time.subsec_micros())))
}
