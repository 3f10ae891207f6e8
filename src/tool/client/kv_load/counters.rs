//! What became of the operations: counters and latencies, per thread, added up at the end.

use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::tool::client::load::counters::{Latencies, OpcodeCounters, Tally};

/// How many violations the report shows.
const SHOWN: usize = 10;
/// What is sent.
const KINDS: [KvProcedure; 2] = [KvProcedure::Get, KvProcedure::Put];

/// What became of all operations.
#[derive(Clone, Debug, Default)]
pub struct KvCounters {
    /// GETs and PUTs.
    kinds: [OpcodeCounters; 2],
    /// GETs of keys that were not there; among those that are done.
    pub missing: u64,
    /// Refusals by [`KvStatus::index`].
    pub refusals: [u64; KvStatus::ALL.len()],
    /// Bytes of values that were read, and that were written.
    pub value_bytes: [u64; 2],
    pub tally: Tally,
    /// Answers that were checked.
    pub checked: u64,
    /// Answers that were wrong.
    pub violations: u64,
    /// The first of them.
    pub shown: Vec<String>,
}

impl KvCounters {
    /// The counters of GETs or PUTs.
    #[inline]
    pub fn kind(&mut self, is_write: bool) -> &mut OpcodeCounters {
        &mut self.kinds[usize::from(is_write)]
    }

    /// Counts an answer that is wrong.
    #[cold]
    pub fn count_violation(&mut self, what: impl FnOnce() -> String) {
        self.violations += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(what());
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: KvCounters) {
        self.kinds.iter_mut().zip(&other.kinds).for_each(|(kind, more)| kind.merge(more));
        self.refusals.iter_mut().zip(other.refusals).for_each(|(count, more)| *count += more);
        self.value_bytes.iter_mut().zip(other.value_bytes).for_each(|(count, more)| *count += more);
        self.missing += other.missing;
        self.tally.merge(&other.tally);
        self.checked += other.checked;
        self.violations += other.violations;
        self.shown.extend(other.shown);
        self.shown.truncate(SHOWN);
    }

    /// What was sent, and its counters.
    pub fn used(&self) -> impl Iterator<Item = (&'static str, &OpcodeCounters)> {
        let kinds = KINDS.iter().map(|procedure| procedure.name()).zip(&self.kinds);
        kinds.filter(|(_, kind)| kind.ok + kind.err > 0)
    }

    /// Operations done.
    pub fn ok(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.ok).sum()
    }

    /// Operations refused or without a reply.
    pub fn err(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.err).sum()
    }

    /// The times of all replies together.
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.kinds.iter().for_each(|kind| all.merge(&kind.latencies));
        all
    }
}
