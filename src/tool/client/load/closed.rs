//! A thread with a connection of its own: it sends as many requests as may be under way, waits for replies, and sends as
//! many more as were answered.
//!
//! With one request under way, an operation costs one write, one read and one look at the clock. With many, all of them
//! serve a whole batch: a request's time runs from when its batch was made to when the read that brought its reply
//! returned.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::service::bank::wire::XorKey;
use crate::tool::client::connection::{Connection, read_patiently};
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::desk::Desk;
use crate::tool::client::load::line::Line;
use crate::tool::client::time::nanoseconds;

/// Runs one connection to its end. Returns why it ended early, if it did.
pub fn drive(connection: Connection, desk: &mut Desk<'_>) -> Option<ClientError> {
    let mut line = Line::new(desk.plan(), desk.number());
    let (mut stream, mut xor) = connection.into_parts();
    loop {
        line.begin(xor);
        let Err(error) = converse(&mut stream, &mut line, desk) else {
            line.finish(desk);
            return None;
        };
        line.lose(&error, desk);
        let back = if error.is_passing() { reconnect(&mut line, desk, error) } else { Err(error) };
        match back {
            Ok(Some(parts)) => (stream, xor) = parts,
            Ok(None) => {
                line.finish(desk);
                return None;
            }
            Err(error) => {
                line.abandon(desk);
                return Some(error);
            }
        }
    }
}

/// Sends and receives until the plan is done.
fn converse(stream: &mut TcpStream, line: &mut Line, desk: &mut Desk<'_>) -> Result<(), ClientError> {
    const SENDING: &str = "sending requests";
    const WAITING: &str = "waiting for replies";
    let plan = desk.plan();
    let timeout = plan.server.timeout;
    let patience = nanoseconds(timeout);
    let mut now = desk.now();
    let mut heard = now;
    line.fill(plan.depth, now, desk);
    loop {
        if line.under_way() == 0 {
            let Some(until) = line.held_until() else { return Ok(()) };
            // Nothing tells when the server has room again.
            std::thread::sleep(Duration::from_nanos(until.saturating_sub(desk.now())));
            if interrupt::is_over() {
                return Err(ClientError::Interrupted("waiting for room"));
            }
            now = desk.now();
            heard = now;
            line.fill(plan.depth, now, desk);
            continue;
        }
        if !line.out.is_empty() {
            stream.write_all(&line.out).map_err(|source| ClientError::from_io(SENDING, timeout, source))?;
            line.out.clear();
        }
        let read = read_patiently(&mut line.inbox, stream, timeout);
        let (count, _) = read.map_err(|source| ClientError::from_io(WAITING, timeout, source))?;
        if count == 0 {
            return Err(ClientError::closed(WAITING));
        }
        now = desk.now();
        if line.receive(now, desk)? > 0 {
            heard = now;
        } else if now - heard > patience {
            // Bytes trickle in, but no reply is ever whole.
            return Err(ClientError::Timeout { doing: WAITING, after: timeout });
        }
        line.fill(plan.depth, now, desk);
    }
}

/// Makes a new connection, with growing waits between the attempts; `None` when there is nothing left to do with one.
fn reconnect(
    line: &mut Line,
    desk: &mut Desk<'_>,
    mut why: ClientError,
) -> Result<Option<(TcpStream, Option<XorKey>)>, ClientError> {
    let mut attempts = 0;
    loop {
        let over = desk.now() >= desk.deadline() || line.unsent(desk.plan()) == 0 && desk.plan().ops.is_some();
        if over && !line.has_repeats() {
            return if attempts == 0 { Ok(None) } else { Err(why) };
        }
        if interrupt::is_over() {
            return Err(ClientError::Interrupted("making the connection anew"));
        }
        attempts += 1;
        let Some(wait) = line.backoff.next_wait(desk.now(), desk.prng()) else { return Err(why) };
        // Nothing tells when a server is back; the wait spares it a rush of attempts.
        std::thread::sleep(wait);
        match Connection::open(&desk.plan().server) {
            Ok(connection) => {
                desk.tally.reconnects += 1;
                return Ok(Some(connection.into_parts()));
            }
            Err(error) if error.is_passing() => why = error,
            Err(error) => return Err(error),
        }
    }
}
