//! The sums over all accounts as one consistent cut, while operations go on.
//!
//! A cut begins by changing the cut number, which every operation gets together with its own number when it commits. So each
//! operation is before or after the cut by its number, in whatever order anything is read afterwards. Then the accounts are visited
//! one by one. An operation after the cut that reaches an account before the visitor counts the account's balance in and marks it
//! before changing it; the visitor skips marked accounts. The workers' tallies are kept as of the cut in the same way. No operation
//! waits for a cut.
//!
//! A worker that dies may have counted an account and not marked it. Then its lock is inherited, so a cut during which any lock
//! was inherited is discarded and taken again.

use std::time::Duration;

use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::{Acquired, Held, Ordering};
use crate::store::ledger::intent::Tally;
use crate::store::ledger::lock::LockedCell;
use crate::store::ledger::order::EPOCHS;
use crate::store::ledger::table::Table;

/// The sums over all accounts after operation `lsn` and before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How many accounts there are.
    pub accounts: u32,
    /// What all accounts hold together.
    pub sum: Cents,
    /// All deposits.
    pub deposited: Cents,
    /// All withdrawals.
    pub withdrawn: Cents,
    /// The last operation counted in.
    pub lsn: Lsn,
}

impl Totals {
    /// What all accounts held at the beginning, if no cent was lost or made.
    #[must_use]
    pub fn opening(&self) -> Cents {
        Cents(self.sum.0.wrapping_sub(self.deposited.0).wrapping_add(self.withdrawn.0))
    }
}

impl Tally {
    /// Keeps the sums as of cut `epoch`; called at every operation, and does so at the first after the cut.
    #[inline]
    pub(super) fn enter(&self, epoch: u32) {
        if self.cut_epoch.load(Ordering::Relaxed) == epoch {
            return;
        }
        self.cut_deposited.store(self.deposited.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cut_withdrawn.store(self.withdrawn.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cut_sum.store(0, Ordering::Relaxed);
        // CUT: release; a reader that sees the epoch sees the three fields above.
        self.cut_epoch.store(epoch, Ordering::Release);
    }

    /// Counts the balance of `cell` into cut `epoch`, unless that was done, before it is changed.
    #[inline]
    pub(super) fn count_before_change(&self, cell: &LockedCell<'_>, epoch: u32) {
        if cell.count_into(epoch) {
            let sum = self.cut_sum.load(Ordering::Relaxed);
            // Read only after the visitor has had this account's lock, which orders it.
            self.cut_sum.store(sum.wrapping_add(cell.balance().0), Ordering::Relaxed);
        }
    }

    /// The sums as of cut `epoch`, and what this worker counted in: deposited, withdrawn, counted.
    fn as_of(&self, epoch: u32) -> [i64; 3] {
        // CUT: acquire. The running sums first: if they contained an operation after the cut, the epoch read below would be
        // the new one.
        let running = [self.deposited.load(Ordering::Acquire), self.withdrawn.load(Ordering::Acquire), 0];
        if self.cut_epoch.load(Ordering::Acquire) != epoch {
            return running;
        }
        [&self.cut_deposited, &self.cut_withdrawn, &self.cut_sum].map(|field| field.load(Ordering::Relaxed))
    }
}

/// How often a cut is tried while workers die under it.
const ATTEMPTS: usize = 64;

/// Takes a cut; `None` when workers die so fast that none can be finished.
///
/// It visits every account, about ten nanoseconds each, and may wait for locks: not for event loops.
#[must_use]
pub fn take(table: &Table) -> Option<Totals> {
    let patience = Duration::from_millis(100);
    let _held: Held<'_> = match table.cut_lock().lock(patience, || ()) {
        Acquired::Held(held) => held,
        // A cut whose taker died leaves nothing but a number that is not used again.
        Acquired::Inherited(inherited) => inherited.into_consistent(),
    };
    (0..ATTEMPTS).find_map(|_| attempt(table))
}

fn attempt(table: &Table) -> Option<Totals> {
    let inherited = table.inherited();
    let epoch = unused_epoch(table);
    let lsn = table.order().begin_cut(epoch);
    // The sums of a cut fit; in a discarded one an account may be counted twice, so they wrap.
    let mut totals = [0i64; 3];
    let mut sum = 0i64;
    for account in (0..table.accounts()).map(AccountId) {
        let cell = table.lock(account, || ())?;
        if cell.count_into(epoch) {
            sum = sum.wrapping_add(cell.balance().0);
        }
    }
    for row in table.rows() {
        for (total, part) in totals.iter_mut().zip(row.tally.as_of(epoch)) {
            *total = total.wrapping_add(part);
        }
    }
    if table.inherited() != inherited {
        return None;
    }
    let [deposited, withdrawn, counted] = totals;
    Some(Totals {
        accounts: table.accounts(),
        sum: Cents(sum.wrapping_add(counted)),
        deposited: Cents(deposited),
        withdrawn: Cents(withdrawn),
        lsn,
    })
}

/// A cut number that no worker's tally has: the numbers begin anew after 4096 cuts, and an idle worker keeps the one it saw last.
/// The accounts have only the last few, because every finished cut marks them all.
fn unused_epoch(table: &Table) -> u32 {
    let shown = |epoch| table.rows().iter().any(|row| row.tally.cut_epoch.load(Ordering::Acquire) == epoch);
    let mut epoch = (table.order().now().epoch + 1) % EPOCHS;
    while shown(epoch) {
        epoch = (epoch + 1) % EPOCHS;
    }
    epoch
}

#[cfg(all(test, not(feature = "model")))]
#[path = "cut_tests.rs"]
mod tests;
