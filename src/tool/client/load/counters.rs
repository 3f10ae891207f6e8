//! What became of the operations: counters and latencies, per thread, added up at the end.

use crate::service::bank::wire::{Opcode, Status};
use crate::tool::client::load::latency::Latencies;
use crate::tool::client::load::operation::NoReply;

/// What became of the operations of one kind.
#[derive(Clone, Debug, Default)]
pub struct OpcodeCounters {
    /// Done.
    pub ok: u64,
    /// Refused by the server, or without a reply.
    pub err: u64,
    /// How long the replies took, refusals included.
    pub latencies: Latencies,
}

/// What became of all operations.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By [`Opcode::index`].
    pub opcodes: [OpcodeCounters; Opcode::ALL.len()],
    /// Refusals by [`Status::index`].
    pub refusals: [u64; Status::ALL.len()],
    /// Money operations in doubt because their connection timed out.
    pub in_doubt_timeout: u64,
    /// Money operations in doubt because their connection was lost.
    pub in_doubt_lost: u64,
    /// Requests sent again: reads and keyed operations after a loss, and after ERR_BUSY.
    pub retries: u64,
    /// Reads that were given up because the server could not be reached again.
    pub abandoned: u64,
    /// Requests in flight on a connection that timed out.
    pub timeouts: u64,
    /// Connections that were re-established.
    pub reconnects: u64,
    /// Operations that the schedule or --ops asked for and that were never sent.
    pub unsent: u64,
    /// When the last reply came, nanoseconds since the start.
    pub last_reply: u64,
}

impl Counters {
    /// Counts a reply.
    #[inline]
    pub fn count_reply(&mut self, opcode: Opcode, refusal: Option<Status>, nanoseconds: u64) {
        let counters = &mut self.opcodes[opcode.index()];
        counters.latencies.record(nanoseconds);
        match refusal {
            None => counters.ok += 1,
            Some(status) => {
                counters.err += 1;
                self.refusals[status.index()] += 1;
            }
        }
    }

    /// Counts an operation without a reply.
    pub fn count_no_reply(&mut self, opcode: Opcode, why: NoReply) {
        self.opcodes[opcode.index()].err += 1;
        match why {
            NoReply::Timeout => self.in_doubt_timeout += 1,
            NoReply::Lost => self.in_doubt_lost += 1,
            NoReply::Abandoned => self.abandoned += 1,
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Counters) {
        for (counters, more) in self.opcodes.iter_mut().zip(&other.opcodes) {
            counters.ok += more.ok;
            counters.err += more.err;
            counters.latencies.merge(&more.latencies);
        }
        for (count, more) in self.refusals.iter_mut().zip(other.refusals) {
            *count += more;
        }
        self.in_doubt_timeout += other.in_doubt_timeout;
        self.in_doubt_lost += other.in_doubt_lost;
        self.retries += other.retries;
        self.abandoned += other.abandoned;
        self.timeouts += other.timeouts;
        self.reconnects += other.reconnects;
        self.unsent += other.unsent;
        self.last_reply = self.last_reply.max(other.last_reply);
    }

    /// The opcodes that were sent, and their counters.
    pub fn used(&self) -> impl Iterator<Item = (Opcode, &OpcodeCounters)> {
        Opcode::ALL.into_iter().zip(&self.opcodes).filter(|(_, counters)| counters.ok + counters.err > 0)
    }

    /// Operations done.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.opcodes.iter().map(|counters| counters.ok).sum()
    }

    /// Operations refused or without a reply.
    #[must_use]
    pub fn err(&self) -> u64 {
        self.opcodes.iter().map(|counters| counters.err).sum()
    }

    /// The times of all replies together.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.opcodes.iter().for_each(|counters| all.merge(&counters.latencies));
        all
    }
}
