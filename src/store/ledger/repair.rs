//! The master's part of a repair: the intent of a dead worker is finished or dropped, so that a successor can use its place.

use crate::base::vocab::Lsn;
use crate::ipc::cells::Busy;
use crate::store::ledger::intent::Phase;
use crate::store::ledger::lock::repair_tally;
use crate::store::ledger::table::Table;

/// What was found in a dead worker's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It died between operations.
    Idle,
    /// Its operation had not happened, and is dropped.
    Dropped,
    /// Its operation had happened, and is finished; `connection` and `progress` are those of the plan.
    Finished {
        /// The operation's number.
        lsn: Lsn,
        /// The connection slot that waits for the answer.
        connection: u32,
        /// The progress word to give it.
        progress: u64,
    },
}

/// Finishes or drops what worker `worker` left, and clears its intent, without ever waiting. Only the master calls it, after it
/// has collected the worker's process.
///
/// # Errors
/// [`Busy`]: a living worker is just repairing one of the accounts; call again soon.
pub fn settle(table: &Table, worker: usize) -> Result<Settled, Busy> {
    let row = &table.rows()[worker];
    // If the worker died as the sequencer's holder, its claim is withdrawn now, or its key made known. Busy: another thread may have
    // inherited the lock and be doing that.
    drop(table.try_lock_sequencer()?);
    let settled = match row.intent.phase() {
        Phase::Idle => return Ok(Settled::Idle),
        Phase::Prepared => Settled::Dropped,
        Phase::Claimed(lsn) | Phase::Committed(lsn) => {
            let plan = row.intent.plan();
            for account in plan.accounts.into_iter().flatten() {
                if let Some(cell) = table.cell(account)
                    && cell.lsn() < lsn
                {
                    // Inherited, and so repaired on the way. Busy: the holder has inherited it from the dead worker.
                    drop(table.try_lock(account, cell)?);
                }
            }
            repair_tally(row, &plan);
            Settled::Finished { lsn, connection: plan.connection, progress: plan.progress }
        }
    };
    row.intent.clear();
    Ok(settled)
}

#[cfg(all(test, not(feature = "model")))]
#[path = "repair_tests.rs"]
mod tests;
