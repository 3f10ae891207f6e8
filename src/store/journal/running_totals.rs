//! The running totals of all deposits and withdrawals, which stay within 63 bits together with what the accounts opened with.

use super::record::Record;
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
    pub fn after(&self, record: &Record) -> Option<Self> {
        let (came, went) = record.deposited_and_withdrawn();
        Self::new(self.opening, self.deposited.checked_add(came)?, self.withdrawn.checked_add(went)?)
    }
}
