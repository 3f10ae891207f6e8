//! The bound on all deposits together: what the accounts opened with and all deposits stay within 63 bits. The other sums
//! follow: the accounts cannot hold more, and no more can be withdrawn.
//!
//! No deposit adds up the tallies of all workers. What may yet be deposited is one word, from which each worker takes one share at
//! a time. A share raises the limit up to which the worker's tally of deposits may rise. So the usual deposit compares two words
//! that only its worker writes. The price: near the bound a deposit is refused although others have shares that they do not use, at most
//! [`SHARE`] each; and a worker that dies after taking a share and before storing its limit loses that share until the instance ends.

use crate::base::vocab::Cents;
use crate::ipc::cells::{AtomicI64, Ordering};
use crate::store::ledger::intent::Tally;

/// What a worker takes at a time, in cents: ten billion of the currency's units, a millionth of all that there can be.
pub const SHARE: Cents = Cents(1 << 40);

/// What may yet be deposited and no worker has taken.
pub(super) struct Headroom<'a>(pub(super) &'a AtomicI64);

impl Headroom<'_> {
    /// Sets it where the accounts opened with `opening` and `deposited` was deposited since; before the first worker.
    pub(super) fn begin(&self, opening: Cents, deposited: Cents) {
        // Zero, should they be beyond the bound already.
        let left = i64::MAX.checked_sub(opening.0).and_then(|left| left.checked_sub(deposited.0)).unwrap_or(0);
        self.0.store(left.max(0), Ordering::Relaxed);
    }

    /// Raises the limit of `tally`, the caller's own, to `wanted` or more; `false` where that would pass the bound.
    #[cold]
    pub(super) fn raise(&self, tally: &Tally, wanted: i64) -> bool {
        let limit = tally.deposit_limit.load(Ordering::Relaxed);
        let lacking = wanted - limit;
        // At least what is lacking; a whole share where there is one.
        let taken_of = |left: i64| lacking.max(SHARE.0.min(left));
        let take = |left| (left >= lacking).then(|| left - taken_of(left));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(taken_of);
        if let Ok(taken) = taken {
            tally.deposit_limit.store(limit + taken, Ordering::Relaxed);
        }
        taken.is_ok()
    }
}

impl Tally {
    /// Whether the caller, whose tally this is, may deposit `amount` more.
    #[inline]
    pub(super) fn has_room_for(&self, amount: Cents, headroom: &Headroom<'_>) -> bool {
        let deposited = self.deposited.load(Ordering::Relaxed);
        let Some(wanted) = deposited.checked_add(amount.0) else { return false };
        wanted <= self.deposit_limit.load(Ordering::Relaxed) || headroom.raise(self, wanted)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::base::vocab::Lsn;
    use crate::store::ledger::teller::Undone;
    use crate::store::ledger::test_support::{A, operate};
    use crate::store::ledger::{Operation, Refusal, Table, Teller, cut, test_support};

    fn table(accounts: u32, initial_balance: Cents) -> Table {
        test_support::table(accounts, initial_balance, 0)
    }

    fn deposit(teller: &mut Teller<'_>, cents: i64) -> Result<Lsn, Undone> {
        operate(teller, Operation::Deposit { account: A, amount: Cents(cents) })
    }

    /// What was deposited goes again, so that no balance stands in the way.
    fn pass_through(teller: &mut Teller<'_>, cents: i64) -> bool {
        match deposit(teller, cents) {
            Ok(_) => operate(teller, Operation::Withdraw { account: A, amount: Cents(cents) }).is_ok(),
            Err(refused) => {
                assert_eq!(refused, Undone::Refused(Refusal::Invalid));
                false
            }
        }
    }

    #[test]
    fn one_worker_may_deposit_to_the_last_cent_and_not_one_more() {
        for opening in [0, 1, 1_000_000] {
            let table = table(1, Cents(opening));
            let mut teller = Teller::new(&table, 0, || ());
            let most = i64::MAX - opening;
            for part in [most / 3, most / 3, 5, 1, most - 2 * (most / 3) - 6] {
                assert!(pass_through(&mut teller, part), "{opening}: {part}");
            }
            assert!(!pass_through(&mut teller, 1) && !pass_through(&mut teller, i64::MAX));
            let totals = cut::take(&table).unwrap();
            let all = Cents(most);
            assert_eq!((totals.deposited, totals.withdrawn, totals.sum), (all, all, Cents(opening)));
            assert_eq!(totals.opening(), Cents(opening));
            let last = totals.lsn;
            // It tells of all that was deposited, by whomever.
            teller.take_seen();
            deposit(&mut teller, 1).unwrap_err();
            assert_eq!(teller.take_seen(), last);
        }
    }

    #[test]
    fn many_workers_never_pass_the_bound_together_and_come_close_to_it() {
        let table = table(1, Cents(7));
        let mut tellers: Vec<_> = (0..64).map(|worker| Teller::new(&table, worker, || ())).collect();
        // Each has a share that it does not use up.
        assert!(tellers.iter_mut().all(|teller| pass_through(teller, 1)));
        let mut part = i64::MAX / 2;
        let mut deposited = 64i64;
        while part > 0 {
            for teller in &mut tellers {
                while pass_through(teller, part) {
                    deposited = deposited.checked_add(part).expect("within the bound");
                }
            }
            part /= 2;
        }
        let totals = cut::take(&table).unwrap();
        assert_eq!((totals.deposited, totals.withdrawn), (Cents(deposited), Cents(deposited)));
        assert!(deposited <= i64::MAX - 7);
        // In halves down to a cent, each has used up its own share.
        assert_eq!(deposited, i64::MAX - 7);
    }

    #[test]
    fn what_others_have_taken_and_not_used_is_a_share_each_at_most() {
        let table = table(1, Cents(0));
        let mut tellers: Vec<_> = (0..64).map(|worker| Teller::new(&table, worker, || ())).collect();
        assert!(tellers.iter_mut().all(|teller| pass_through(teller, 1)));
        let most = i64::MAX - 63 * SHARE.0 - 1;
        assert!(!pass_through(&mut tellers[0], most + 1) && pass_through(&mut tellers[0], most));
        assert!(!pass_through(&mut tellers[0], 1) && pass_through(&mut tellers[1], SHARE.0 - 1));
    }

    #[test]
    fn the_bound_holds_over_a_restart() {
        let table = table(1, Cents(0));
        let gone = Cents(i64::MAX - 100);
        table.begin_after(Lsn(5), Cents(40), [gone, Cents(i64::MAX - 60)]);
        let mut teller = Teller::new(&table, 3, || ());
        assert!(!pass_through(&mut teller, 61) && pass_through(&mut teller, 60) && !pass_through(&mut teller, 1));
        table.begin_after(Lsn(5), Cents(i64::MAX), [Cents(1), Cents(1)]);
        assert!(!pass_through(&mut Teller::new(&table, 0, || ()), 1), "beyond already");
    }

    #[test]
    fn a_successor_goes_on_with_its_share() {
        let table = table(1, Cents(0));
        assert!(pass_through(&mut Teller::new(&table, 0, || ()), 1));
        for _ in 0..1000 {
            assert!(pass_through(&mut Teller::new(&table, 0, || ()), 1000));
        }
        assert!(!pass_through(&mut Teller::new(&table, 1, || ()), i64::MAX - SHARE.0 + 1), "one share is taken");
        assert!(pass_through(&mut Teller::new(&table, 1, || ()), i64::MAX - SHARE.0));
    }
}
