//! Repair after a death.
//!
//! A lock that comes back inherited names an account whose last holder died. Only that holder's intent can name this account:
//! an intent that is not idle names none but accounts that its worker has locked. If the intent's operation happened, its
//! absolute values are set; if not, nothing had changed. Both can be done again, by anyone, so a repairer that dies is
//! repaired by the next. Each repairer mends only the account whose lock it holds; the intent stays until the master has
//! seen all of its accounts mended ([`settle`]), and only then may a successor use its place.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::{AtomicI64, Busy, Ordering};
use crate::store::ledger::intent::{LedgerRow, Phase, Plan};
use crate::store::ledger::table::{AccountCell, Table};

/// Makes `account` whole; the caller has inherited its lock.
pub(super) fn mend(table: &Table, account: AccountId, cell: &AccountCell) {
    crash_point(CrashPoint::RepairInherited);
    // Several dead workers may have left intents that name this account, each mended by the next one before that died:
    // those are not newer than the account. So this carries out at most one, unless a repairer's stamp was lost with it.
    while let Some((lsn, row, plan)) = oldest_undone(table, account, cell.lsn()) {
        mend_tally(row, &plan);
        crash_point(CrashPoint::RepairTallied);
        if let Some(balance) = plan.balance_of(account) {
            Table::redo(cell, balance, lsn);
        }
    }
}

/// The oldest operation that happened, names `account` and is newer than what the account shows.
fn oldest_undone(table: &Table, account: AccountId, shown: Lsn) -> Option<(Lsn, &LedgerRow, Plan)> {
    table
        .rows()
        .iter()
        .filter_map(|row| Some((table.order().happened(&row.intent)?, row, row.intent.plan())))
        .filter(|(lsn, _, plan)| *lsn > shown && plan.balance_of(account).is_some())
        .min_by_key(|(lsn, ..)| *lsn)
}

/// Moves a dead worker's tally from its old value to its new one. Whoever comes second finds the old value gone, also when a
/// successor has counted on since.
fn mend_tally(row: &LedgerRow, plan: &Plan) {
    let swap = |field: &AtomicI64, [before, after]: [Cents; 2]| {
        // A failure means that it was moved already.
        let _ = field.compare_exchange(before.0, after.0, Ordering::AcqRel, Ordering::Relaxed);
    };
    swap(&row.tally.deposited, plan.deposited);
    swap(&row.tally.withdrawn, plan.withdrawn);
}

/// What was found in a dead worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It died between operations.
    Idle,
    /// Its operation had not happened, and is dropped.
    Dropped,
    /// Its operation had happened, and is finished; `connection` and `progress` as the plan has them.
    Finished {
        /// The operation's number.
        lsn: Lsn,
        /// The connection slot that waits for the answer.
        connection: u32,
        /// The progress word to give it.
        progress: u64,
    },
}

/// Finishes or drops what worker `worker` left, and empties its intent, without ever waiting. Only the master calls it, and
/// only once the worker's process is collected.
///
/// # Errors
/// [`Busy`]: a living worker is just mending one of the accounts; call again soon.
pub fn settle(table: &Table, worker: usize) -> Result<Settled, Busy> {
    let row = &table.rows()[worker];
    // If it died as the sequencer's holder, its claim is withdrawn now, or its key made known. Busy: somebody who has inherited
    // the lock may be doing that.
    drop(table.try_sequence()?);
    let settled = match row.intent.phase() {
        Phase::Idle => return Ok(Settled::Idle),
        Phase::Prepared => Settled::Dropped,
        Phase::Claimed(lsn) | Phase::Committed(lsn) => {
            let plan = row.intent.plan();
            for account in plan.accounts.into_iter().flatten() {
                if let Some(cell) = table.cell(account)
                    && cell.lsn() < lsn
                {
                    // Inherited, and so mended on the way. Busy: whoever has it inherited it from the dead worker.
                    drop(table.try_lock(account, cell)?);
                }
            }
            mend_tally(row, &plan);
            Settled::Finished { lsn, connection: plan.connection, progress: plan.progress }
        }
    };
    row.intent.clear();
    Ok(settled)
}
