//! One connection's conversation: what is under way, what is to be sent, what came back. It holds no socket, so that a
//! blocking thread and an event loop can drive it alike.

use std::collections::VecDeque;

use crate::client::error::{ClientError, ProtocolError};
use crate::client::inbox::Inbox;
use crate::client::load::desk::{Budget, Desk, Ending, Flight, Op};
use crate::client::load::plan::Plan;
use crate::wire::{Response, XorKey};

/// The state of one conversation.
#[derive(Debug)]
pub struct Line {
    /// Bytes received.
    pub inbox: Inbox,
    /// Bytes to be sent.
    pub out: Vec<u8>,
    /// What was sent and not answered, the oldest first; its sequence numbers end with `seq`.
    pending: VecDeque<Flight>,
    /// Reads to be sent again on the next connection.
    again: Vec<Flight>,
    budget: Budget,
    /// The last sequence number used.
    seq: u32,
    xor: Option<XorKey>,
}

impl Line {
    /// A conversation that has not begun.
    #[must_use]
    pub fn new(plan: &Plan) -> Line {
        Line {
            inbox: Inbox::for_replies(plan.depth),
            out: Vec::new(),
            pending: VecDeque::with_capacity(plan.depth),
            again: Vec::new(),
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
        !self.again.is_empty()
    }

    /// Operations of the plan that this connection did not send.
    #[must_use]
    pub fn unsent(&self, plan: &Plan) -> u64 {
        self.budget.unsent(plan)
    }

    /// Encodes new requests until `depth` are under way or there are no more.
    #[inline]
    pub fn fill(&mut self, depth: usize, now: u64, desk: &mut Desk<'_>) {
        while self.pending.len() < depth {
            if let Some(flight) = self.again.pop() {
                self.post(flight);
            } else if let Some(op) = desk.next_op(&mut self.budget, now) {
                self.post(Flight { op, since: now });
            } else {
                return;
            }
        }
    }

    /// Encodes one request that was due at `since`; false when there are no more.
    #[inline]
    pub fn post_due(&mut self, since: u64, desk: &mut Desk<'_>) -> bool {
        match desk.next_op(&mut self.budget, since) {
            Some(op) => {
                self.post(Flight { op, since });
                true
            }
            None => false,
        }
    }

    /// Encodes the reads that an earlier connection left open.
    pub fn post_repeats(&mut self) {
        while let Some(flight) = self.again.pop() {
            self.post(flight);
        }
    }

    #[inline]
    fn post(&mut self, flight: Flight) {
        self.seq = self.seq.wrapping_add(1);
        flight.op.request().encode(self.seq, None, self.xor, &mut self.out);
        self.pending.push_back(flight);
    }

    /// Writes down every whole reply in the inbox; returns how many there were.
    ///
    /// # Errors
    /// When the server broke the protocol, or turned the connection away.
    #[inline]
    pub fn receive(&mut self, now: u64, desk: &mut Desk<'_>) -> Result<usize, ClientError> {
        let before = self.pending.len();
        while let Some((header, response)) = self.inbox.next_reply()? {
            let due = self.seq.wrapping_sub(u32::try_from(self.pending.len()).unwrap_or(u32::MAX)).wrapping_add(1);
            match self.pending.front() {
                Some(flight) if header.seq == due && header.opcode == flight.op.opcode.code() => {
                    desk.settle(flight, &response, now);
                    self.pending.pop_front();
                }
                oldest => return Err(stray(oldest.map(|flight| flight.op), due, header.seq, &response)),
            }
        }
        let answers = before - self.pending.len();
        if answers > 0 {
            desk.show(answers, now);
        }
        Ok(answers)
    }

    /// The connection is gone: reads will be repeated, money operations are in doubt.
    pub fn lose(&mut self, why: &ClientError, desk: &mut Desk<'_>) {
        let timed_out = matches!(why, ClientError::Timeout { .. });
        if timed_out {
            desk.tally.timeouts += self.pending.len() as u64;
        }
        let ending = if timed_out { Ending::Timeout } else { Ending::Lost };
        // The oldest is to be repeated first, and `again` is taken from its end.
        while let Some(flight) = self.pending.pop_back() {
            if flight.op.opcode.is_money() {
                desk.give_up(&flight, ending);
            } else {
                self.again.push(flight);
            }
        }
    }

    /// The server cannot be reached again: nothing more will be sent.
    pub fn abandon(&mut self, desk: &mut Desk<'_>) {
        while let Some(flight) = self.again.pop() {
            desk.give_up(&flight, Ending::Abandoned);
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
