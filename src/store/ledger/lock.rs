//! The locks of accounts and of the sequencer, and the repair of what a dead holder left half done.
//!
//! A lock that comes back inherited names an account whose last holder died. Only that holder's intent can name this account:
//! an intent that is not idle names only accounts that its worker has locked. If the intent's operation happened, its absolute
//! values are set; if it did not, nothing had changed. Anybody can do both again, so the next holder repairs what a dead
//! repairer left. A repairer sets only the account whose lock it holds. The intent stays until the master has found all of its
//! accounts repaired ([`settle`](super::repair::settle)).

use std::time::Duration;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::defect::{self, Defect};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::{Acquired, AtomicI64, Busy, Held, Ordering};
use crate::store::ledger::intent::{LedgerRow, Phase, Plan};
use crate::store::ledger::table::{AccountCell, Table};

/// How often a thread that waits for a lock shows that it is alive.
const PATIENCE: Duration = Duration::from_millis(20);

/// An account whose lock this thread holds, in good order.
pub struct LockedCell<'a> {
    cell: &'a AccountCell,
    _held: Held<'a>,
}

impl LockedCell<'_> {
    /// What the account holds.
    #[inline]
    #[must_use]
    pub fn balance(&self) -> Cents {
        self.cell.balance()
    }

    /// The last operation that changed the account.
    #[inline]
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.cell.lsn()
    }

    /// Sets the balance; [`LockedCell::stamp`] must follow.
    #[inline]
    pub(super) fn set_balance(&self, balance: Cents) {
        self.cell.balance.store(balance.0, Ordering::Relaxed);
    }

    /// Says that the balance is that of operation `lsn`. After the balance, since repair takes it for "done".
    #[inline]
    pub(super) fn stamp(&self, lsn: Lsn) {
        self.cell.lsn.store(lsn.0, Ordering::Release);
    }

    /// Marks the account as counted in cut `epoch`; whether it was not before.
    #[inline]
    pub(super) fn count_into(&self, epoch: u32) -> bool {
        let first = self.cell.cut.load(Ordering::Relaxed) != epoch;
        if first {
            self.cell.cut.store(epoch, Ordering::Relaxed);
        }
        first
    }
}

impl Table {
    /// Locks `account`, and repairs it first when its last holder died; `None` where there is no such account.
    ///
    /// While another holds the lock, `still_waiting` is called now and then, so that the caller can show that it is alive: a holder
    /// that was stopped keeps its locks until it goes on or is killed.
    #[inline]
    pub fn lock(&self, account: AccountId, still_waiting: impl FnMut()) -> Option<LockedCell<'_>> {
        let cell = self.cell(account)?;
        Some(self.repaired(account, cell, cell.lock.lock(PATIENCE, still_waiting)))
    }

    /// Locks `account` without waiting.
    ///
    /// # Errors
    /// [`Busy`]: another holds it.
    pub(super) fn try_lock<'a>(&'a self, account: AccountId, cell: &'a AccountCell) -> Result<LockedCell<'a>, Busy> {
        Ok(self.repaired(account, cell, cell.lock.try_lock()?))
    }

    #[inline]
    fn repaired<'a>(&'a self, account: AccountId, cell: &'a AccountCell, acquired: Acquired<'a>) -> LockedCell<'a> {
        let _held = match acquired {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                if !defect::is(Defect::Repair) {
                    self.repair(account, cell);
                }
                // Before the lock is declared consistent: a cut that is being taken must see that a lock was inherited.
                self.count_inherited();
                inherited.into_consistent()
            }
        };
        LockedCell { cell, _held }
    }

    /// Repairs `account`, whose lock the caller has inherited.
    fn repair(&self, account: AccountId, cell: &AccountCell) {
        crash_point(CrashPoint::RepairInherited);
        // Several dead workers may have left intents that name this account, each of them repaired by the next before that one
        // died; such intents are not newer than the account. So at most one is carried out here, unless a repairer died before it
        // had stored the number.
        while let Some((lsn, row, plan)) = self.oldest_unapplied(account, cell.lsn()) {
            repair_tally(row, &plan);
            crash_point(CrashPoint::RepairTallied);
            if let Some(balance) = plan.balance_of(account) {
                cell.balance.store(balance.0, Ordering::Relaxed);
                crash_point(CrashPoint::RepairBalanceSet);
                cell.lsn.store(lsn.0, Ordering::Release);
                crash_point(CrashPoint::RepairApplied);
            }
        }
    }

    /// The oldest operation that happened, names `account`, and is newer than `applied`.
    fn oldest_unapplied(&self, account: AccountId, applied: Lsn) -> Option<(Lsn, &LedgerRow, Plan)> {
        self.rows()
            .iter()
            .filter_map(|row| Some((self.order().happened(&row.intent)?, row, row.intent.plan())))
            .filter(|(lsn, _, plan)| *lsn > applied && plan.balance_of(account).is_some())
            .min_by_key(|(lsn, ..)| *lsn)
    }

    /// Takes the sequencer's lock, and repairs what its last holder left when that died.
    #[inline]
    pub(super) fn lock_sequencer(&self, still_waiting: impl FnMut()) -> Held<'_> {
        self.repaired_sequencer(self.sequencer().lock().lock(PATIENCE, still_waiting))
    }

    /// [`Table::lock_sequencer`] without waiting.
    ///
    /// # Errors
    /// [`Busy`]: another holds it.
    pub(in crate::store) fn try_lock_sequencer(&self) -> Result<Held<'_>, Busy> {
        Ok(self.repaired_sequencer(self.sequencer().lock().try_lock()?))
    }

    #[inline]
    fn repaired_sequencer<'a>(&'a self, acquired: Acquired<'a>) -> Held<'a> {
        match acquired {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                self.repair_sequencer();
                inherited.into_consistent()
            }
        }
    }

    /// The sequencer's last holder died. A claim to a number that was not reached is withdrawn; the key of an operation whose
    /// number was reached is made known, and what it counts is counted. All of it can be done again.
    #[cold]
    fn repair_sequencer(&self) {
        let last = self.order().now().lsn;
        let keys = self.sequencer().keys();
        for row in self.rows() {
            if matches!(row.intent.phase(), Phase::Claimed(lsn) if lsn > last) {
                if defect::is(Defect::StaleClaim) {
                    continue;
                }
                row.intent.withdraw_claim();
                crash_point(CrashPoint::RepairWithdrawn);
                continue;
            }
            let Some(lsn) = self.order().happened(&row.intent) else { continue };
            if row.intent.key_number() == keys.known() + 1 && !defect::is(Defect::LostKey) {
                keys.make_known(row.intent.key_number(), lsn);
                crash_point(CrashPoint::RepairKeyKnown);
            }
            // What counts has its numbers by the lock alone, so the dead holder's operation is the last one, or it had counted before.
            if let Some(counts) = row.intent.counts().filter(|_| lsn == last) {
                self.sequencer().set_counts(counts);
                crash_point(CrashPoint::RepairCounted);
            }
        }
    }
}

/// Moves a dead worker's tally from its old value to its new one. A second repairer no longer finds the old value, even when a
/// successor has counted on since.
pub(super) fn repair_tally(row: &LedgerRow, plan: &Plan) {
    let swap = |field: &AtomicI64, [before, after]: [Cents; 2]| {
        // A failure means that it was moved already.
        let _ = field.compare_exchange(before.0, after.0, Ordering::AcqRel, Ordering::Relaxed);
    };
    swap(&row.tally.deposited, plan.deposited);
    swap(&row.tally.withdrawn, plan.withdrawn);
}
