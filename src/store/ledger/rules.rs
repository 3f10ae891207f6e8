//! What an operation may do: pure arithmetic over balances, no lock and no memory.

use crate::base::vocab::{AccountId, Cents};

/// A change of money that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Puts money in.
    Deposit {
        /// Where to.
        account: AccountId,
        /// How much; positive.
        amount: Cents,
    },
    /// Takes money out.
    Withdraw {
        /// Where from.
        account: AccountId,
        /// How much; positive.
        amount: Cents,
    },
    /// Moves money.
    Transfer {
        /// Where from.
        from: AccountId,
        /// Where to; another account.
        to: AccountId,
        /// How much; positive.
        amount: Cents,
    },
}

/// Why an operation is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no account of that number.
    #[error("no such account")]
    NoAccount,
    /// The account holds less than is to be taken.
    #[error("insufficient funds")]
    Insufficient,
    /// The amount is not positive, the two accounts are one, a balance would pass the cap, or all deposits
    /// together would pass 63 bits.
    #[error("invalid operation")]
    Invalid,
}

/// The result of an allowed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The new balances, in the order of [`Operation::accounts`]; the second is zero where there is no second account.
    pub balances: [Cents; 2],
    /// What came in from outside.
    pub deposited: Cents,
    /// What went out.
    pub withdrawn: Cents,
}

impl Outcome {
    /// That of a refusal.
    pub const NOTHING: Outcome = Outcome { balances: [Cents::ZERO; 2], deposited: Cents::ZERO, withdrawn: Cents::ZERO };
}

impl Operation {
    /// The accounts that the operation touches.
    #[inline]
    #[must_use]
    pub fn accounts(self) -> (AccountId, Option<AccountId>) {
        match self {
            Operation::Deposit { account, .. } | Operation::Withdraw { account, .. } => (account, None),
            Operation::Transfer { from, to, .. } => (from, Some(to)),
        }
    }

    /// How much it moves.
    #[inline]
    #[must_use]
    pub fn amount(self) -> Cents {
        match self {
            Operation::Deposit { amount, .. }
            | Operation::Withdraw { amount, .. }
            | Operation::Transfer { amount, .. } => amount,
        }
    }

    /// Checks what can be checked before any account is read.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for an amount that is not positive and for a transfer to oneself, else
    /// [`Refusal::NoAccount`] for a number that is not below `accounts`.
    #[inline]
    pub fn check_shape(self, accounts: u32) -> Result<(), Refusal> {
        let (first, second) = self.accounts();
        if self.amount() <= Cents::ZERO || second == Some(first) {
            return Err(Refusal::Invalid);
        }
        if first.0 >= accounts || second.is_some_and(|second| second.0 >= accounts) {
            return Err(Refusal::NoAccount);
        }
        Ok(())
    }

    /// What the operation makes of `balances`, given in the order of [`Operation::accounts`].
    ///
    /// # Errors
    /// [`Refusal::Insufficient`] when more would be taken than is there, [`Refusal::Invalid`] when a balance would pass `cap`.
    #[inline]
    pub fn decide(self, balances: [Cents; 2], cap: Cents) -> Result<Outcome, Refusal> {
        let take = |from: Cents, amount: Cents| {
            if amount > from { Err(Refusal::Insufficient) } else { Ok(Cents(from.0 - amount.0)) }
        };
        let put = |to: Cents, amount: Cents| to.checked_add(amount).filter(|&sum| sum <= cap).ok_or(Refusal::Invalid);
        let [first, second] = balances;
        Ok(match self {
            Operation::Deposit { amount, .. } => {
                Outcome { balances: [put(first, amount)?, second], deposited: amount, withdrawn: Cents::ZERO }
            }
            Operation::Withdraw { amount, .. } => {
                Outcome { balances: [take(first, amount)?, second], deposited: Cents::ZERO, withdrawn: amount }
            }
            Operation::Transfer { amount, .. } => Outcome {
                balances: [take(first, amount)?, put(second, amount)?],
                deposited: Cents::ZERO,
                withdrawn: Cents::ZERO,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: AccountId = AccountId(0);
    const B: AccountId = AccountId(1);

    fn any_operation() -> impl Strategy<Value = Operation> {
        let amount = prop_oneof![-2i64..200, Just(i64::MAX), Just(i64::MIN), any::<i64>()].prop_map(Cents);
        let account = (0u32..3).prop_map(AccountId);
        (0..3, account.clone(), account, amount).prop_map(|(kind, from, to, amount)| match kind {
            0 => Operation::Deposit { account: from, amount },
            1 => Operation::Withdraw { account: from, amount },
            _ => Operation::Transfer { from, to, amount },
        })
    }

    proptest! {
        #[test]
        fn no_cent_appears_vanishes_or_goes_below_zero(
            operation in any_operation(), first in 0i64..=1000, second in 0i64..=1000,
        ) {
            if operation.check_shape(2).is_ok() {
                let before = [Cents(first), Cents(second)];
                if let Ok(outcome) = operation.decide(before, Cents(1000)) {
                    let [a, b] = outcome.balances;
                    prop_assert_eq!(a.0 + b.0, first + second + outcome.deposited.0 - outcome.withdrawn.0);
                    prop_assert!((0..=1000).contains(&a.0) && (0..=1000).contains(&b.0));
                }
            }
        }
    }

    #[test]
    fn refusals_have_their_names() {
        let amount = Cents(10);
        let shape = |operation: Operation| operation.check_shape(2).unwrap_err();
        assert_eq!(shape(Operation::Deposit { account: A, amount: Cents::ZERO }), Refusal::Invalid);
        assert_eq!(shape(Operation::Withdraw { account: A, amount: Cents(-1) }), Refusal::Invalid);
        assert_eq!(shape(Operation::Transfer { from: A, to: A, amount }), Refusal::Invalid);
        assert_eq!(shape(Operation::Transfer { from: A, to: AccountId(2), amount }), Refusal::NoAccount);
        let transfer = Operation::Transfer { from: A, to: B, amount };
        assert_eq!(transfer.decide([Cents(9), Cents(0)], Cents(99)), Err(Refusal::Insufficient));
        assert_eq!(transfer.decide([Cents(10), Cents(90)], Cents(99)), Err(Refusal::Invalid));
        let huge = Operation::Deposit { account: A, amount: Cents(i64::MAX) };
        assert_eq!(huge.decide([Cents(1), Cents(0)], Cents(i64::MAX)), Err(Refusal::Invalid));
    }
}
