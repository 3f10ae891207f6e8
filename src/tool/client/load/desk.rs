//! A thread's desk: it thinks up the next operation, and writes down what became of each.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Opcode, Request, Response, Status};
use crate::tool::client::books::Books;
use crate::tool::client::interrupt;
use crate::tool::client::keys::{Key, Keys};
use crate::tool::client::latency::Bucket;
use crate::tool::client::load::ack_log::{self, Page};
use crate::tool::client::load::plan::{Clock, Plan};
use crate::tool::client::load::tally::Tally;
use crate::tool::client::prng::{Prng, high, low, scale};
use crate::tool::client::time::nanoseconds;

/// Deposits are from 10.00 to 100.00, what is taken or moved from 0.01 to 10.00: most accounts can pay.
const DEPOSIT_LEAST: i64 = 1_000;
const DEPOSIT_SPAN: u32 = 9_001;
const OTHER_LEAST: i64 = 1;
const OTHER_SPAN: u32 = 1_000;

/// One operation of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do; never LOGIN or HISTORY.
    pub opcode: Opcode,
    /// The account, or the one that pays; without meaning for PING and TOTALS.
    pub account: AccountId,
    /// The account that is paid by a transfer.
    pub to: AccountId,
    /// How much.
    pub amount: Cents,
}

impl Op {
    /// The request that asks for it.
    #[inline]
    #[must_use]
    pub fn request(&self) -> Request<'static> {
        let Op { account, to, amount, .. } = *self;
        match self.opcode {
            Opcode::Deposit => Request::Deposit { account, amount },
            Opcode::Withdraw => Request::Withdraw { account, amount },
            Opcode::Transfer => Request::Transfer { from: account, to, amount },
            Opcode::Balance => Request::Balance { account },
            Opcode::Totals => Request::Totals,
            Opcode::Ping | Opcode::Login | Opcode::History => Request::Ping,
        }
    }
}

/// An operation that was sent, or should have been, at a known time.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// What was asked for.
    pub op: Op,
    /// When it was first sent, or scheduled to be; nanoseconds since the start.
    pub since: u64,
    /// The key by which a server knows it again; only money operations have one.
    pub key: Option<Key>,
    /// Whether it was sent on a connection that was lost, so that it may have been done.
    pub is_unsure: bool,
}

/// How an operation without an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection was silent for too long.
    Timeout,
    /// The connection was lost.
    Lost,
    /// A read that would have been repeated, but the server could not be reached again.
    Abandoned,
}

/// How many operations of one connection are still to come.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// The plan's operations per connection.
    #[must_use]
    pub fn of(plan: &Plan) -> Budget {
        Budget { left: plan.ops.unwrap_or(u64::MAX) }
    }

    /// What is left of a number of operations; 0 where only the time counts.
    #[must_use]
    pub fn unsent(self, plan: &Plan) -> u64 {
        if plan.ops.is_some() { self.left } else { 0 }
    }
}

/// What a thread needs for its connections' operations.
#[derive(Debug)]
pub struct Desk<'r> {
    number: u32,
    plan: &'r Plan,
    books: Option<&'r Books>,
    /// Answers so far, for the progress bar; written by this thread only.
    answers: &'r AtomicU64,
    /// Where acknowledgements are logged, if they are.
    page: Option<&'r Page>,
    keys: Option<Keys>,
    prng: Prng,
    clock: Clock,
    /// What is sent before this counts for nothing but the books.
    measure_from: u64,
    /// Nothing new is sent from here on, by the plan.
    deadline: u64,
    /// The time that most replies of a read have in common, and its bucket.
    latest: (u64, Bucket),
    /// What became of the operations.
    pub tally: Tally,
}

impl<'r> Desk<'r> {
    /// The desk of one thread; `number` tells its random choices from those of others.
    #[must_use]
    pub fn new(
        plan: &'r Plan,
        books: Option<&'r Books>,
        answers: &'r AtomicU64,
        page: Option<&'r Page>,
        number: u32,
        clock: Clock,
    ) -> Desk<'r> {
        let measure_from = nanoseconds(plan.warmup);
        Desk {
            number,
            plan,
            books,
            answers,
            page,
            keys: plan.keys.as_ref().map(|keys| keys.stream(number)),
            prng: Prng::new(plan.seed, u64::from(number)),
            clock,
            measure_from,
            deadline: plan.duration.map_or(u64::MAX, |length| measure_from.saturating_add(nanoseconds(length))),
            latest: (0, Bucket::of(0)),
            tally: Tally::default(),
        }
    }

    /// The plan of the run.
    #[must_use]
    pub fn plan(&self) -> &'r Plan {
        self.plan
    }

    /// The thread's number; where each has one connection, the connection's, too.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The time now, nanoseconds since the start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Nothing new is sent from this time on: what the plan says, or when the run was interrupted.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> u64 {
        interrupt::time().map_or(self.deadline, |time| self.deadline.min(self.clock.relative(time)))
    }

    /// Random numbers for other choices, such as waits.
    pub fn prng(&mut self) -> &mut Prng {
        &mut self.prng
    }

    /// Whether "no room now" is no answer to a keyed operation: the books, and whoever lost an answer, want a final one.
    #[inline]
    #[must_use]
    pub fn insists(&self, flight: &Flight) -> bool {
        flight.key.is_some() && (flight.is_unsure || self.books.is_some())
    }

    /// The next operation of a connection, which begins `now`, or `None` when it has sent all of them or the time is over.
    #[inline]
    pub fn next_flight(&mut self, budget: &mut Budget, now: u64) -> Option<Flight> {
        if now >= self.deadline() || budget.left == 0 {
            return None;
        }
        if now >= self.measure_from {
            budget.left -= 1;
        }
        let bits = self.prng.next_u64();
        let opcode = self.plan.mix.choose(high(bits));
        let (account, to) = match opcode {
            Opcode::Transfer => self.plan.picker.pick_two(&mut self.prng),
            Opcode::Deposit | Opcode::Withdraw | Opcode::Balance => {
                let account = self.plan.picker.pick(&mut self.prng);
                (account, account)
            }
            Opcode::Ping | Opcode::Totals | Opcode::Login | Opcode::History => (AccountId(0), AccountId(0)),
        };
        let (least, span) =
            if opcode == Opcode::Deposit { (DEPOSIT_LEAST, DEPOSIT_SPAN) } else { (OTHER_LEAST, OTHER_SPAN) };
        let op = Op { opcode, account, to, amount: Cents(least + i64::from(scale(low(bits), span))) };
        let key = if opcode.is_money() { self.keys.as_mut().map(Keys::next_key) } else { None };
        Some(Flight { op, since: now, key, is_unsure: false })
    }

    /// Writes down an answer that came to the connection with this number.
    #[inline]
    pub fn settle(&mut self, connection: u32, flight: &Flight, response: &Response, now: u64) {
        let refusal = match response {
            Response::Error { status, .. } => Some(*status),
            _ => None,
        };
        if let Some(books) = self.books {
            books.settle(&flight.op, response);
        }
        if let Some(page) = self.page
            && flight.op.opcode.is_money()
        {
            let [begin, end] = [flight.since, now].map(|time| self.clock.absolute(time));
            ack_log::enter(page, &ack_log::Ack { connection, flight, response, begin, end });
        }
        if flight.since < self.measure_from {
            return;
        }
        let took = now.saturating_sub(flight.since);
        if took != self.latest.0 {
            self.latest = (took, Bucket::of(took));
        }
        self.tally.answer(flight.op.opcode, refusal, self.latest.1, took);
    }

    /// Tells the world how many answers one read brought.
    #[inline]
    pub fn show(&mut self, answers: usize, now: u64) {
        self.tally.last_answer = now;
        // Only this thread writes, so a plain addition cannot lose a count; nothing else is published by it.
        let before = self.answers.load(Ordering::Relaxed);
        self.answers.store(before + answers as u64, Ordering::Relaxed);
    }

    /// Writes down what becomes of an operation that will not be sent again: refused, where that is known, or in doubt.
    pub fn abandon(&mut self, connection: u32, flight: &Flight) {
        let opcode = flight.op.opcode;
        if !opcode.is_money() {
            self.give_up(flight, Ending::Abandoned);
        } else if flight.is_unsure {
            self.give_up(flight, Ending::Lost);
        } else {
            let response = Response::Error { opcode: opcode.code(), status: Status::Busy };
            self.settle(connection, flight, &response, self.now());
        }
    }

    /// Writes down that an operation will get no answer.
    pub fn give_up(&mut self, flight: &Flight, ending: Ending) {
        if let Some(books) = self.books {
            books.doubt(&flight.op);
        }
        if flight.since < self.measure_from {
            return;
        }
        self.tally.kinds[flight.op.opcode.index()].err += 1;
        match ending {
            Ending::Timeout => self.tally.unanswered_in_time += 1,
            Ending::Lost => self.tally.unanswered_lost += 1,
            Ending::Abandoned => self.tally.abandoned += 1,
        }
    }
}
