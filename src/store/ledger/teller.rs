//! The teller: carries out one operation at a time for its worker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::defect::{self, Defect};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::expect_to_write;
use crate::store::journal::record::{Kind, OperationRecord, Verdict};
use crate::store::ledger::commit::Uncommitted;
use crate::store::ledger::intent::{LedgerRow, NO_CONNECTION, Plan};
use crate::store::ledger::keys::{Key, Probe};
use crate::store::ledger::lock::LockedCell;
use crate::store::ledger::order::Stamp;
use crate::store::ledger::rules::{Operation, Outcome, Refusal};
use crate::store::ledger::table::Table;

/// The connection that waits for an operation, and the word that says to it: request consumed, reply queued.
#[derive(Clone, Copy)]
pub struct Completion<'a> {
    pub(in crate::store) connection: u32,
    word: Option<&'a AtomicU64>,
    pub(in crate::store) next: u64,
    /// Puts the operation's number into the reply, where that shows it.
    pub(in crate::store) number: Option<&'a dyn Fn(Lsn)>,
}

impl<'a> Completion<'a> {
    /// Moves `word`, the progress word of connection slot `connection`, to `next` as part of the operation.
    #[inline]
    #[must_use]
    pub fn moving(connection: u32, word: &'a AtomicU64, next: u64) -> Self {
        Completion { connection, word: Some(word), next, number: None }
    }

    /// Has `number` called with the operation's number as soon as that is known, and before the operation has happened: it puts the
    /// number into the reply. So a repair need not know of replies that show their number.
    #[inline]
    #[must_use]
    pub fn numbered_by(self, number: &'a dyn Fn(Lsn)) -> Self {
        Completion { number: Some(number), ..self }
    }

    /// Makes the reply count.
    #[inline]
    pub(in crate::store) fn complete(self) {
        if let Some(word) = self.word {
            // MOVE-PROGRESS: release; a reader that sees the reply queued sees its bytes.
            word.store(self.next, Ordering::Release);
        }
    }

    /// The same for a reply that shows no number.
    pub(in crate::store) fn unnumbered(self) -> Self {
        Completion { number: None, ..self }
    }

    /// No connection waits.
    pub const UNATTENDED: Completion<'static> =
        Completion { connection: NO_CONNECTION, word: None, next: 0, number: None };
}

/// Who asks, and the key by which a repeated request is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The user's number: a key is the user's own.
    pub principal: u32,
    /// The idempotency key, if the request has one.
    pub key: Option<Key>,
}

impl Asker {
    /// No particular user, without a key.
    pub const ANYBODY: Asker = Asker { principal: 0, key: None };
}

/// Why an operation was not done: nothing has changed, and what `reply` prepared does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// A rule forbids it.
    Refused(Refusal),
    /// It could not be committed.
    Uncommitted(Uncommitted),
}

/// Carries out a worker's operations. It is used by `&mut`: a worker has one intent, so one operation in flight.
pub struct Teller<'a> {
    table: &'a Table,
    row: &'a LedgerRow,
    still_waiting: Box<dyn Fn() + 'a>,
    wall_clock_ns: u64,
    seen: Lsn,
    has_read: bool,
}

impl<'a> Teller<'a> {
    /// The teller of worker `worker`, whose row must be settled. `still_waiting` is called now and then while it waits for a lock.
    #[must_use]
    pub fn new(table: &'a Table, worker: usize, still_waiting: impl Fn() + 'a) -> Self {
        let row = &table.rows()[worker];
        Teller { table, row, still_waiting: Box::new(still_waiting), wall_clock_ns: 0, seen: Lsn(0), has_read: false }
    }

    /// Sets the time that records bear, nanoseconds since 1970.
    pub fn set_wall_clock(&mut self, now_ns: u64) {
        self.wall_clock_ns = now_ns;
    }

    /// The last operation whose result this teller has shown since the last call.
    #[inline]
    pub fn take_seen(&mut self) -> Lsn {
        std::mem::take(&mut self.seen)
    }

    /// Whether this teller has shown what is so at a moment since the last call: what others do later makes it untrue, unlike the result
    /// of an operation.
    #[inline]
    pub fn take_has_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read)
    }

    /// Notes that what is so now is shown: what operation `lsn` and those before it have led to.
    #[inline]
    pub fn see_state(&mut self, lsn: Lsn) {
        self.see(lsn);
        self.has_read = true;
    }

    /// Notes that the result of operation `lsn` is shown.
    #[inline]
    pub fn see(&mut self, lsn: Lsn) {
        self.seen = self.seen.max(lsn);
    }

    /// The balance of `account`, and the last operation that changed it; 0 for none.
    #[inline]
    pub fn balance(&mut self, account: AccountId) -> Result<(Cents, Lsn), Refusal> {
        let cell = self.table.lock(account, &self.still_waiting).ok_or(Refusal::NoAccount)?;
        crash_point(CrashPoint::Locked);
        let (balance, lsn) = (cell.balance(), cell.lsn());
        drop(cell);
        self.see_state(lsn);
        Ok((balance, lsn))
    }

    /// The last operation that changed `account`; 0 for none.
    pub fn last_change(&mut self, account: AccountId) -> Result<Lsn, Refusal> {
        let cell = self.table.lock(account, &self.still_waiting).ok_or(Refusal::NoAccount)?;
        Ok(cell.lsn())
    }

    /// Has the memory fetched that an operation on these accounts with this key will touch, while the caller does something else. A hint:
    /// the accounts need not exist.
    #[inline]
    pub fn prefetch(&self, (first, second): (AccountId, Option<AccountId>), key: Option<Key>, principal: u32) {
        for cell in [Some(first), second].into_iter().flatten().filter_map(|account| self.table.cell(account)) {
            expect_to_write(cell);
        }
        if let Some(key) = key {
            // Probing fetches the buckets.
            let _probe = self.table.sequencer().keys().probe(key, principal);
        }
    }

    /// Carries out `operation` wholly or not at all, whenever this process may die.
    ///
    /// `reply` is called with the outcome before the operation is committed: it puts the answer where it will be sent from, and names
    /// the word that makes it count there. A refusal with a key is remembered, and so committed as well.
    ///
    /// # Errors
    /// [`Undone`]; should `reply` have been called, what it prepared does not count.
    #[inline]
    pub fn carry_out<'c>(
        &mut self,
        operation: Operation,
        asker: &Asker,
        reply: impl FnOnce(Result<&Outcome, Refusal>) -> Completion<'c>,
    ) -> Result<Lsn, Undone> {
        // As early as possible: its cache lines are fetched while the accounts are locked and the reply is written.
        let probe = asker.key.map(|key| self.table.sequencer().keys().probe(key, asker.principal));
        if let Err(refusal) = operation.check_shape(self.table.accounts()) {
            return self.refuse(operation, asker, refusal, reply);
        }
        let (first, second) = self.lock_in_order(operation.accounts()).map_err(Undone::Refused)?;
        crash_point(CrashPoint::Locked);
        let (second_balance, second_lsn) =
            second.as_ref().map_or((Cents::ZERO, Lsn(0)), |cell| (cell.balance(), cell.lsn()));
        let previous = [first.lsn(), second_lsn];
        let outcome = match operation.decide([first.balance(), second_balance], self.table.cap()) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                // The refusal shows something about the balances. The accounts stay locked, so that no operation comes in between.
                self.see(previous[0].max(previous[1]));
                return self.refuse(operation, asker, refusal, reply);
            }
        };
        if outcome.deposited > Cents::ZERO && !self.row.tally.has_room_for(outcome.deposited, &self.table.headroom()) {
            // The refusal shows something about all deposits so far.
            self.see(self.table.order().now().lsn);
            return self.refuse(operation, asker, Refusal::Invalid, reply);
        }
        crash_point(CrashPoint::Decided);
        let completion = reply(Ok(&outcome));
        crash_point(CrashPoint::ReplyWritten);
        let plan = self.plan(operation, &outcome, completion);
        let mut record = self.record(operation, asker, Verdict::Done);
        (record.balances, record.previous) = (outcome.balances, previous);
        let stamp = self.commit(&plan, &mut record, probe.as_ref(), completion.number)?;
        self.row.apply(stamp, &plan, &first, second.as_ref());
        self.complete(completion);
        drop(first);
        crash_point(CrashPoint::FirstUnlocked);
        drop(second);
        crash_point(CrashPoint::Unlocked);
        Ok(stamp.lsn)
    }

    /// Commits a refusal, if it has a key.
    #[cold]
    fn refuse<'c>(
        &mut self,
        operation: Operation,
        asker: &Asker,
        refusal: Refusal,
        reply: impl FnOnce(Result<&Outcome, Refusal>) -> Completion<'c>,
    ) -> Result<Lsn, Undone> {
        if asker.key.is_none() {
            self.has_read = true;
            return Err(Undone::Refused(refusal));
        }
        let completion = reply(Err(refusal));
        crash_point(CrashPoint::ReplyWritten);
        let mut plan = self.plan(operation, &Outcome::NOTHING, completion);
        plan.accounts = [None; 2];
        let verdict = match refusal {
            Refusal::NoAccount => Verdict::NoAccount,
            Refusal::Insufficient => Verdict::Insufficient,
            Refusal::Invalid => Verdict::Invalid,
        };
        let probe = asker.key.map(|key| self.table.sequencer().keys().probe(key, asker.principal));
        // What is refused shows no number.
        let stamp = self.commit(&plan, &mut self.record(operation, asker, verdict), probe.as_ref(), None)?;
        self.complete(completion);
        Ok(stamp.lsn)
    }

    #[inline]
    fn commit(
        &mut self,
        plan: &Plan,
        record: &mut OperationRecord,
        probe: Option<&Probe<'_>>,
        number: Option<&dyn Fn(Lsn)>,
    ) -> Result<Stamp, Undone> {
        self.row.intent.prepare(plan);
        crash_point(CrashPoint::Prepared);
        match self.table.commit(&self.row.intent, record, (probe, number), &self.still_waiting) {
            Ok(stamp) => {
                crash_point(CrashPoint::Sequenced);
                self.see(stamp.lsn);
                Ok(stamp)
            }
            Err(uncommitted) => {
                self.see(uncommitted.shows());
                self.row.intent.clear();
                Err(Undone::Uncommitted(uncommitted))
            }
        }
    }

    /// Makes the reply count, and ends the operation.
    #[inline]
    fn complete(&self, completion: Completion<'_>) {
        completion.complete();
        crash_point(CrashPoint::ProgressMoved);
        // While the locks are held: an intent that is not idle names only accounts that its worker has locked.
        self.row.intent.clear();
        crash_point(CrashPoint::IntentCleared);
    }

    #[inline]
    fn record(&self, operation: Operation, asker: &Asker, verdict: Verdict) -> OperationRecord {
        let kind = match operation {
            Operation::Deposit { .. } => Kind::Deposit,
            Operation::Withdraw { .. } => Kind::Withdraw,
            Operation::Transfer { .. } => Kind::Transfer,
        };
        OperationRecord {
            // The sequencer sets it.
            lsn: Lsn(0),
            time_ns: self.wall_clock_ns,
            kind,
            verdict,
            principal: asker.principal,
            accounts: operation.accounts(),
            amount: operation.amount(),
            balances: [Cents::ZERO; 2],
            previous: [Lsn(0); 2],
            key: asker.key,
        }
    }

    /// Locks in the order of the account numbers, so that no two operations wait for each other; gives the cells in the
    /// operation's order.
    #[inline]
    fn lock_in_order(
        &self,
        (first, second): (AccountId, Option<AccountId>),
    ) -> Result<(LockedCell<'a>, Option<LockedCell<'a>>), Refusal> {
        let lock = |account| {
            let cell = self.table.lock(account, &self.still_waiting).ok_or(Refusal::NoAccount);
            crash_point(CrashPoint::FirstLocked);
            cell
        };
        match second {
            None => Ok((lock(first)?, None)),
            Some(second) if first < second || defect::is(Defect::Order) => {
                let low = lock(first)?;
                Ok((low, Some(lock(second)?)))
            }
            Some(second) => {
                let low = lock(second)?;
                Ok((lock(first)?, Some(low)))
            }
        }
    }

    #[inline]
    fn plan(&self, operation: Operation, outcome: &Outcome, completion: Completion<'_>) -> Plan {
        let tally = &self.row.tally;
        // Deposits stay below the tally's limit, and no more goes out than came in.
        let moved = |from: i64, by: Cents| [Cents(from), Cents(from + by.0)];
        Plan {
            accounts: [Some(operation.accounts().0), operation.accounts().1],
            balances: outcome.balances,
            deposited: moved(tally.deposited.load(Ordering::Relaxed), outcome.deposited),
            withdrawn: moved(tally.withdrawn.load(Ordering::Relaxed), outcome.withdrawn),
            connection: completion.connection,
            progress: completion.next,
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "teller_tests.rs"]
mod tests;
