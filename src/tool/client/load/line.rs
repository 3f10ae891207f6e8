//! One connection's conversation: what is under way, what is to be sent, what came back. It holds no socket, so that a
//! blocking thread and an event loop can drive it alike.

use std::collections::VecDeque;

use crate::service::bank::wire::{Response, Status, XorKey};
use crate::tool::client::backoff::Backoff;
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::inbox::Inbox;
use crate::tool::client::interrupt;
use crate::tool::client::load::desk::{Budget, Desk, Ending, Flight, Op};
use crate::tool::client::load::plan::Plan;
use crate::tool::client::time::nanoseconds;

/// The state of one conversation.
#[derive(Debug)]
pub struct Line {
    /// The connection's number in the whole run.
    number: u32,
    /// Bytes received.
    pub inbox: Inbox,
    /// Bytes to be sent.
    pub out: Vec<u8>,
    /// What was sent and not answered, the oldest first; its sequence numbers end with `seq`.
    pending: VecDeque<Flight>,
    /// What is to be sent again, the oldest last.
    again: Vec<Flight>,
    /// What the server had no room for; while something is here, nothing is sent.
    held: Vec<Flight>,
    /// When all that is under way is answered, what is held waits until this time.
    held_until: u64,
    /// The waits before the connection is made anew, one series until an answer comes.
    pub backoff: Backoff,
    /// The waits for room, one series until a money operation gets another answer.
    room: Backoff,
    budget: Budget,
    /// The last sequence number used.
    seq: u32,
    xor: Option<XorKey>,
}

impl Line {
    /// A conversation that has not begun.
    #[must_use]
    pub fn new(plan: &Plan, number: u32) -> Line {
        Line {
            number,
            inbox: Inbox::for_replies(plan.depth),
            out: Vec::new(),
            pending: VecDeque::with_capacity(plan.depth),
            again: Vec::new(),
            held: Vec::new(),
            held_until: 0,
            backoff: Backoff::new(plan.server.retry_for),
            room: Backoff::new(plan.server.retry_for),
            budget: Budget::of(plan),
            seq: 0,
            xor: None,
        }
    }

    /// Begins on a new connection, logged in, with nothing under way.
    pub fn begin(&mut self, xor: Option<XorKey>) {
        self.inbox.reset();
        self.out.clear();
        self.xor = xor;
        if let Some(xor) = xor {
            self.inbox.set_xor(xor);
        }
    }

    /// How many requests are under way.
    #[inline]
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Whether something waits for a connection to be sent on.
    #[must_use]
    pub fn has_repeats(&self) -> bool {
        !self.again.is_empty() || !self.held.is_empty()
    }

    /// The time before which nothing may be sent, since the server had no room.
    #[must_use]
    pub fn held_until(&self) -> Option<u64> {
        (!self.held.is_empty()).then_some(self.held_until)
    }

    /// Operations of the plan that this connection did not send.
    #[must_use]
    pub fn unsent(&self, plan: &Plan) -> u64 {
        self.budget.unsent(plan)
    }

    /// Encodes new requests until `depth` are under way or there are no more.
    #[inline]
    pub fn fill(&mut self, depth: usize, now: u64, desk: &mut Desk<'_>) {
        if !self.post_repeats(now, desk) {
            return;
        }
        while self.pending.len() < depth {
            let Some(flight) = desk.next_flight(&mut self.budget, now) else { return };
            self.post(flight);
        }
    }

    /// Encodes one request that was due at `since`; false when there are no more.
    #[inline]
    pub fn post_due(&mut self, since: u64, desk: &mut Desk<'_>) -> bool {
        let Some(flight) = desk.next_flight(&mut self.budget, since) else { return false };
        self.post(flight);
        true
    }

    /// Encodes, in their order, the requests that are to be sent again: never more than may be under way, since they were
    /// before. False while nothing may be sent.
    #[inline]
    pub fn post_repeats(&mut self, now: u64, desk: &mut Desk<'_>) -> bool {
        if !self.held.is_empty() {
            if !self.pending.is_empty() || now < self.held_until {
                return false;
            }
            self.again.extend(self.held.drain(..).rev());
        }
        while let Some(flight) = self.again.pop() {
            desk.tally.retries += 1;
            self.post(flight);
        }
        true
    }

    #[inline]
    fn post(&mut self, flight: Flight) {
        self.seq = self.seq.wrapping_add(1);
        flight.op.request().encode(self.seq, flight.key.as_ref().map(|key| &key.0), self.xor, &mut self.out);
        self.pending.push_back(flight);
    }

    /// Writes down every whole reply in the inbox; returns how many there were.
    ///
    /// # Errors
    /// When the server broke the protocol, turned the connection away, or has had no room for too long.
    #[inline]
    pub fn receive(&mut self, now: u64, desk: &mut Desk<'_>) -> Result<usize, ClientError> {
        let before = self.pending.len();
        let held_before = self.held.len();
        while let Some((header, response)) = self.inbox.next_reply()? {
            let due = self.seq.wrapping_sub(u32::try_from(self.pending.len()).unwrap_or(u32::MAX)).wrapping_add(1);
            match self.pending.front() {
                Some(flight) if header.seq == due && header.opcode == flight.op.opcode.code() => {
                    let has_no_room = matches!(response, Response::Error { status: Status::Busy, .. });
                    if has_no_room && desk.insists(flight) {
                        self.held.push(*flight);
                    } else {
                        if flight.key.is_some() && !has_no_room {
                            self.room.reset();
                        }
                        desk.settle(self.number, flight, &response, now);
                    }
                    self.pending.pop_front();
                }
                oldest => return Err(stray(oldest.map(|flight| flight.op), due, header.seq, &response)),
            }
        }
        let answers = before - self.pending.len();
        if answers > 0 {
            self.backoff.reset();
            desk.show(answers - (self.held.len() - held_before), now);
            self.wait_for_room(now, desk)?;
        }
        Ok(answers)
    }

    /// Settles when what is held may be sent again.
    #[inline]
    fn wait_for_room(&mut self, now: u64, desk: &mut Desk<'_>) -> Result<(), ClientError> {
        if self.held.is_empty() || !self.pending.is_empty() {
            return Ok(());
        }
        let wait = self.room.next_wait(now, desk.prng());
        let wait = wait.ok_or(ClientError::NoRoom(desk.plan().server.retry_for))?;
        self.held_until = now.saturating_add(nanoseconds(wait));
        Ok(())
    }

    /// The connection is gone: reads and keyed operations will be repeated, operations without a key are in doubt.
    pub fn lose(&mut self, why: &ClientError, desk: &mut Desk<'_>) {
        let timed_out = matches!(why, ClientError::Timeout { .. });
        if timed_out {
            desk.tally.timeouts += self.pending.len() as u64;
        }
        let ending = if timed_out { Ending::Timeout } else { Ending::Lost };
        // The oldest is to be repeated first, and `again` is taken from its end.
        while let Some(mut flight) = self.pending.pop_back() {
            if flight.op.opcode.is_money() && flight.key.is_none() {
                desk.give_up(&flight, ending);
            } else {
                flight.is_unsure = true;
                self.again.push(flight);
            }
        }
    }

    /// All that was sent is answered, and nothing more will be sent. After an interruption there may be more that the plan asked
    /// for.
    pub fn finish(&self, desk: &mut Desk<'_>) {
        if interrupt::time().is_some() {
            desk.tally.unsent += self.budget.unsent(desk.plan());
        }
    }

    /// The server cannot be reached again: nothing more will be sent.
    pub fn abandon(&mut self, desk: &mut Desk<'_>) {
        for flight in self.again.drain(..).rev().chain(self.held.drain(..)) {
            desk.abandon(self.number, &flight);
        }
        desk.tally.unsent += self.budget.unsent(desk.plan());
    }
}

/// Names what is wrong with a reply that is not the one due.
#[cold]
fn stray(oldest: Option<Op>, seq: u32, got_seq: u32, response: &Response) -> ClientError {
    match (response, oldest) {
        (Response::Error { opcode: 0, status }, _) if got_seq == 0 => ClientError::TurnedAway(*status),
        (_, None) => ProtocolError::Unasked(response.opcode()).into(),
        (_, Some(op)) => {
            ProtocolError::OutOfOrder { opcode: op.opcode, seq, got_opcode: response.opcode(), got_seq }.into()
        }
    }
}
