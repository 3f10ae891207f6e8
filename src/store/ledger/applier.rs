//! The applier: carries out what another instance has decided, record by record.
//!
//! A record holds absolute balances, so there is nothing to decide, and nothing that could be refused. The way is that of a worker's
//! operation: locks, intent, commit point, apply. So whoever applies may die at any instruction, and a cut is as exact as elsewhere.

use std::sync::atomic::Ordering;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::expect_to_write;
use crate::store::journal::record::{OperationRecord, Record};
use crate::store::ledger::intent::{LedgerRow, NO_CONNECTION, Plan};
use crate::store::ledger::lock::LockedCell;
use crate::store::ledger::order::Stamp;
use crate::store::ledger::remembered::RememberedOperation;
use crate::store::ledger::table::{REPLICA_ROW, Table};

/// Why a record cannot be applied: it is not of this ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Another one comes next.
    #[error("record {found} cannot be applied: the next one is {expected}")]
    OutOfOrder {
        /// The next one.
        expected: Lsn,
        /// The one that came.
        found: Lsn,
    },
    /// It changes an account that is not there.
    #[error("record {lsn} cannot be applied: there is no account {account}")]
    NoAccount {
        /// The record.
        lsn: Lsn,
        /// The account.
        account: AccountId,
    },
}

/// Applies records. It is used by `&mut`: there is one row for it, and so one operation in flight.
pub struct Applier<'a> {
    table: &'a Table,
    row: &'a LedgerRow,
    still_waiting: Box<dyn Fn() + 'a>,
}

impl<'a> Applier<'a> {
    /// The applier of this instance, whose row must be settled. `still_waiting` is called now and then while it waits for a lock.
    #[must_use]
    pub fn new(table: &'a Table, still_waiting: impl Fn() + 'a) -> Self {
        Applier { table, row: &table.rows()[REPLICA_ROW], still_waiting: Box::new(still_waiting) }
    }

    /// Has the memory fetched that applying `record` will touch, while earlier ones are applied: nearly all of it is in no near cache. A hint.
    #[inline]
    pub fn prefetch(&self, record: &Record) {
        let Some(operation) = record.operation() else { return };
        if operation.is_done() {
            let (first, second) = operation.accounts;
            let cells = [Some(first), second].into_iter().flatten().filter_map(|account| self.table.cell(account));
            cells.for_each(expect_to_write);
        }
        if let Some(key) = operation.key {
            // Probing fetches the buckets.
            let _probe = self.table.sequencer().keys().probe(key, operation.principal);
        }
    }

    /// Applies `record`, which is committed and is the next one, wholly or not at all, whenever this process may die.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        let expected = Lsn(self.table.order().now().lsn.0 + 1);
        let lsn = record.lsn();
        if lsn != expected {
            return Err(ApplyError::OutOfOrder { expected, found: lsn });
        }
        // What the cluster writes beside operations takes a number and changes nothing.
        let operation = record.operation();
        let done = operation.filter(|operation| operation.is_done());
        let second = done.and_then(|done| done.accounts.1);
        let accounts = [done.map(|done| done.accounts.0), second];
        let probe = operation.and_then(|operation| {
            let key = operation.key?;
            Some((operation, self.table.sequencer().keys().probe(key, operation.principal)))
        });
        let [low, high] = self.lock_in_order(lsn, accounts)?;
        crash_point(CrashPoint::Locked);
        let plan = self.plan(done, accounts);
        self.row.intent.prepare(&plan);
        crash_point(CrashPoint::Prepared);
        let keyed = probe.as_ref().map(|(operation, probe)| (RememberedOperation::of(operation).to_table(), probe));
        let stamp = self.table.commit_applied(&self.row.intent, 1, (keyed, None), &self.still_waiting);
        crash_point(CrashPoint::Sequenced);
        let swapped = second.is_some() && accounts[1] < accounts[0];
        let (first, second) = if swapped { (high, low) } else { (low, high) };
        if let Some(first) = &first {
            self.row.apply(stamp, &plan, first, second.as_ref());
        }
        self.row.intent.clear();
        crash_point(CrashPoint::IntentCleared);
        drop(first);
        crash_point(CrashPoint::FirstUnlocked);
        drop(second);
        crash_point(CrashPoint::Unlocked);
        Ok(())
    }

    /// Locks in the order of the account numbers, as everybody does.
    fn lock_in_order(
        &self,
        lsn: Lsn,
        accounts: [Option<AccountId>; 2],
    ) -> Result<[Option<LockedCell<'a>>; 2], ApplyError> {
        let lock = |account: Option<AccountId>| {
            let Some(account) = account else { return Ok(None) };
            let cell = self.table.lock(account, &self.still_waiting);
            cell.map(Some).ok_or(ApplyError::NoAccount { lsn, account })
        };
        match accounts {
            [Some(first), Some(second)] if second < first => Ok([lock(Some(second))?, lock(Some(first))?]),
            [first, second] => Ok([lock(first)?, lock(second)?]),
        }
    }

    fn plan(&self, done: Option<&OperationRecord>, accounts: [Option<AccountId>; 2]) -> Plan {
        let tally = &self.row.tally;
        let (deposited, withdrawn) = done.map(OperationRecord::deposited_and_withdrawn).unwrap_or_default();
        if deposited > Cents::ZERO {
            // It was room enough where it was decided; this takes it off what workers may take here.
            let _ = tally.has_room_for(deposited, &self.table.headroom());
        }
        let moved = |from: i64, by: Cents| [Cents(from), Cents(from.wrapping_add(by.0))];
        Plan {
            accounts,
            balances: done.map(|done| done.balances).unwrap_or_default(),
            deposited: moved(tally.deposited.load(Ordering::Relaxed), deposited),
            withdrawn: moved(tally.withdrawn.load(Ordering::Relaxed), withdrawn),
            connection: NO_CONNECTION,
            progress: 0,
        }
    }
}

impl LedgerRow {
    /// Carries out what `plan` says, which has happened as `stamp`, on the accounts that it names.
    #[inline]
    pub(super) fn apply(&self, stamp: Stamp, plan: &Plan, first: &LockedCell<'_>, second: Option<&LockedCell<'_>>) {
        let tally = &self.tally;
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
        // CUT: release; a cut that reads the new sums must also see the new epoch.
        tally.deposited.store(plan.deposited[1].0, Ordering::Release);
        tally.withdrawn.store(plan.withdrawn[1].0, Ordering::Release);
        crash_point(CrashPoint::Tallied);
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "applier_tests.rs"]
mod tests;
