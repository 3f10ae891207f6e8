//! What each account held when it was opened.
//!
//! Most accounts open in steps of growth, all of a step with the same balance; that is all that `DATA/format` says. At the first
//! start an account file may list balances one by one ([`AccountFile`]); these are kept in `DATA/openings`.

mod account_file;
mod balances;
mod stored;

pub use account_file::{AccountFile, AccountFileError, BadLine, Bounds, LineError, write_line};
pub use balances::OpeningBalances;
pub(super) use stored::{Seal, read, write};

use crate::base::limits::MAX_ACCOUNTS;
use crate::base::vocab::{AccountId, Cents};

/// One step of growth: the accounts from where the step before ended up to `accounts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub accounts: u32,
    pub opening: Cents,
}

/// What each account held when it was opened. The sum fits in 63 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Openings {
    /// At least one, of ever more accounts.
    steps: Vec<Growth>,
    /// Accounts of the first step that opened with another balance than the step says.
    listed: OpeningBalances,
}

/// Why accounts cannot open so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

/// An account that would have opened with another balance than it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The account with the lowest number of those that differ.
    pub account: AccountId,
    /// What it opened with; `None` where it was not there at the first start.
    pub opened: Option<Cents>,
    /// What it would have opened with.
    pub listed: Cents,
}

impl Openings {
    /// `accounts` accounts, of which those in `listed` open with what that says, and the others with `opening`.
    pub(super) fn begin(accounts: u32, opening: Cents, listed: OpeningBalances) -> Result<Self, Impossible> {
        Self::of_steps(vec![Growth { accounts, opening }], listed)
    }

    /// Openings as they were written down.
    pub(super) fn of_steps(steps: Vec<Growth>, listed: OpeningBalances) -> Result<Self, Impossible> {
        let first = steps.first().ok_or(Impossible)?;
        let grows = first.accounts > 0 && steps.is_sorted_by(|before, after| before.accounts < after.accounts);
        let in_first = listed.highest().is_none_or(|highest| highest.0 < first.accounts);
        let openings = Openings { steps, listed };
        let none_below_zero = openings.steps.iter().all(|step| step.opening >= Cents::ZERO);
        let possible = grows && in_first && none_below_zero && openings.accounts() <= MAX_ACCOUNTS;
        (possible && openings.checked_total().is_some()).then_some(openings).ok_or(Impossible)
    }

    /// Adds a step of growth to `accounts`.
    pub(super) fn grow(&mut self, accounts: u32, opening: Cents) -> Result<(), Impossible> {
        let steps = self.steps.iter().copied().chain([Growth { accounts, opening }]).collect();
        *self = Self::of_steps(steps, std::mem::take(&mut self.listed))?;
        Ok(())
    }

    pub(super) fn steps(&self) -> &[Growth] {
        &self.steps
    }

    pub(super) fn listed(&self) -> &OpeningBalances {
        &self.listed
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.accounts)
    }

    /// How many accounts there were at the first start.
    #[must_use]
    pub fn first_accounts(&self) -> u32 {
        self.steps.first().map_or(0, |step| step.accounts)
    }

    /// What `account` opened with; `None` where there is no such account.
    #[must_use]
    pub fn of(&self, account: AccountId) -> Option<Cents> {
        self.listed.of(account).or_else(|| self.of_step(account))
    }

    fn of_step(&self, account: AccountId) -> Option<Cents> {
        let step = self.steps.partition_point(|step| step.accounts <= account.0);
        self.steps.get(step).map(|step| step.opening)
    }

    /// The accounts from number `first` on with what they opened with, in order.
    pub fn from(&self, first: u32) -> impl Iterator<Item = (AccountId, Cents)> {
        let mut listed = self.listed.from(AccountId(first)).peekable();
        (first..self.accounts()).map(AccountId).map(move |account| {
            let own = listed.next_if(|&(of, _)| of == account).map(|(_, cents)| cents);
            (account, own.or_else(|| self.of_step(account)).unwrap_or_default())
        })
    }

    /// The sum of what the accounts below number `accounts` opened with.
    #[must_use]
    pub fn total_of(&self, accounts: u32) -> Cents {
        // Fits, because the sum of all does, and none is below zero.
        self.checked_total_of(accounts).unwrap_or_default()
    }

    /// The sum of what all accounts opened with.
    #[must_use]
    pub fn total(&self) -> Cents {
        self.total_of(self.accounts())
    }

    /// A checksum of what each account opened with. Steps of growth with the same balance are one, and who is listed with the balance of
    /// the others is not listed.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut put = |account: u32, cents: Cents| {
            hasher.update(&account.to_le_bytes());
            hasher.update(&cents.0.to_le_bytes());
        };
        for run in self.steps.chunk_by(|one, next| one.opening == next.opening) {
            run.last().into_iter().for_each(|step| put(step.accounts, step.opening));
        }
        let others = self.steps.first().map_or(Cents::ZERO, |step| step.opening);
        let differing = self.listed.from(AccountId(0)).filter(|(_, cents)| *cents != others);
        differing.for_each(|(account, cents)| put(account.0, cents));
        hasher.finalize()
    }

    fn checked_total(&self) -> Option<Cents> {
        self.checked_total_of(self.accounts())
    }

    fn checked_total_of(&self, accounts: u32) -> Option<Cents> {
        let (mut total, mut from) = (self.listed.total_below(accounts), 0);
        let mut listed = i128::from(self.listed.count_below(accounts));
        for step in &self.steps {
            let count = i128::from(step.accounts.min(accounts).saturating_sub(from)) - listed;
            total += i128::from(step.opening.0) * count;
            // All that are listed are of the first step.
            (from, listed) = (step.accounts, 0);
        }
        i64::try_from(total).ok().map(Cents)
    }

    /// The first account in which these openings differ from what a first start with `listed` would have made; `None` where that
    /// says the same, in whatever words. Accounts that it does not list count as opened with what the first start gave them.
    #[must_use]
    pub fn difference(&self, listed: &OpeningBalances) -> Option<Difference> {
        let others = self.steps.first().map_or(Cents::ZERO, |step| step.opening);
        let opened = |account: AccountId| self.of(account).filter(|_| account.0 < self.first_accounts());
        let says = |account| listed.of(account).unwrap_or(others);
        let one = listed.from(AccountId(0)).find(|&(account, cents)| opened(account) != Some(cents));
        let other = self.listed.from(AccountId(0)).find(|&(account, cents)| says(account) != cents);
        let account = one.into_iter().chain(other).map(|(account, _)| account).min()?;
        Some(Difference { account, opened: opened(account), listed: says(account) })
    }
}

#[cfg(test)]
mod directory_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(balances: &[(u32, i64)]) -> OpeningBalances {
        balances.iter().map(|&(account, cents)| (AccountId(account), Cents(cents))).collect()
    }

    #[test]
    fn a_checksum_is_of_what_accounts_opened_with_and_not_of_the_words() {
        let step = |accounts, cents| Growth { accounts, opening: Cents(cents) };
        let of = |steps: &[Growth], balances: &[(u32, i64)]| {
            Openings::of_steps(steps.to_vec(), listed(balances)).unwrap().checksum()
        };
        let plain = of(&[step(10, 5)], &[]);
        assert_eq!(plain, of(&[step(4, 5), step(7, 5), step(10, 5)], &[]), "grown in steps");
        assert_eq!(plain, of(&[step(10, 5)], &[(2, 5), (9, 5)]), "listed with the same");
        let mut all = vec![plain];
        // Of the same total.
        all.extend([&[(0, 4), (1, 6)][..], &[(0, 6), (1, 4)], &[(0, 4), (2, 6)]].map(|some| of(&[step(10, 5)], some)));
        all.extend([of(&[step(11, 5)], &[]), of(&[step(10, 6)], &[]), of(&[step(5, 5), step(10, 6)], &[])]);
        let many = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), many);
    }

    #[test]
    fn listed_accounts_open_with_their_own_balance_and_the_others_with_that_of_their_step() {
        let mut openings = Openings::begin(5, Cents(100), listed(&[(1, 7), (4, 0)])).unwrap();
        openings.grow(7, Cents(50)).unwrap();
        let of = |openings: &Openings| {
            (0..8).map(|account| openings.of(AccountId(account)).map(|cents| cents.0)).collect::<Vec<_>>()
        };
        let each = [100, 7, 100, 100, 0, 50, 50];
        assert_eq!(of(&openings), each.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        for first in 0..8u32 {
            let from: Vec<_> = openings.from(first).map(|(account, cents)| (account.0, cents.0)).collect();
            let wanted: Vec<_> = (0..).zip(each).skip(first as usize).collect();
            assert_eq!(from, wanted);
            assert_eq!(openings.total_of(first).0, each[..first as usize].iter().sum::<i64>(), "{first}");
        }
        assert_eq!((openings.accounts(), openings.first_accounts(), openings.total()), (7, 5, Cents(407)));
    }

    #[test]
    fn openings_that_cannot_be_are_refused() {
        let most = i64::MAX;
        for (accounts, opening, balances, good) in [
            (2, most / 2, &[][..], true),
            (2, most / 2 + 1, &[], false),
            // What is listed takes the place of what all others have.
            (2, most / 2 + 1, &[(0, 0)], true),
            (2, most, &[(0, 0)], true),
            (2, most, &[(0, 1)], false),
            (2, 0, &[(0, most), (1, 0)], true),
            (2, 0, &[(0, most), (1, 1)], false),
            (2, 0, &[(2, 0)], false),
            (0, 0, &[], false),
            (1, -1, &[], false),
            (1, -1, &[(0, 0)], false),
            (MAX_ACCOUNTS, 0, &[(MAX_ACCOUNTS - 1, 5)], true),
            (MAX_ACCOUNTS + 1, 0, &[], false),
        ] {
            let openings = Openings::begin(accounts, Cents(opening), listed(balances));
            assert_eq!(openings.is_ok(), good, "{accounts} {opening} {balances:?}");
        }
        let mut openings = Openings::begin(2, Cents(most), listed(&[(0, 0)])).unwrap();
        assert_eq!(openings.grow(3, Cents(1)), Err(Impossible));
        let mut openings = Openings::begin(1, Cents(most), listed(&[(0, 0)])).unwrap();
        openings.grow(2, Cents(most / 2)).unwrap();
        assert_eq!(openings.total(), Cents(most / 2), "although the first step alone says more than there can be");
        for accounts in [0, 1, 2] {
            assert_eq!(openings.clone().grow(accounts, Cents(0)), Err(Impossible), "it does not grow");
        }
    }

    #[test]
    fn the_same_openings_in_other_words_do_not_differ_and_the_first_difference_is_named() {
        let mut openings = Openings::begin(4, Cents(10), listed(&[(1, 7), (3, 10)])).unwrap();
        openings.grow(6, Cents(20)).unwrap();
        let differs = |balances: &[(u32, i64)]| {
            let Difference { account, opened, listed } = openings.difference(&listed(balances))?;
            Some((account.0, opened.map(|cents| cents.0), listed.0))
        };
        for same in [&[(1, 7)][..], &[(1, 7), (3, 10)], &[(0, 10), (1, 7), (2, 10), (3, 10)]] {
            assert_eq!(differs(same), None, "{same:?}");
        }
        assert_eq!(differs(&[]), Some((1, Some(7), 10)));
        assert_eq!(differs(&[(1, 8)]), Some((1, Some(7), 8)));
        assert_eq!(differs(&[(1, 7), (2, 11), (3, 12)]), Some((2, Some(10), 11)));
        assert_eq!(differs(&[(1, 7), (0, 0)]), Some((0, Some(10), 0)));
        // Accounts that came later were not opened by a list, whatever they hold.
        assert_eq!(differs(&[(1, 7), (4, 20)]), Some((4, None, 20)));
        assert_eq!(differs(&[(1, 7), (u32::MAX, 20)]), Some((u32::MAX, None, 20)));
        let plain = Openings::begin(4, Cents(10), OpeningBalances::default()).unwrap();
        assert_eq!(plain.difference(&listed(&[(0, 10), (3, 10)])), None);
        assert_eq!(plain.difference(&OpeningBalances::default()), None);
    }
}
