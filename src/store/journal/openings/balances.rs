//! Balances of single accounts.

use crate::base::vocab::{AccountId, Cents};

/// Balances by account, in the order of the accounts, each account once; none is below zero. Takes 12 bytes for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpeningBalances {
    /// In ascending order.
    accounts: Vec<u32>,
    /// Of each, in the same place.
    cents: Vec<i64>,
}

impl OpeningBalances {
    /// Room for `count` balances.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        OpeningBalances { accounts: Vec::with_capacity(count), cents: Vec::with_capacity(count) }
    }

    /// Adds the balance of the next account; `false`, and nothing is added, where that does not come behind all others or the
    /// balance is below zero.
    #[must_use]
    pub fn push(&mut self, account: AccountId, balance: Cents) -> bool {
        let fits = balance >= Cents::ZERO && self.highest().is_none_or(|highest| highest < account);
        if fits {
            self.accounts.push(account.0);
            self.cents.push(balance.0);
        }
        fits
    }

    /// How many accounts are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether none is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The listed account with the highest number.
    #[must_use]
    pub fn highest(&self) -> Option<AccountId> {
        self.accounts.last().copied().map(AccountId)
    }

    /// The balance of `account`, if it is listed.
    #[must_use]
    pub fn of(&self, account: AccountId) -> Option<Cents> {
        self.accounts.binary_search(&account.0).ok().map(|place| Cents(self.cents[place]))
    }

    /// The listed accounts from number `first` on with their balances, in order.
    pub fn from(&self, first: AccountId) -> impl Iterator<Item = (AccountId, Cents)> {
        let start = self.place_of(first.0);
        let (accounts, cents) = (&self.accounts[start..], &self.cents[start..]);
        accounts.iter().zip(cents).map(|(&account, &cents)| (AccountId(account), Cents(cents)))
    }

    /// How many listed accounts have a number below `end`.
    pub(super) fn count_below(&self, end: u32) -> u32 {
        u32::try_from(self.place_of(end)).unwrap_or(u32::MAX)
    }

    /// The sum of the balances of the listed accounts below number `end`.
    pub(super) fn total_below(&self, end: u32) -> i128 {
        self.cents[..self.place_of(end)].iter().copied().map(i128::from).sum()
    }

    fn place_of(&self, account: u32) -> usize {
        self.accounts.partition_point(|&before| before < account)
    }
}

/// Balances in any order; of an account that comes twice, the first counts, and balances below zero are left out.
impl FromIterator<(AccountId, Cents)> for OpeningBalances {
    fn from_iter<I: IntoIterator<Item = (AccountId, Cents)>>(balances: I) -> Self {
        let mut sorted: Vec<_> = balances.into_iter().collect();
        sorted.sort_by_key(|&(account, _)| account);
        let mut list = OpeningBalances::with_capacity(sorted.len());
        for (account, balance) in sorted {
            let _ = list.push(account, balance);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_are_in_order_and_each_account_is_there_once() {
        let mut list = OpeningBalances::default();
        assert!(list.is_empty() && list.highest().is_none());
        for (account, cents, taken) in [(3, 5, true), (3, 6, false), (2, 6, false), (9, 0, true), (10, -1, false)] {
            assert_eq!(list.push(AccountId(account), Cents(cents)), taken, "{account}");
        }
        assert_eq!((list.len(), list.highest()), (2, Some(AccountId(9))));
        assert_eq!([2, 3, 9].map(|account| list.of(AccountId(account))), [None, Some(Cents(5)), Some(Cents(0))]);
        let any_order = [(9, 0), (3, 5), (3, 6), (4, -1)].map(|(account, cents)| (AccountId(account), Cents(cents)));
        assert_eq!(list, any_order.into_iter().collect());
        let from = |first| list.from(AccountId(first)).map(|(account, cents)| (account.0, cents.0)).collect::<Vec<_>>();
        assert_eq!(
            (from(0), from(3), from(4), from(10)),
            (vec![(3, 5), (9, 0)], vec![(3, 5), (9, 0)], vec![(9, 0)], vec![])
        );
        assert_eq!([3, 4, 10].map(|end| (list.count_below(end), list.total_below(end))), [(0, 0), (1, 5), (2, 5)]);
    }
}
