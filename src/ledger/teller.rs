//! The teller: carries out one operation at a time for its worker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::crash_point::{CrashPoint, crash_point};
use crate::ledger::commit::{CommitPoint, Stamp};
use crate::ledger::intent::{LedgerRow, NO_CONNECTION, Plan};
use crate::ledger::rules::{Operation, Outcome, Refusal};
use crate::ledger::table::{LockedCell, Table};
use crate::vocab::{AccountId, Cents, Lsn};

/// Who waits for an operation, and the one word that tells it "your request is consumed, your reply is queued".
#[derive(Clone, Copy)]
pub struct Completion<'a> {
    connection: u32,
    word: Option<&'a AtomicU64>,
    next: u64,
}

impl<'a> Completion<'a> {
    /// Moves `word`, the progress word of connection slot `connection`, to `next` as part of the operation.
    #[inline]
    #[must_use]
    pub fn moving(connection: u32, word: &'a AtomicU64, next: u64) -> Self {
        Completion { connection, word: Some(word), next }
    }

    /// Nobody waits.
    pub const UNATTENDED: Completion<'static> = Completion { connection: NO_CONNECTION, word: None, next: 0 };
}

/// A worker's hand in the ledger. It is used by `&mut`: a worker has one intent, so one operation in flight.
pub struct Teller<'a> {
    table: &'a Table,
    row: &'a LedgerRow,
    still_waiting: Box<dyn Fn() + 'a>,
}

impl<'a> Teller<'a> {
    /// The teller of worker `worker`, whose place must be settled. `still_waiting` is called now and then while it waits for
    /// a lock.
    #[must_use]
    pub fn new(table: &'a Table, worker: usize, still_waiting: impl Fn() + 'a) -> Self {
        Teller { table, row: &table.rows()[worker], still_waiting: Box::new(still_waiting) }
    }

    /// What `account` holds.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    #[inline]
    pub fn balance(&mut self, account: AccountId) -> Result<Cents, Refusal> {
        let cell = self.table.lock(account, &self.still_waiting).ok_or(Refusal::NoAccount)?;
        crash_point(CrashPoint::Locked);
        Ok(cell.balance())
    }

    /// Carries out `operation`, wholly or not at all, whenever this process may die.
    ///
    /// Once it is certain that the operation will be done, and before it is, `reply` is called with the outcome: it puts the
    /// answer where it will be sent from, and says which word makes it visible there.
    ///
    /// # Errors
    /// The rule that forbids it; then nothing has changed and `reply` was not called.
    #[inline]
    pub fn carry_out<'c>(
        &mut self,
        operation: Operation,
        reply: impl FnOnce(&Outcome) -> Completion<'c>,
    ) -> Result<(Lsn, Outcome), Refusal> {
        operation.check_shape(self.table.accounts())?;
        let (first, second) = self.lock_in_order(operation.accounts())?;
        crash_point(CrashPoint::Locked);
        let second_balance = second.as_ref().map_or(Cents::ZERO, LockedCell::balance);
        let outcome = operation.decide([first.balance(), second_balance], self.table.cap())?;
        crash_point(CrashPoint::Decided);
        let completion = reply(&outcome);
        crash_point(CrashPoint::ReplyWritten);
        let plan = self.plan(operation, &outcome, completion);
        self.row.intent.prepare(&plan);
        crash_point(CrashPoint::Prepared);
        let stamp = self.table.order().commit(&self.row.intent);
        crash_point(CrashPoint::Committed);
        self.apply(stamp, &plan, &first, second.as_ref());
        if let Some(word) = completion.word {
            // MOVE-PROGRESS: release, so that whoever sees the reply queued sees its bytes.
            word.store(completion.next, Ordering::Release);
        }
        crash_point(CrashPoint::ProgressMoved);
        // While the locks are held: an intent that is not idle names only accounts that its worker has locked.
        self.row.intent.clear();
        crash_point(CrashPoint::IntentCleared);
        drop(first);
        crash_point(CrashPoint::FirstUnlocked);
        drop(second);
        crash_point(CrashPoint::Unlocked);
        Ok((stamp.lsn, outcome))
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
            Some(second) if first < second => {
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
        // Two's complement: the sums that TOTALS compares are equal modulo 2^64 also after a wrap.
        let moved = |from: i64, by: Cents| [Cents(from), Cents(from.wrapping_add(by.0))];
        Plan {
            accounts: operation.accounts(),
            balances: outcome.balances,
            deposited: moved(tally.deposited.load(Ordering::Relaxed), outcome.deposited),
            withdrawn: moved(tally.withdrawn.load(Ordering::Relaxed), outcome.withdrawn),
            connection: completion.connection,
            progress: completion.next,
        }
    }

    #[inline]
    fn apply(&self, stamp: Stamp, plan: &Plan, first: &LockedCell<'_>, second: Option<&LockedCell<'_>>) {
        let tally = &self.row.tally;
        tally.enter(stamp.epoch);
        tally.count_before_change(first, stamp.epoch);
        if let Some(second) = second {
            tally.count_before_change(second, stamp.epoch);
        }
        first.set_balance(plan.balances[0]);
        crash_point(CrashPoint::FirstBalanceSet);
        first.stamp(stamp.lsn);
        crash_point(CrashPoint::FirstApplied);
        if let Some(second) = second {
            second.set_balance(plan.balances[1]);
            second.stamp(stamp.lsn);
        }
        crash_point(CrashPoint::Applied);
        // CUT: release; a cut that reads the new sums must also see that they were entered into it.
        tally.deposited.store(plan.deposited[1].0, Ordering::Release);
        tally.withdrawn.store(plan.withdrawn[1].0, Ordering::Release);
        crash_point(CrashPoint::Tallied);
    }
}
