//! The state of one load thread: it generates operations, and records what becomes of each.

use rand::RngExt;
use std::ops::RangeInclusive;

use crate::base::vocab::Cents;
use crate::service::bank::wire::{Opcode, Request, Response, Status};
use crate::tool::client::error::ClientError;
use crate::tool::client::keys::KeySource;
use crate::tool::client::load::ack_log::AckBuffer;
use crate::tool::client::load::counters::{Counters, NoReply, Operation};
use crate::tool::client::load::expected::ExpectedBalances;
use crate::tool::client::load::pace::{Pace, Starter};
use crate::tool::client::load::plan::LoadPlan;

/// Deposits are larger than what is taken or moved, so that most accounts can pay.
const DEPOSIT_CENTS: RangeInclusive<i64> = 1_000..=10_000;
const OTHER_CENTS: RangeInclusive<i64> = 1..=1_000;

/// What a thread returns; nothing where the run was cancelled before it began.
pub type ThreadResult = Option<(Counters, Vec<ClientError>)>;

/// What a thread of the ledger's load is given.
#[derive(Clone, Copy, Debug)]
pub struct ThreadSetup<'r> {
    pub plan: &'r LoadPlan,
    /// The thread's number; where each has one connection, the connection's, too.
    pub number: u32,
    /// The balances to verify, if they are.
    pub expected: Option<&'r ExpectedBalances>,
    /// Where acknowledgements are logged, if they are.
    pub ack_buffer: Option<&'r AckBuffer>,
}

impl<'r> ThreadSetup<'r> {
    /// Makes the thread's connections, and waits until all other threads have theirs; `None` when the run is cancelled.
    pub fn begin<C>(
        self,
        starter: Starter<'r>,
        connect: impl FnOnce() -> Result<C, ClientError>,
    ) -> Option<(C, LoadThread<'r>)> {
        let (connected, pace) = starter.begin(&self.plan.run, connect)?;
        let keys = self.plan.keys.as_ref().map(|keys| keys.stream(self.number));
        Some((connected, LoadThread { keys, setup: self, pace, counters: Counters::default() }))
    }
}

/// What a thread needs for its connections' operations.
#[derive(Debug)]
pub struct LoadThread<'r> {
    pub setup: ThreadSetup<'r>,
    keys: Option<KeySource>,
    pub pace: Pace<'r>,
    pub counters: Counters,
}

impl LoadThread<'_> {
    /// Whether ERR_BUSY is no final answer to an operation: --verify needs one, and so does an operation that may have been done.
    #[inline]
    pub fn retries_busy(&self, operation: &Operation) -> bool {
        operation.key.is_some() && (operation.maybe_done || self.setup.expected.is_some())
    }

    /// The next operation of a connection, which begins `now`; `None` when no operations remain for it or the time is over.
    #[inline]
    pub fn next_operation(&mut self, remaining: &mut Option<u64>, now: u64) -> Option<Operation> {
        if !self.pace.begins_another(remaining, now) {
            return None;
        }
        let request = self.next_request();
        let key = if request.opcode().is_money() { self.keys.as_mut().map(KeySource::next_key) } else { None };
        Some(Operation { request, since: now, key, maybe_done: false })
    }

    #[inline]
    fn next_request(&mut self) -> Request<'static> {
        let LoadPlan { options, sampler, .. } = self.setup.plan;
        let rng = &mut self.pace.rng;
        match options.mix.choose(rng) {
            Opcode::Deposit => {
                Request::Deposit { account: sampler.sample(rng), amount: Cents(rng.random_range(DEPOSIT_CENTS)) }
            }
            Opcode::Withdraw => {
                Request::Withdraw { account: sampler.sample(rng), amount: Cents(rng.random_range(OTHER_CENTS)) }
            }
            Opcode::Transfer => {
                let (from, to) = sampler.sample_two(rng);
                Request::Transfer { from, to, amount: Cents(rng.random_range(OTHER_CENTS)) }
            }
            Opcode::Balance => Request::Balance { account: sampler.sample(rng) },
            Opcode::Totals => Request::Totals,
            Opcode::Ping | Opcode::Login | Opcode::History | Opcode::Cluster => Request::Ping,
        }
    }

    /// Records a reply on the connection with this number.
    #[inline]
    pub fn record_reply(&mut self, connection: u32, operation: &Operation, response: &Response, now: u64) {
        if let Some(expected) = self.setup.expected {
            expected.apply(&operation.request, response);
        }
        if let Some(buffer) = self.setup.ack_buffer
            && operation.is_money()
        {
            buffer.append(
                connection,
                operation,
                response,
                [operation.since, now].map(|time| self.pace.clock.to_monotonic(time)),
            );
        }
        if operation.since >= self.pace.measure_from {
            let refusal = match response {
                Response::Error { status, .. } => Some(*status),
                _ => None,
            };
            self.counters.count_reply(operation.request.opcode(), refusal, now.saturating_sub(operation.since));
        }
    }

    /// Records an operation that will not be sent again: refused, where that is known, or in doubt.
    pub fn record_given_up(&mut self, connection: u32, operation: &Operation) {
        if !operation.is_money() {
            self.record_no_reply(operation, NoReply::Abandoned);
        } else if operation.maybe_done {
            self.record_no_reply(operation, NoReply::Lost);
        } else {
            let response = Response::Error { opcode: operation.request.opcode().code(), status: Status::Busy };
            self.record_reply(connection, operation, &response, self.pace.now());
        }
    }

    /// Records an operation that will get no reply.
    pub fn record_no_reply(&mut self, operation: &Operation, why: NoReply) {
        if let Some(expected) = self.setup.expected {
            expected.add_in_doubt(&operation.request);
        }
        if operation.since >= self.pace.measure_from {
            self.counters.count_no_reply(operation.request.opcode(), why);
        }
    }
}
