//! The running totals of all deposits and withdrawals, which stay within 63 bits together with what the accounts opened with.

use super::record::OperationRecord;
use crate::base::vocab::Cents;

/// The totals up to some record. `opening + deposited` fits into 63 bits, and no more than that was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningTotals {
    /// What all accounts opened with.
    pub opening: Cents,
    /// All deposits.
    pub deposited: Cents,
    /// All withdrawals.
    pub withdrawn: Cents,
}

impl RunningTotals {
    /// These totals; `None` where they are impossible.
    #[must_use]
    pub fn new(opening: Cents, deposited: Cents, withdrawn: Cents) -> Option<Self> {
        let none_below_zero = [opening, deposited, withdrawn].iter().all(|&cents| cents >= Cents::ZERO);
        let all = opening.checked_add(deposited)?;
        (none_below_zero && withdrawn <= all).then_some(RunningTotals { opening, deposited, withdrawn })
    }

    /// What all accounts hold together.
    #[must_use]
    pub fn sum(&self) -> Cents {
        Cents(self.opening.0 + self.deposited.0 - self.withdrawn.0)
    }

    /// The totals after `record`; `None` where they are impossible.
    #[must_use]
    pub fn after(&self, record: &OperationRecord) -> Option<Self> {
        let (came, went) = record.deposited_and_withdrawn();
        Self::new(self.opening, self.deposited.checked_add(came)?, self.withdrawn.checked_add(went)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{AccountId, Lsn};
    use crate::store::journal::{Kind, Verdict};

    #[test]
    fn totals_that_cannot_be_are_none() {
        let new =
            |opening, deposited, withdrawn| RunningTotals::new(Cents(opening), Cents(deposited), Cents(withdrawn));
        let most = i64::MAX;
        for (opening, deposited, withdrawn) in
            [(0, 0, 0), (100, 7, 3), (100, 7, 107), (100, most - 100, most), (most, 0, most)]
        {
            let totals = new(opening, deposited, withdrawn).unwrap();
            assert_eq!(totals.sum(), Cents(opening + deposited - withdrawn));
        }
        for (opening, deposited, withdrawn) in
            [(100, 7, 108), (101, most - 100, 0), (most, 1, 0), (-1, 5, 0), (5, -1, 0), (5, 0, -1)]
        {
            assert_eq!(new(opening, deposited, withdrawn), None, "{opening} {deposited} {withdrawn}");
        }
    }

    #[test]
    fn only_what_came_in_or_went_out_moves_them() {
        let before = RunningTotals::new(Cents(100), Cents(7), Cents(3)).unwrap();
        let record = |kind, verdict, amount| OperationRecord {
            lsn: Lsn(1),
            time_ns: 0,
            kind,
            verdict,
            principal: 0,
            accounts: (AccountId(0), None),
            amount: Cents(amount),
            balances: [Cents::ZERO; 2],
            previous: [Lsn(0); 2],
            key: None,
        };
        let after = |kind, verdict, amount| before.after(&record(kind, verdict, amount));
        let wanted = |deposited, withdrawn| RunningTotals::new(Cents(100), Cents(deposited), Cents(withdrawn));
        assert_eq!(after(Kind::Deposit, Verdict::Done, 20), wanted(27, 3));
        assert_eq!(after(Kind::Withdraw, Verdict::Done, 104), wanted(7, 107));
        assert_eq!(after(Kind::Withdraw, Verdict::Done, 105), None);
        assert_eq!(after(Kind::Deposit, Verdict::Done, i64::MAX - 107), wanted(i64::MAX - 100, 3));
        assert_eq!(after(Kind::Deposit, Verdict::Done, i64::MAX - 106), None);
        assert_eq!(after(Kind::Deposit, Verdict::Done, i64::MAX), None);
        for kind in [Kind::Deposit, Kind::Withdraw, Kind::Transfer] {
            assert_eq!(after(kind, Verdict::Insufficient, 20), Some(before));
        }
        assert_eq!(after(Kind::Transfer, Verdict::Done, 20), Some(before));
    }
}
