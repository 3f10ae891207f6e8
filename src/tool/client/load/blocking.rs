//! The driver of a thread with a connection of its own: it keeps the pipeline full, and blocks until replies come.
//!
//! With one request in flight, an operation costs one write, one read and one look at the clock. With many, all of these
//! serve a whole batch: a request's latency runs from the encoding of its batch to the return of the read that brought its
//! reply.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::service::bank::wire::XorKey;
use crate::tool::client::clock::nanoseconds;
use crate::tool::client::connection::{Connection, read_with_timeout};
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::pipeline::Pipeline;
use crate::tool::client::load::thread::{LoadThread, ThreadResult, ThreadSetup};

/// Runs one thread and its connection.
pub fn run(setup: ThreadSetup<'_>) -> ThreadResult {
    match Connection::open(&setup.plan.server) {
        Ok(connection) => {
            let mut thread = setup.await_start(Ok(()))?;
            let failure = drive(connection, &mut thread);
            Some((thread.counters, failure.into_iter().collect()))
        }
        Err(error) => {
            setup.await_start(Err(error));
            None
        }
    }
}

/// Drives one connection to its end. Returns why it ended early, if it did.
fn drive(connection: Connection, thread: &mut LoadThread<'_>) -> Option<ClientError> {
    let mut pipeline = Pipeline::new(thread.plan(), thread.number());
    let (mut stream, mut xor) = connection.into_parts();
    loop {
        pipeline.begin(xor);
        let Err(error) = exchange(&mut stream, &mut pipeline, thread) else {
            pipeline.finish(thread);
            return None;
        };
        pipeline.lose(&error, thread);
        let reconnected = if error.is_transient() { reconnect(&mut pipeline, thread, error) } else { Err(error) };
        match reconnected {
            Ok(Some(parts)) => (stream, xor) = parts,
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
fn exchange(stream: &mut TcpStream, pipeline: &mut Pipeline, thread: &mut LoadThread<'_>) -> Result<(), ClientError> {
    const SENDING: &str = "sending requests";
    const WAITING: &str = "waiting for replies";
    let plan = thread.plan();
    let timeout = plan.server.timeout;
    let mut now = thread.now();
    let mut last_reply = now;
    pipeline.fill(plan.depth, now, thread);
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
            pipeline.fill(plan.depth, now, thread);
            continue;
        }
        if !pipeline.out.is_empty() {
            stream.write_all(&pipeline.out).map_err(|source| ClientError::from_io(SENDING, timeout, source))?;
            pipeline.out.clear();
        }
        let read = read_with_timeout(&mut pipeline.received, stream, timeout);
        let (count, _) = read.map_err(|source| ClientError::from_io(WAITING, timeout, source))?;
        if count == 0 {
            return Err(ClientError::closed(WAITING));
        }
        now = thread.now();
        if pipeline.receive(now, thread)? > 0 {
            last_reply = now;
        } else if now - last_reply > nanoseconds(timeout) {
            // Bytes trickle in, but no reply is ever complete.
            return Err(ClientError::Timeout { doing: WAITING, after: timeout });
        }
        pipeline.fill(plan.depth, now, thread);
    }
}

/// Makes a new connection, with back-off between the attempts; `None` when there is nothing left to do with one.
fn reconnect(
    pipeline: &mut Pipeline,
    thread: &mut LoadThread<'_>,
    mut why: ClientError,
) -> Result<Option<(TcpStream, Option<XorKey>)>, ClientError> {
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
        let wait = pipeline.reconnect_backoff.next_wait(thread.now(), &mut thread.rng);
        let Some(wait) = wait else { return Err(why) };
        // No event tells when a server is back.
        std::thread::sleep(wait);
        match Connection::open(&thread.plan().server) {
            Ok(connection) => {
                thread.counters.reconnects += 1;
                return Ok(Some(connection.into_parts()));
            }
            Err(error) if error.is_transient() => why = error,
            Err(error) => return Err(error),
        }
    }
}
