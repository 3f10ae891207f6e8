//! The master's part of a repair: the blocks of a dead process' write are given back.

use crate::ipc::cells::Busy;
use crate::store::kv::row::RowStage;
use crate::store::kv::table::KvTable;
use crate::store::ledger::Table;

/// Finishes what process `row` left in the table, and gives back the blocks that no bucket leads to, without ever waiting. Only the master
/// calls it, after it has collected the process and before it settles the process' row in the ledger: that says whether the write
/// has happened.
///
/// # Errors
/// [`Busy`]: a living process is at one of the locks; call again soon.
pub fn settle(table: &KvTable, ledger: &Table, row: usize) -> Result<(), Busy> {
    let Some((kv_row, ledger_row)) = table.rows().get(row).zip(ledger.rows().get(row)) else { return Ok(()) };
    // If the process died as a holder, its claim is withdrawn now, and whether it had taken or given back blocks is decided.
    drop(ledger.try_lock_sequencer()?);
    drop(table.pool().try_lock()?);
    let Some(change) = kv_row.change() else {
        debug_assert_eq!(kv_row.stage(), RowStage::Idle);
        return Ok(());
    };
    let has_happened = ledger.order().happened(&ledger_row.intent).is_some();
    // Inherited, and so repaired on the way. Where nothing happened it is only given back.
    drop(table.try_lock(ledger, change.bucket)?);
    match if has_happened { change.displaced } else { change.fresh } {
        Some(chain) => table.pool().try_lock()?.release(kv_row, chain),
        None => kv_row.clear(),
    }
    Ok(())
}

#[cfg(all(test, not(feature = "model")))]
#[path = "settle_tests.rs"]
mod tests;
