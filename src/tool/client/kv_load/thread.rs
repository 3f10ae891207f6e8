//! The state of one load thread: it generates operations, and records what becomes of each.

use crate::service::kv::wire::KvStatus;
use crate::tool::client::keys::{Key, KeySource};
use crate::tool::client::kv_load::counters::KvCounters;
use crate::tool::client::kv_load::plan::{KvPlan, Phase};
use crate::tool::client::kv_load::values::Stamp;
use crate::tool::client::kv_load::verifier::Violation;
use crate::tool::client::load::counters::NoReply;
use crate::tool::client::load::pace::Pace;

/// An operation that was sent, or should have been, and has no final answer yet.
#[derive(Clone, Copy, Debug)]
pub struct KvOperation {
    /// The key's number.
    pub key: u32,
    pub is_write: bool,
    /// Whether it was sent on a connection that was lost, so that it may have been done.
    pub maybe_done: bool,
    /// Bytes of the value that it writes.
    pub length: u32,
    /// The number of whose write it is, and which of that one's.
    pub writer: u32,
    pub count: u64,
    /// When it was first sent, or scheduled to be; nanoseconds since the start.
    pub since: u64,
    /// Its request id; only PUTs have one.
    pub id: Option<Key>,
    /// The highest version of its key that was answered before it, with `--verify`.
    pub floor: u64,
}

impl KvOperation {
    /// What the value that it writes says of itself.
    #[inline]
    pub fn stamp(&self, run: u64) -> Stamp {
        Stamp { run, key: self.key, writer: self.writer, count: self.count }
    }
}

/// What a thread needs for its connections' operations.
#[derive(Debug)]
pub struct KvThread<'r> {
    pub plan: &'r KvPlan,
    ids: Option<KeySource>,
    pub pace: Pace<'r>,
    /// Writes of this thread so far.
    writes: u64,
    pub counters: KvCounters,
}

impl<'r> KvThread<'r> {
    /// A thread that has sent nothing yet.
    pub fn new(plan: &'r KvPlan, number: u32, pace: Pace<'r>) -> KvThread<'r> {
        let ids = plan.ids.as_ref().map(|ids| ids.stream(number));
        KvThread { plan, ids, pace, writes: 0, counters: KvCounters::default() }
    }

    /// The next operation of a connection, which begins `since`; `None` when no operations remain for it or the time is over.
    #[inline]
    pub fn next_operation(&mut self, connection: u32, remaining: &mut Option<u64>, since: u64) -> Option<KvOperation> {
        if !self.pace.begins_another(remaining, since) {
            return None;
        }
        let (plan, rng) = (self.plan, &mut self.pace.rng);
        let key = match (plan.phase, &mut *remaining) {
            (Phase::Prefill, Some(remaining)) => {
                let nth = plan.run.ops.unwrap_or(0) - *remaining - 1;
                // The last turn may be one of fewer connections.
                let Some(key) = plan.nth_key(connection, nth) else {
                    *remaining = 0;
                    return None;
                };
                key
            }
            _ => plan.draw_key(rng),
        };
        let floor = plan.verifier.as_ref().map_or(0, |verifier| verifier.floor(key));
        let writer = plan.writer(connection);
        if plan.draws_read(rng) {
            let (maybe_done, length, count, id) = (false, 0, 0, None);
            return Some(KvOperation { key, is_write: false, maybe_done, length, writer, count, since, id, floor });
        }
        let length = plan.draw_length(rng);
        let id = self.ids.as_mut().map(KeySource::next_key);
        self.writes += 1;
        let count = self.writes;
        if let Some(verifier) = &plan.verifier {
            verifier.send(key, writer, count);
        }
        Some(KvOperation { key, is_write: true, maybe_done: false, length, writer, count, since, id, floor })
    }

    /// Whether KV_BUSY is no final answer to an operation: --verify needs one, and so does an operation that may have been done.
    pub fn retries_busy(&self, operation: &KvOperation) -> bool {
        !operation.is_write || operation.id.is_some() && (operation.maybe_done || self.plan.verifier.is_some())
    }

    fn is_measured(&self, operation: &KvOperation) -> bool {
        operation.since >= self.pace.measure_from
    }

    /// Records an operation that was done, with as many bytes of a value.
    #[inline]
    pub fn record_done(&mut self, operation: &KvOperation, bytes: usize, now: u64) {
        if self.is_measured(operation) {
            self.counters.value_bytes[usize::from(operation.is_write)] += bytes as u64;
            let kind = self.counters.kind(operation.is_write);
            kind.ok += 1;
            kind.latencies.record(now.saturating_sub(operation.since));
        }
    }

    /// Records a GET of a key that is not there.
    pub fn record_missing(&mut self, operation: &KvOperation, now: u64) {
        self.counters.missing += u64::from(self.is_measured(operation));
        self.record_done(operation, 0, now);
    }

    /// Records an operation that was refused.
    pub fn record_refused(&mut self, operation: &KvOperation, status: KvStatus, now: u64) {
        if self.is_measured(operation) {
            self.counters.refusals[status.index()] += 1;
            let kind = self.counters.kind(operation.is_write);
            kind.err += 1;
            kind.latencies.record(now.saturating_sub(operation.since));
        }
    }

    /// Records what the check of an answer has shown, also of one before the measured stretch.
    #[inline]
    pub fn record_checked(&mut self, operation: &KvOperation, connection: u32, checked: Result<(), Violation>) {
        self.counters.checked += 1;
        if let Err(violation) = checked {
            let kind = if operation.is_write { "PUT" } else { "GET" };
            let key = operation.key;
            self.counters.count_violation(|| format!("{kind} of key {key} by connection {connection}: {violation}"));
        }
    }

    /// Records an operation that will get no reply.
    pub fn record_no_reply(&mut self, operation: &KvOperation, why: NoReply) {
        if self.is_measured(operation) {
            self.counters.kind(operation.is_write).err += 1;
            self.counters.tally.count_no_reply(why);
        }
    }
}
