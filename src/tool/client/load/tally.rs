//! What became of the operations: counts and times, one tally per thread, added up at the end.

use crate::service::bank::wire::{Opcode, Status};
use crate::tool::client::latency::{Bucket, Latencies};

/// What became of the operations of one kind.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// Done.
    pub ok: u64,
    /// Refused by the server, or without an answer.
    pub err: u64,
    /// How long the answers took, refusals included.
    pub latencies: Latencies,
}

/// What became of all operations.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By [`Opcode::index`].
    pub kinds: [Kind; Opcode::ALL.len()],
    /// Refusals by [`Status::index`].
    pub refusals: [u64; Status::ALL.len()],
    /// Money operations whose connection was given up for its silence: done or not, nobody knows.
    pub unanswered_in_time: u64,
    /// Money operations whose connection was lost: done or not, nobody knows.
    pub unanswered_lost: u64,
    /// Requests sent again: reads and keyed operations after a loss, and what the server had no room for.
    pub retries: u64,
    /// Reads that were given up because the server could not be reached again.
    pub abandoned: u64,
    /// Requests that waited on a connection which was given up for its silence.
    pub timeouts: u64,
    /// Connections made anew.
    pub reconnects: u64,
    /// Operations that the schedule or --ops asked for and that were never sent.
    pub unsent: u64,
    /// When the last answer came, nanoseconds since the start.
    pub last_answer: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            kinds: std::array::from_fn(|_| Kind::default()),
            refusals: [0; Status::ALL.len()],
            unanswered_in_time: 0,
            unanswered_lost: 0,
            retries: 0,
            abandoned: 0,
            timeouts: 0,
            reconnects: 0,
            unsent: 0,
            last_answer: 0,
        }
    }
}

impl Tally {
    /// Counts an answer.
    #[inline]
    pub fn answer(&mut self, opcode: Opcode, refusal: Option<Status>, bucket: Bucket, nanoseconds: u64) {
        let kind = &mut self.kinds[opcode.index()];
        kind.latencies.record(bucket, nanoseconds);
        match refusal {
            None => kind.ok += 1,
            Some(status) => {
                kind.err += 1;
                self.refusals[status.index()] += 1;
            }
        }
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Tally) {
        for (kind, more) in self.kinds.iter_mut().zip(&other.kinds) {
            kind.ok += more.ok;
            kind.err += more.err;
            kind.latencies.add(&more.latencies);
        }
        for (count, more) in self.refusals.iter_mut().zip(other.refusals) {
            *count += more;
        }
        self.unanswered_in_time += other.unanswered_in_time;
        self.unanswered_lost += other.unanswered_lost;
        self.retries += other.retries;
        self.abandoned += other.abandoned;
        self.timeouts += other.timeouts;
        self.reconnects += other.reconnects;
        self.unsent += other.unsent;
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// Operations done.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.ok).sum()
    }

    /// Operations refused or without an answer.
    #[must_use]
    pub fn err(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.err).sum()
    }

    /// The times of all answers together.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.kinds.iter().for_each(|kind| all.add(&kind.latencies));
        all
    }
}
