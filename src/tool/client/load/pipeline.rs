//! The request pipeline of one connection: what is to be sent, what is in flight, what came back. It has no socket, so that
//! blocking threads and event loops can share it.

use std::collections::VecDeque;

use crate::tool::client::clock::{Backoff, nanoseconds};
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::counters::NoReply;
use crate::tool::client::load::plan::RunPlan;
use crate::tool::client::load::protocol::{Answer, Protocol, ThreadState};

/// The pipeline of one connection; it outlives a lost connection.
#[derive(Debug)]
pub struct Pipeline<P: Protocol> {
    /// The connection's number in the run.
    pub number: u32,
    pub received: P::Received,
    /// Bytes to be sent.
    pub out: Vec<u8>,
    /// What was sent and not answered, the oldest first; its sequence numbers end with `seq`.
    in_flight: VecDeque<P::Operation>,
    /// What is to be sent again, the oldest last.
    resend: Vec<P::Operation>,
    /// What the server had no room for; while this is not empty, nothing is sent.
    deferred: Vec<P::Operation>,
    /// Whether some of that was refused since the server is not the primary.
    is_elsewhere: bool,
    /// Once nothing is in flight, what is deferred waits until this time.
    deferred_until: u64,
    /// The waits before a reconnect, one series until a reply comes.
    pub reconnect_backoff: Backoff,
    /// The waits after ERR_BUSY, one series until a money operation gets another reply.
    busy_backoff: Backoff,
    /// Operations of the plan still to be sent; `None` where only the time counts.
    remaining: Option<u64>,
    /// The last sequence number used.
    seq: u32,
}

impl<P: Protocol> Pipeline<P> {
    /// An empty pipeline, not connected.
    pub fn new(plan: &P::Plan, number: u32) -> Pipeline<P> {
        let run: &RunPlan = plan.as_ref();
        Pipeline {
            number,
            received: P::received(plan),
            out: Vec::new(),
            in_flight: VecDeque::with_capacity(run.depth),
            resend: Vec::new(),
            deferred: Vec::new(),
            is_elsewhere: false,
            deferred_until: 0,
            reconnect_backoff: run.server.backoff(),
            busy_backoff: Backoff::new(run.server.target.retry_for),
            remaining: run.ops,
            seq: 0,
        }
    }

    /// Begins on a new connection with nothing in flight.
    pub fn begin(&mut self) {
        P::reset(&mut self.received);
        self.out.clear();
    }

    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether something waits to be sent again.
    pub fn has_resends(&self) -> bool {
        !self.resend.is_empty() || !self.deferred.is_empty()
    }

    /// The time before which nothing may be sent, since the server had no room.
    pub fn deferred_until(&self) -> Option<u64> {
        (!self.deferred.is_empty()).then_some(self.deferred_until)
    }

    /// Whether every operation of the plan was sent at least once.
    pub fn has_sent_all(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Encodes requests until as many are in flight as may be, or there are no more.
    #[inline]
    pub fn fill(&mut self, now: u64, thread: &mut P::Thread<'_>) {
        if !self.encode_resends(now, thread) {
            return;
        }
        let depth = thread.plan().as_ref().depth;
        while self.in_flight.len() < depth && self.encode_next(now, thread) {}
    }

    /// Encodes one new request, sent or scheduled at `since`; false when there are no more.
    #[inline]
    pub fn encode_next(&mut self, since: u64, thread: &mut P::Thread<'_>) -> bool {
        let Some(operation) = P::next_operation(thread, self.number, &mut self.remaining, since) else {
            return false;
        };
        self.encode(operation, thread);
        true
    }

    /// Encodes, in their order, the requests that are to be sent again: never more than `depth`, since they were in flight
    /// before. False while nothing may be sent.
    #[inline]
    pub fn encode_resends(&mut self, now: u64, thread: &mut P::Thread<'_>) -> bool {
        if !self.deferred.is_empty() {
            if !self.in_flight.is_empty() || now < self.deferred_until {
                return false;
            }
            self.resend.extend(self.deferred.drain(..).rev());
        }
        while let Some(operation) = self.resend.pop() {
            thread.tally().retries += 1;
            self.encode(operation, thread);
        }
        true
    }

    #[inline]
    fn encode(&mut self, operation: P::Operation, thread: &P::Thread<'_>) {
        self.seq = self.seq.wrapping_add(1);
        P::encode(&operation, self.seq, &self.received, thread, &mut self.out);
        self.in_flight.push_back(operation);
    }

    /// Records every whole reply received; returns how many there were. An error where the server broke the protocol, refused the
    /// connection, or had no room for too long.
    #[inline]
    pub fn receive(&mut self, now: u64, thread: &mut P::Thread<'_>) -> Result<usize, ClientError> {
        let in_flight_before = self.in_flight.len();
        let deferred_before = self.deferred.len();
        let mut moved = 0;
        loop {
            let due = self.seq.wrapping_sub(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)).wrapping_add(1);
            let answer = P::take_reply(&mut self.received, &mut self.in_flight, due, self.number, now, thread)?;
            let Some(answer) = answer else { break };
            let operation = self.in_flight.pop_front();
            match answer {
                Answer::Final { has_room } => {
                    if has_room {
                        self.busy_backoff.reset();
                    }
                }
                Answer::Busy => self.deferred.extend(operation),
                Answer::Elsewhere => {
                    self.is_elsewhere = true;
                    moved += 1;
                    self.deferred.extend(operation);
                }
            }
        }
        let replies = in_flight_before - self.in_flight.len();
        if replies > 0 {
            if replies > moved {
                self.reconnect_backoff.reset();
            }
            thread.show_progress(replies - (self.deferred.len() - deferred_before), now);
            self.schedule_deferred(now, thread)?;
        }
        Ok(replies)
    }

    /// Decides when what is deferred may be sent again.
    #[inline]
    fn schedule_deferred(&mut self, now: u64, thread: &mut P::Thread<'_>) -> Result<(), ClientError> {
        if self.deferred.is_empty() || !self.in_flight.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.is_elsewhere) {
            // Nothing of it was done: all of it is sent to whoever is the primary.
            self.deferred_until = now;
            let server = &thread.plan().as_ref().server;
            server.servers.expect_cluster();
            let address = server.address().to_string();
            return Err(ClientError::NotPrimary { address });
        }
        let wait = self.busy_backoff.next_wait(now, thread.rng());
        let wait = wait.ok_or(ClientError::NoRoom(thread.plan().as_ref().server.target.retry_for))?;
        self.deferred_until = now.saturating_add(nanoseconds(wait));
        Ok(())
    }

    /// The connection is lost: reads and keyed operations will be sent again, operations without a key are in doubt.
    pub fn lose(&mut self, why: &ClientError, thread: &mut P::Thread<'_>) {
        let timed_out = matches!(why, ClientError::Timeout { .. });
        if timed_out {
            thread.tally().timeouts += self.in_flight.len() as u64;
        }
        let no_reply = if timed_out { NoReply::Timeout } else { NoReply::Lost };
        // The oldest is to be sent first, and `resend` is taken from its end.
        while let Some(operation) = self.in_flight.pop_back() {
            self.resend.extend(P::lose(&operation, no_reply, thread));
        }
    }

    /// Ends a pipeline whose requests are all answered. After an interruption, operations of the plan may remain.
    pub fn finish(&self, thread: &mut P::Thread<'_>) {
        if interrupt::interrupted_at().is_some() {
            thread.tally().unsent += self.remaining.unwrap_or(0);
        }
    }

    /// Ends a pipeline whose server cannot be reached again.
    pub fn give_up(&mut self, thread: &mut P::Thread<'_>) {
        for operation in self.resend.drain(..).rev().chain(self.deferred.drain(..)) {
            P::give_up(&operation, self.number, thread);
        }
        thread.tally().unsent += self.remaining.unwrap_or(0);
    }
}
