//! The sums over all accounts as one consistent cut, while traffic flows.
//!
//! Taking a cut begins by moving the cut number, which every operation gets together with its own number when it commits:
//! an operation is before or after the cut by its number, whatever the order in which anything is read afterwards. Then the
//! accounts are visited one by one. An operation after the cut that comes to an account before the visitor does counts the
//! account's balance in, and marks it, before it changes it; the visitor skips what is marked. The workers' tallies of
//! deposits and withdrawals are kept as of the cut in the same way. No operation waits for a cut.
//!
//! A worker that dies may have counted an account and not marked it. Its lock is inherited by whoever comes to the account
//! next, so a cut during which any lock was inherited is thrown away and taken again.

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
    /// Keeps the sums as of cut `epoch`, at the first operation after it.
    #[inline]
    pub(super) fn enter(&self, epoch: u32) {
        if self.cut_epoch.load(Ordering::Relaxed) == epoch {
            return;
        }
        self.cut_deposited.store(self.deposited.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cut_withdrawn.store(self.withdrawn.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cut_sum.store(0, Ordering::Relaxed);
        // CUT: release; the three fields above are whole for whoever sees this.
        self.cut_epoch.store(epoch, Ordering::Release);
    }

    /// Counts what `cell` holds into cut `epoch` unless that was done, before it is changed.
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
        // CUT: acquire. The running sums first: if they already had an operation after the cut in them, the number read
        // below would say so.
        let running = [self.deposited.load(Ordering::Acquire), self.withdrawn.load(Ordering::Acquire), 0];
        if self.cut_epoch.load(Ordering::Acquire) != epoch {
            return running;
        }
        [&self.cut_deposited, &self.cut_withdrawn, &self.cut_sum].map(|field| field.load(Ordering::Relaxed))
    }
}

/// How often a cut is taken again because a worker died under it.
const ATTEMPTS: usize = 64;

/// Takes a cut; `None` when workers die so fast that none could be finished.
///
/// It visits every account, about ten nanoseconds each, and may wait for locks: call it where that hurts nobody.
#[must_use]
pub fn take(table: &Table) -> Option<Totals> {
    let patience = Duration::from_millis(100);
    let _held: Held<'_> = match table.cut_lock().lock(patience, || ()) {
        Acquired::Held(held) => held,
        // A cut whose taker died is nothing but a number that is not used again.
        Acquired::Inherited(inherited) => inherited.into_consistent(),
    };
    (0..ATTEMPTS).find_map(|_| attempt(table))
}

fn attempt(table: &Table) -> Option<Totals> {
    let inherited = table.inherited();
    let epoch = unused_epoch(table);
    let lsn = table.order().begin_cut(epoch);
    // The sums of a cut fit; in one that is thrown away an account may be counted twice.
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

/// A cut number that no worker's tally shows: the numbers begin anew after 4096 cuts, while a worker that does nothing keeps
/// the one it saw last. The accounts show only the last few, since every finished cut marks them all.
fn unused_epoch(table: &Table) -> u32 {
    let shown = |epoch| table.rows().iter().any(|row| row.tally.cut_epoch.load(Ordering::Acquire) == epoch);
    let mut epoch = (table.order().now().epoch + 1) % EPOCHS;
    while shown(epoch) {
        epoch = (epoch + 1) % EPOCHS;
    }
    epoch
}
