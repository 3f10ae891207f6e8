//! What came in and what went out, beside what the accounts opened with: sums that stay within 63 bits, all of them.

use super::record::Record;
use crate::base::vocab::Cents;

/// The sums so far. `opening + deposited` fits into 63 bits, and no more was withdrawn than that.
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
    /// These sums; `None` where they cannot be.
    #[must_use]
    pub fn new(opening: Cents, deposited: Cents, withdrawn: Cents) -> Option<Self> {
        let none_below_zero = [opening, deposited, withdrawn].iter().all(|&cents| cents >= Cents::ZERO);
        let all = opening.checked_add(deposited)?;
        (none_below_zero && withdrawn <= all).then_some(RunningTotals { opening, deposited, withdrawn })
    }

    /// What all accounts hold by these sums.
    #[must_use]
    pub fn sum(&self) -> Cents {
        Cents(self.opening.0 + self.deposited.0 - self.withdrawn.0)
    }

    /// The sums after `record`; `None` where they cannot be.
    #[must_use]
    pub fn after(&self, record: &Record) -> Option<Self> {
        let (came, went) = record.deposited_and_withdrawn();
        Self::new(self.opening, self.deposited.checked_add(came)?, self.withdrawn.checked_add(went)?)
    }
}
