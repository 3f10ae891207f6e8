//! Intents: what a worker is about to do, stored where others can read it after its death.

use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::cells::{AtomicI64, AtomicU32, AtomicU64, Ordering, shared_struct};

/// The account number that stands for "no account".
pub const NO_ACCOUNT: u32 = u32::MAX;
/// The connection slot that stands for "no connection waits for this".
pub const NO_CONNECTION: u32 = u32::MAX;
/// The counts of an operation that does not change them.
const NO_COUNTS: u64 = u64::MAX;

const IDLE: u64 = 0;
const PREPARED: u64 = 1;
const COMMITTED: u64 = 2;
const CLAIMED: u64 = 3;
const PHASE_BITS: u32 = 2;

shared_struct! {
    /// One operation in flight. Writer: its worker, while that lives; once it is dead and collected, the master.
    ///
    /// An intent that is not idle names only accounts whose locks its worker holds, alive or dead. All fields but `phase`
    /// are written before `phase`, and every time all of them: a stale second account would be taken for one that is
    /// named.
    pub struct Intent, align 64, size 128; {
        phase: AtomicU64,
        progress: AtomicU64,
        connection: AtomicU32,
        reserved: AtomicU32,
        accounts: [AtomicU32; 2],
        balances: [AtomicI64; 2],
        deposited: [AtomicI64; 2],
        withdrawn: [AtomicI64; 2],
        /// The number of the idempotency key that the operation makes known; 0 without one. Written under the sequencer's lock.
        key_number: AtomicU64,
        /// What the word of counts is after the operation (see [`Sequencer::counts`](super::Sequencer::counts)); [`NO_COUNTS`] where it
        /// stays. Written under the sequencer's lock.
        counts: AtomicU64,
        spare: [AtomicU64; 4],
    }
}

shared_struct! {
    /// What came in and went out through one worker, and the same as of the last cut that it took part in.
    /// Writer: the worker, holding the lock of an account that the operation touches; after its death, its repairers.
    /// The sums over all workers stay within 63 bits: see `headroom`.
    pub struct Tally, align 64, size 64; {
        pub(super) deposited: AtomicI64,
        pub(super) withdrawn: AtomicI64,
        /// The cut whose values stand in the three fields below.
        pub(super) cut_epoch: AtomicU32,
        reserved: AtomicU32,
        pub(super) cut_deposited: AtomicI64,
        pub(super) cut_withdrawn: AtomicI64,
        /// Balances that this worker counted into the cut before it changed them.
        pub(super) cut_sum: AtomicI64,
        /// How far `deposited` may rise before the worker must ask for more. Writer: the worker.
        pub(super) deposit_limit: AtomicI64,
        spare: AtomicU64,
    }
}

shared_struct! {
    /// What the ledger keeps for one worker.
    pub struct LedgerRow, align 64, size 192; {
        /// The sums of deposits and withdrawals.
        pub tally: Tally,
        /// The operation in flight.
        pub intent: Intent,
    }
}

/// The contents of an intent: absolute values, so that applying them twice is the same as once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The accounts; a transfer has two, a refusal that is remembered has none.
    pub accounts: [Option<AccountId>; 2],
    /// Their new balances.
    pub balances: [Cents; 2],
    /// The worker's tally of deposits, before and after.
    pub deposited: [Cents; 2],
    /// The worker's tally of withdrawals, before and after.
    pub withdrawn: [Cents; 2],
    /// The connection that waits for the answer.
    pub connection: u32,
    /// The progress word that says to it: request consumed, reply queued.
    pub progress: u64,
}

/// How far an operation has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is in flight.
    Idle,
    /// Written, not happened.
    Prepared,
    /// Happened if, and only if, the order of operations has reached this number.
    Claimed(Lsn),
    /// Happened as this number; maybe not applied yet.
    Committed(Lsn),
}

impl Intent {
    /// Writes the plan; the operation has not happened.
    #[inline]
    pub(in crate::store) fn prepare(&self, plan: &Plan) {
        for (field, account) in self.accounts.iter().zip(plan.accounts) {
            field.store(account.map_or(NO_ACCOUNT, |id| id.0), Ordering::Relaxed);
        }
        for (fields, values) in
            [(&self.balances, plan.balances), (&self.deposited, plan.deposited), (&self.withdrawn, plan.withdrawn)]
        {
            fields[0].store(values[0].0, Ordering::Relaxed);
            fields[1].store(values[1].0, Ordering::Relaxed);
        }
        self.connection.store(plan.connection, Ordering::Relaxed);
        self.progress.store(plan.progress, Ordering::Relaxed);
        self.key_number.store(0, Ordering::Relaxed);
        self.counts.store(NO_COUNTS, Ordering::Relaxed);
        // COMMIT-INTENT: release; a reader that sees a phase sees the plan.
        self.phase.store(PREPARED, Ordering::Release);
    }

    /// Says that the operation makes key number `number` known.
    #[inline]
    pub(super) fn set_key_number(&self, number: u64) {
        self.key_number.store(number, Ordering::Relaxed);
    }

    /// Says what the word of counts is after the operation.
    #[inline]
    pub(super) fn set_counts(&self, counts: u64) {
        self.counts.store(counts, Ordering::Relaxed);
    }

    /// What the word of counts is after the operation; `None` where it stays.
    pub(super) fn counts(&self) -> Option<u64> {
        Some(self.counts.load(Ordering::Relaxed)).filter(|&counts| counts != NO_COUNTS)
    }

    /// The number of the key that the operation makes known; 0 without one.
    pub(super) fn key_number(&self) -> u64 {
        self.key_number.load(Ordering::Relaxed)
    }

    /// Says that the operation is the one that gets number `lsn`, should the order reach that. Holding the sequencer's lock.
    #[inline]
    pub(super) fn claim(&self, lsn: Lsn) {
        // COMMIT-INTENT: release, as above.
        self.phase.store(lsn.0 << PHASE_BITS | CLAIMED, Ordering::Release);
    }

    /// Withdraws a dead worker's claim to a number that the order has not reached. Holding the sequencer's lock.
    pub(super) fn withdraw_claim(&self) {
        self.phase.store(PREPARED, Ordering::Release);
    }

    /// Declares the operation happened as number `lsn`. This store is the commit point where there is no journal.
    #[inline]
    pub(super) fn commit(&self, lsn: Lsn) {
        // COMMIT-INTENT: release, as above.
        self.phase.store(lsn.0 << PHASE_BITS | COMMITTED, Ordering::Release);
    }

    /// Declares that nothing is in flight.
    #[inline]
    pub(in crate::store) fn clear(&self) {
        // Release: a reader that sees the intent idle sees its results.
        self.phase.store(IDLE, Ordering::Release);
    }

    /// How far the operation got.
    #[must_use]
    pub fn phase(&self) -> Phase {
        // COMMIT-INTENT: acquire.
        let word = self.phase.load(Ordering::Acquire);
        match word & ((1 << PHASE_BITS) - 1) {
            COMMITTED => Phase::Committed(Lsn(word >> PHASE_BITS)),
            CLAIMED => Phase::Claimed(Lsn(word >> PHASE_BITS)),
            PREPARED => Phase::Prepared,
            _ => Phase::Idle,
        }
    }

    /// The plan; meaningful only while the intent is not idle.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let pair = |fields: &[AtomicI64; 2]| {
            [Cents(fields[0].load(Ordering::Relaxed)), Cents(fields[1].load(Ordering::Relaxed))]
        };
        let account =
            |field: &AtomicU32| Some(field.load(Ordering::Relaxed)).filter(|&id| id != NO_ACCOUNT).map(AccountId);
        Plan {
            accounts: [account(&self.accounts[0]), account(&self.accounts[1])],
            balances: pair(&self.balances),
            deposited: pair(&self.deposited),
            withdrawn: pair(&self.withdrawn),
            connection: self.connection.load(Ordering::Relaxed),
            progress: self.progress.load(Ordering::Relaxed),
        }
    }
}

impl Plan {
    /// No account changes, and nobody waits.
    pub(in crate::store) const NOTHING: Plan = Plan {
        accounts: [None; 2],
        balances: [Cents::ZERO; 2],
        deposited: [Cents::ZERO; 2],
        withdrawn: [Cents::ZERO; 2],
        connection: NO_CONNECTION,
        progress: 0,
    };

    /// The new balance of `account`, where the plan names it.
    #[must_use]
    pub fn balance_of(&self, account: AccountId) -> Option<Cents> {
        self.accounts.iter().zip(self.balances).find(|(named, _)| **named == Some(account)).map(|(_, balance)| balance)
    }
}

impl Tally {
    /// What came in through this worker.
    #[must_use]
    pub fn deposited(&self) -> Cents {
        Cents(self.deposited.load(Ordering::Acquire))
    }

    /// What went out through this worker.
    #[must_use]
    pub fn withdrawn(&self) -> Cents {
        Cents(self.withdrawn.load(Ordering::Acquire))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::base::limits::MAX_LSN;
    use crate::store::ledger::order::Order;
    use crate::store::ledger::test_support::{A, B, table};

    #[test]
    fn an_intent_tells_its_plan_and_how_far_it_got() {
        let table = table(2, Cents(100), 0);
        let intent = &table.rows()[0].intent;
        let word = AtomicU64::new(0);
        let order = Order(&word);
        order.begin_after(Lsn(7));
        let mut plan = Plan {
            accounts: [Some(A), Some(B)],
            balances: [Cents(1), Cents(2)],
            deposited: [Cents(3), Cents(4)],
            withdrawn: [Cents(5), Cents(6)],
            connection: 7,
            progress: u64::MAX - 8,
        };
        assert_eq!((intent.phase(), order.happened(intent)), (Phase::Idle, None));
        intent.prepare(&plan);
        assert_eq!((intent.phase(), intent.plan(), order.happened(intent)), (Phase::Prepared, plan, None));
        assert_eq!([A, B, AccountId(2)].map(|id| plan.balance_of(id)), [Some(Cents(1)), Some(Cents(2)), None]);
        intent.set_key_number(9);
        intent.claim(Lsn(8));
        assert_eq!((intent.phase(), order.happened(intent)), (Phase::Claimed(Lsn(8)), None));
        order.take_next(1);
        assert_eq!((order.happened(intent), intent.key_number()), (Some(Lsn(8)), 9));
        intent.withdraw_claim();
        assert_eq!((intent.phase(), order.happened(intent)), (Phase::Prepared, None));
        intent.commit(Lsn(MAX_LSN));
        assert_eq!((intent.phase(), order.happened(intent)), (Phase::Committed(Lsn(MAX_LSN)), Some(Lsn(MAX_LSN))));
        intent.clear();
        assert_eq!(intent.phase(), Phase::Idle);
        // Nothing of the one before is left.
        plan.accounts = [Some(B), None];
        intent.prepare(&plan);
        assert_eq!((intent.plan(), intent.key_number()), (plan, 0));
        assert_eq!((plan.balance_of(A), plan.balance_of(B)), (None, Some(Cents(1))));
    }
}
