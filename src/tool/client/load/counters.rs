//! Operations and what became of them: counters and latencies, per thread, added up at the end.

use hdrhistogram::Histogram;

use crate::service::bank::wire::{Opcode, Request, Status};
use crate::tool::client::keys::Key;

/// Times from 2^40 ns (18 minutes) up count as that.
const LONGEST: u64 = (1 << 40) - 1;

/// An operation that was sent, or should have been, and has no final answer yet.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What to do; never LOGIN or HISTORY.
    pub request: Request<'static>,
    /// When it was first sent, or scheduled to be; nanoseconds since the start.
    pub since: u64,
    /// Its idempotency key; only money operations have one.
    pub key: Option<Key>,
    /// Whether it was sent on a connection that was lost, so that it may have been done.
    pub maybe_done: bool,
}

impl Operation {
    /// Whether it moves money.
    #[inline]
    pub fn is_money(&self) -> bool {
        self.request.opcode().is_money()
    }
}

/// Why an operation has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// The connection was silent for too long.
    Timeout,
    /// The connection was lost.
    Lost,
    /// It is a read, and the server could not be reached again to repeat it.
    Abandoned,
}

/// The times of one kind of operation, nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Two digits: percentiles are true to 1 %, at 34 KiB. Every thread has one for each opcode.
    pub histogram: Histogram<u64>,
    /// The longest time, which the histogram rounds.
    pub longest: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        match Histogram::new_with_bounds(1, LONGEST, 2) {
            Ok(histogram) => Latencies { histogram, longest: 0 },
            Err(error) => unreachable!("constant bounds were refused: {error}"),
        }
    }
}

impl Latencies {
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
        self.longest = self.longest.max(nanoseconds);
    }

    /// Adds what another thread recorded.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram += &other.histogram;
        self.longest = self.longest.max(other.longest);
    }

    /// The time within which this share of the operations was answered.
    pub fn at_quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).min(self.longest)
    }
}

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

impl OpcodeCounters {
    /// Adds what another thread counted.
    pub fn merge(&mut self, more: &OpcodeCounters) {
        self.ok += more.ok;
        self.err += more.err;
        self.latencies.merge(&more.latencies);
    }
}

/// What became of a run, but for the answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Writes in doubt because their connection timed out.
    pub in_doubt_timeout: u64,
    /// Writes in doubt because their connection was lost.
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

impl Tally {
    /// Counts an operation that will get no reply.
    pub fn count_no_reply(&mut self, why: NoReply) {
        match why {
            NoReply::Timeout => self.in_doubt_timeout += 1,
            NoReply::Lost => self.in_doubt_lost += 1,
            NoReply::Abandoned => self.abandoned += 1,
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Tally) {
        self.in_doubt_timeout += other.in_doubt_timeout;
        self.in_doubt_lost += other.in_doubt_lost;
        self.retries += other.retries;
        self.abandoned += other.abandoned;
        self.timeouts += other.timeouts;
        self.reconnects += other.reconnects;
        self.unsent += other.unsent;
        self.last_reply = self.last_reply.max(other.last_reply);
    }

    /// Operations without an answer, by why they have none.
    pub fn unanswered(&self) -> [(&'static str, u64); 3] {
        [
            ("no answer in time, in doubt", self.in_doubt_timeout),
            ("connection lost, in doubt", self.in_doubt_lost),
            ("abandoned", self.abandoned),
        ]
    }
}

/// What became of all operations.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By [`Opcode::index`].
    pub opcodes: [OpcodeCounters; Opcode::ALL.len()],
    /// Refusals by [`Status::index`].
    pub refusals: [u64; Status::ALL.len()],
    /// The rest.
    pub tally: Tally,
}

impl Counters {
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

    pub fn count_no_reply(&mut self, opcode: Opcode, why: NoReply) {
        self.opcodes[opcode.index()].err += 1;
        self.tally.count_no_reply(why);
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Counters) {
        for (counters, more) in self.opcodes.iter_mut().zip(&other.opcodes) {
            counters.merge(more);
        }
        for (count, more) in self.refusals.iter_mut().zip(other.refusals) {
            *count += more;
        }
        self.tally.merge(&other.tally);
    }

    /// The opcodes that were sent, and their counters.
    pub fn used(&self) -> impl Iterator<Item = (Opcode, &OpcodeCounters)> {
        Opcode::ALL.into_iter().zip(&self.opcodes).filter(|(_, counters)| counters.ok + counters.err > 0)
    }

    /// Operations done.
    pub fn ok(&self) -> u64 {
        self.opcodes.iter().map(|counters| counters.ok).sum()
    }

    /// Operations refused or without a reply.
    pub fn err(&self) -> u64 {
        self.opcodes.iter().map(|counters| counters.err).sum()
    }

    /// The times of all replies together.
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.opcodes.iter().for_each(|counters| all.merge(&counters.latencies));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_true_to_a_hundredth_and_the_longest_is_exact() {
        let mut all = Latencies::default();
        let mut parts = [Latencies::default(), Latencies::default()];
        let mut times: Vec<u64> = (1..=100_000u64).map(|step| step * step * 7 % 9_999_991 + 1).collect();
        for (turn, &time) in times.iter().enumerate() {
            parts[turn % 2].record(time);
        }
        parts.iter().for_each(|part| all.merge(part));
        times.sort_unstable();
        assert_eq!(all.histogram.len(), times.len() as u64);
        for (quantile, place) in [(0.01, 999), (0.5, 49_999), (0.95, 94_999), (0.999, 99_899), (1.0, 99_999)] {
            let (got, wanted) = (all.at_quantile(quantile), times[place]);
            assert!(got.abs_diff(wanted) * 100 <= wanted, "{quantile}: {got} instead of {wanted}");
        }
        assert_eq!(all.longest, times[99_999]);
        all.record(u64::MAX);
        assert!(all.longest == u64::MAX && all.at_quantile(1.0) >= LONGEST, "beyond the histogram");
    }
}
