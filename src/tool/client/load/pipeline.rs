//! The request pipeline of one connection: what is to be sent, what is in flight, what came back. It has no socket, so that
//! blocking threads and event loops can share it.

use std::collections::VecDeque;

use crate::service::bank::wire::{Opcode, Response, Status, XorKey};
use crate::tool::client::clock::{Backoff, nanoseconds};
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::interrupt;
use crate::tool::client::load::counters::{NoReply, Operation};
use crate::tool::client::load::plan::LoadPlan;
use crate::tool::client::load::thread::LoadThread;
use crate::tool::client::receive_buffer::ReceiveBuffer;

/// The pipeline of one connection; it outlives a lost connection.
#[derive(Debug)]
pub struct Pipeline {
    /// The connection's number in the run.
    pub number: u32,
    pub received: ReceiveBuffer,
    /// Bytes to be sent.
    pub out: Vec<u8>,
    /// What was sent and not answered, the oldest first; its sequence numbers end with `seq`.
    in_flight: VecDeque<Operation>,
    /// What is to be sent again, the oldest last.
    resend: Vec<Operation>,
    /// What the server had no room for; while this is not empty, nothing is sent.
    deferred: Vec<Operation>,
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

impl Pipeline {
    /// An empty pipeline, not connected.
    pub fn new(plan: &LoadPlan, number: u32) -> Pipeline {
        Pipeline {
            number,
            received: ReceiveBuffer::for_replies(plan.depth),
            out: Vec::new(),
            in_flight: VecDeque::with_capacity(plan.depth),
            resend: Vec::new(),
            deferred: Vec::new(),
            is_elsewhere: false,
            deferred_until: 0,
            reconnect_backoff: plan.server.backoff(),
            busy_backoff: Backoff::new(plan.server.target.retry_for),
            remaining: plan.options.ops,
            seq: 0,
        }
    }

    /// Begins on a new connection with nothing in flight; `xor` is its key once it is logged in.
    pub fn begin(&mut self, xor: Option<XorKey>) {
        self.received.reset(xor);
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
    pub fn fill(&mut self, now: u64, thread: &mut LoadThread<'_>) {
        if !self.encode_resends(now, thread) {
            return;
        }
        let depth = thread.setup.plan.depth;
        while self.in_flight.len() < depth && self.encode_next(now, thread) {}
    }

    /// Encodes one new request, sent or scheduled at `since`; false when there are no more.
    #[inline]
    pub fn encode_next(&mut self, since: u64, thread: &mut LoadThread<'_>) -> bool {
        let Some(operation) = thread.next_operation(&mut self.remaining, since) else { return false };
        self.encode(operation);
        true
    }

    /// Encodes, in their order, the requests that are to be sent again: never more than `depth`, since they were in flight
    /// before. False while nothing may be sent.
    #[inline]
    pub fn encode_resends(&mut self, now: u64, thread: &mut LoadThread<'_>) -> bool {
        if !self.deferred.is_empty() {
            if !self.in_flight.is_empty() || now < self.deferred_until {
                return false;
            }
            self.resend.extend(self.deferred.drain(..).rev());
        }
        while let Some(operation) = self.resend.pop() {
            thread.counters.retries += 1;
            self.encode(operation);
        }
        true
    }

    #[inline]
    fn encode(&mut self, operation: Operation) {
        self.seq = self.seq.wrapping_add(1);
        operation.request.encode(self.seq, operation.key.as_ref().map(|key| &key.0), self.received.xor, &mut self.out);
        self.in_flight.push_back(operation);
    }

    /// Records every whole reply received; returns how many there were. An error where the server broke the protocol, refused the
    /// connection, or had no room for too long.
    #[inline]
    pub fn receive(&mut self, now: u64, thread: &mut LoadThread<'_>) -> Result<usize, ClientError> {
        let in_flight_before = self.in_flight.len();
        let deferred_before = self.deferred.len();
        let mut moved = 0;
        while let Some((header, response)) = self.received.next_reply()? {
            let due = self.seq.wrapping_sub(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)).wrapping_add(1);
            match self.in_flight.front() {
                Some(operation) if header.seq == due && header.opcode == operation.request.opcode().code() => {
                    let is_busy = matches!(response, Response::Error { status: Status::Busy, .. });
                    if matches!(response, Response::Error { status, .. } if status.is_elsewhere()) {
                        self.is_elsewhere = true;
                        moved += 1;
                        self.deferred.push(*operation);
                    } else if is_busy && thread.retries_busy(operation) {
                        self.deferred.push(*operation);
                    } else {
                        if operation.key.is_some() && !is_busy {
                            self.busy_backoff.reset();
                        }
                        thread.record_reply(self.number, operation, &response, now);
                    }
                    self.in_flight.pop_front();
                }
                oldest => {
                    let oldest = oldest.map(|operation| operation.request.opcode());
                    return Err(unexpected(oldest, due, header.seq, &response));
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
    fn schedule_deferred(&mut self, now: u64, thread: &mut LoadThread<'_>) -> Result<(), ClientError> {
        if self.deferred.is_empty() || !self.in_flight.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.is_elsewhere) {
            // Nothing of it was done: all of it is sent to whoever is the primary.
            self.deferred_until = now;
            let server = &thread.setup.plan.server;
            server.servers.expect_cluster();
            let address = server.address().to_string();
            return Err(ClientError::NotPrimary { address });
        }
        let wait = self.busy_backoff.next_wait(now, &mut thread.rng);
        let wait = wait.ok_or(ClientError::NoRoom(thread.setup.plan.server.target.retry_for))?;
        self.deferred_until = now.saturating_add(nanoseconds(wait));
        Ok(())
    }

    /// The connection is lost: reads and keyed operations will be sent again, operations without a key are in doubt.
    pub fn lose(&mut self, why: &ClientError, thread: &mut LoadThread<'_>) {
        let timed_out = matches!(why, ClientError::Timeout { .. });
        if timed_out {
            thread.counters.timeouts += self.in_flight.len() as u64;
        }
        let no_reply = if timed_out { NoReply::Timeout } else { NoReply::Lost };
        // The oldest is to be sent first, and `resend` is taken from its end.
        while let Some(mut operation) = self.in_flight.pop_back() {
            if operation.is_money() && operation.key.is_none() {
                thread.record_no_reply(&operation, no_reply);
            } else {
                operation.maybe_done = true;
                self.resend.push(operation);
            }
        }
    }

    /// Ends a pipeline whose requests are all answered. After an interruption, operations of the plan may remain.
    pub fn finish(&self, thread: &mut LoadThread<'_>) {
        if interrupt::interrupted_at().is_some() {
            thread.counters.unsent += self.remaining.unwrap_or(0);
        }
    }

    /// Ends a pipeline whose server cannot be reached again.
    pub fn give_up(&mut self, thread: &mut LoadThread<'_>) {
        for operation in self.resend.drain(..).rev().chain(self.deferred.drain(..)) {
            thread.record_given_up(self.number, &operation);
        }
        thread.counters.unsent += self.remaining.unwrap_or(0);
    }
}

/// The error for a reply that is not the one due.
#[cold]
fn unexpected(oldest: Option<Opcode>, seq: u32, got_seq: u32, response: &Response) -> ClientError {
    let got_opcode = response.opcode();
    match (response, oldest) {
        (Response::Error { opcode: 0, status }, _) if got_seq == 0 => ClientError::TurnedAway(*status),
        (_, None) => ProtocolError::Unasked(got_opcode).into(),
        (_, Some(opcode)) => ProtocolError::OutOfOrder { opcode, seq, got_opcode, got_seq }.into(),
    }
}
