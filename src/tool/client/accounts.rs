//! Which accounts the load touches: a range of numbers, evenly or some far more often than others.

use std::str::FromStr;

use rand::rngs::SmallRng;

use crate::base::vocab::AccountId;
use crate::tool::client::sampler::{Sampler, Skew};

/// Account numbers from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRange {
    /// The lowest number.
    pub first: u32,
    /// The highest number, at least `first`.
    pub last: u32,
}

impl AccountRange {
    /// How many accounts the range has.
    pub fn count(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// The account's index in the range, from 0.
    #[inline]
    pub fn index_of(self, account: AccountId) -> Option<usize> {
        let inside = (self.first..=self.last).contains(&account.0);
        inside.then(|| (account.0 - self.first) as usize)
    }

    /// Every account of the range.
    pub fn accounts(self) -> impl Iterator<Item = AccountId> {
        (self.first..=self.last).map(AccountId)
    }
}

impl FromStr for AccountRange {
    type Err = String;

    fn from_str(text: &str) -> Result<AccountRange, String> {
        let parse = || {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(AccountRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        };
        let range = parse().ok_or_else(|| format!("`{text}` is no range of accounts: write LO-HI, such as 0-9999"))?;
        if range.first > range.last {
            return Err(format!("the range {text} is empty: write the lower number first"));
        }
        Ok(range)
    }
}

/// Draws accounts; cheap to clone, so that every thread has one.
#[derive(Clone, Debug)]
pub struct AccountSampler {
    range: AccountRange,
    places: Sampler,
}

impl AccountSampler {
    /// Prepares the draw; for a skew, in time and 8 bytes of memory per account.
    pub fn new(range: AccountRange, skew: Skew) -> AccountSampler {
        AccountSampler { range, places: Sampler::new(range.last - range.first, skew) }
    }

    /// Draws one account.
    #[inline]
    pub fn sample(&self, rng: &mut SmallRng) -> AccountId {
        AccountId(self.range.first + self.places.sample(rng))
    }

    /// Draws two accounts that differ, as long as the range has two.
    #[inline]
    pub fn sample_two(&self, rng: &mut SmallRng) -> (AccountId, AccountId) {
        let one = self.sample(rng);
        let other = self.sample(rng);
        if one != other {
            return (one, other);
        }
        let next = if one.0 == self.range.last { self.range.first } else { one.0 + 1 };
        (one, AccountId(next))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn shares(skew: Skew, first: u32, last: u32, draws: u32) -> Vec<f64> {
        let range = AccountRange { first, last };
        let sampler = AccountSampler::new(range, skew);
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = vec![0.0; usize::try_from(range.count()).unwrap()];
        for _ in 0..draws {
            counts[range.index_of(sampler.sample(&mut rng)).unwrap()] += 1.0 / f64::from(draws);
        }
        counts
    }

    #[test]
    fn uniform_draws_all_alike() {
        assert!(shares(Skew::Uniform, 5, 14, 200_000).iter().all(|share| (0.095..0.105).contains(share)));
        assert!(shares(Skew::Zipf(0.0), 5, 14, 200_000).iter().all(|share| (0.095..0.105).contains(share)));
    }

    #[test]
    fn zipf_follows_its_law() {
        let got = shares(Skew::Zipf(0.99), 100, 1099, 1_000_000);
        let sum: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1u32, 2, 3, 10, 100] {
            let wanted = f64::from(rank).powf(-0.99) / sum;
            let share = got[rank as usize - 1];
            assert!((share / wanted - 1.0).abs() < 0.15, "rank {rank}: {share} instead of {wanted}");
        }
    }

    #[test]
    fn two_accounts_differ() {
        let sampler = AccountSampler::new(AccountRange { first: 7, last: 8 }, Skew::Zipf(3.0));
        let mut rng = SmallRng::seed_from_u64(2);
        for _ in 0..1000 {
            let (one, other) = sampler.sample_two(&mut rng);
            assert_ne!(one, other);
            assert!(sampler.range.index_of(one).is_some() && sampler.range.index_of(other).is_some());
        }
    }

    #[test]
    fn the_range_of_all_numbers_can_be_drawn_from() {
        let sampler = AccountSampler::new(AccountRange { first: 0, last: u32::MAX }, Skew::Uniform);
        let mut rng = SmallRng::seed_from_u64(3);
        let highest = (0..1000).map(|_| sampler.sample(&mut rng).0).max();
        assert!(highest > Some(u32::MAX / 100 * 98), "{highest:?}");
    }

    #[test]
    fn ranges_and_skews_are_read_or_refused() {
        assert_eq!("3-9".parse(), Ok(AccountRange { first: 3, last: 9 }));
        assert_eq!("4".parse(), Ok(AccountRange { first: 4, last: 4 }));
        assert!(["9-3", "", "a-b", "1-"].iter().all(|text| text.parse::<AccountRange>().is_err()));
        assert_eq!("zipf:0.99".parse(), Ok(Skew::Zipf(0.99)));
        assert!(["zipf", "zipf:-1", "zipf:nan", "hot"].iter().all(|text| text.parse::<Skew>().is_err()));
    }
}
