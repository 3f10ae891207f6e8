//! Which accounts the load touches: a range of numbers, all alike or some far more often than others.

use std::str::FromStr;
use std::sync::Arc;

use crate::base::vocab::AccountId;
use crate::tool::client::prng::{Prng, high, low, scale};

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
    #[must_use]
    pub fn count(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// The account's place in the range, counted from 0.
    #[inline]
    #[must_use]
    pub fn place(self, account: AccountId) -> Option<usize> {
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

/// How the load spreads over the accounts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Skew {
    /// Every account alike.
    Uniform,
    /// The account at place r (from 1) is chosen in proportion to 1 / r to the power of this number.
    Zipf(f64),
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Skew, String> {
        if text == "uniform" {
            return Ok(Skew::Uniform);
        }
        let theta = text.strip_prefix("zipf:").and_then(|theta| theta.parse::<f64>().ok());
        match theta {
            Some(theta) if (0.0..=10.0).contains(&theta) => Ok(Skew::Zipf(theta)),
            _ => Err(format!("`{text}` is no skew: write uniform, or zipf:T with T from 0 to 10, such as zipf:0.99")),
        }
    }
}

/// Draws accounts; cheap to clone, so that every thread has one.
#[derive(Clone, Debug)]
pub struct Picker {
    range: AccountRange,
    /// The places of a skewed draw; `None` when all accounts are alike.
    places: Option<Arc<[Place]>>,
}

/// One column of the alias method (Walker, 1974; Vose, 1991): it stands for itself or for one other, so that a draw from
/// any distribution costs one look-up.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Below this, the column stands for itself.
    own: u32,
    /// Whom it stands for otherwise.
    alias: u32,
}

impl Picker {
    /// Prepares the draw; for a skew, in time and 8 bytes of memory per account.
    #[must_use]
    pub fn new(range: AccountRange, skew: Skew) -> Picker {
        let places = match skew {
            Skew::Uniform => None,
            Skew::Zipf(theta) => Some(alias_table(range, theta)),
        };
        Picker { range, places }
    }

    /// Draws one account.
    #[inline]
    pub fn pick(&self, prng: &mut Prng) -> AccountId {
        let bits = prng.next_u64();
        AccountId(self.range.first + self.place(bits))
    }

    /// Draws two accounts that differ, as long as the range has two.
    #[inline]
    pub fn pick_two(&self, prng: &mut Prng) -> (AccountId, AccountId) {
        let one = self.pick(prng);
        let other = self.pick(prng);
        if one != other {
            return (one, other);
        }
        let next = if one.0 == self.range.last { self.range.first } else { one.0 + 1 };
        (one, AccountId(next))
    }

    #[inline]
    fn place(&self, bits: u64) -> u32 {
        let span = self.range.last - self.range.first;
        // All 2^32 numbers make a span one too large to count; the bits themselves are the draw then.
        let Some(count) = span.checked_add(1) else { return high(bits) };
        let column = scale(high(bits), count);
        match &self.places {
            None => column,
            Some(places) => {
                let place = places[column as usize];
                if low(bits) < place.own { column } else { place.alias }
            }
        }
    }
}

/// Builds the columns: those with less than the average share are filled up by those with more.
fn alias_table(range: AccountRange, theta: f64) -> Arc<[Place]> {
    let weights: Vec<f64> = (0..=range.last - range.first).map(|rank| (f64::from(rank) + 1.0).powf(-theta)).collect();
    let sum: f64 = weights.iter().sum();
    // Exact up to 2^53 accounts, far beyond the 2^32 that there can be.
    #[allow(clippy::cast_precision_loss)]
    let average = sum / weights.len() as f64;
    let mut shares: Vec<f64> = weights.iter().map(|weight| weight / average).collect();
    let mut places: Vec<Place> =
        (0..=range.last - range.first).map(|rank| Place { own: u32::MAX, alias: rank }).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..=range.last - range.first).partition(|&rank| shares[rank as usize] < 1.0);
    while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
        small.pop();
        let share = shares[poor as usize];
        // From 0 to 1 times 2^32 - 1: fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let own = (share * f64::from(u32::MAX)) as u32;
        places[poor as usize] = Place { own, alias: rich };
        shares[rich as usize] -= 1.0 - share;
        if shares[rich as usize] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    places.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(skew: Skew, first: u32, last: u32, draws: u32) -> Vec<f64> {
        let range = AccountRange { first, last };
        let picker = Picker::new(range, skew);
        let mut prng = Prng::new(1, 1);
        let mut counts = vec![0.0; usize::try_from(range.count()).unwrap()];
        for _ in 0..draws {
            counts[range.place(picker.pick(&mut prng)).unwrap()] += 1.0 / f64::from(draws);
        }
        counts
    }

    #[test]
    fn uniform_touches_all_alike() {
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
    fn two_picks_differ() {
        let picker = Picker::new(AccountRange { first: 7, last: 8 }, Skew::Zipf(3.0));
        let mut prng = Prng::new(2, 2);
        for _ in 0..1000 {
            let (one, other) = picker.pick_two(&mut prng);
            assert_ne!(one, other);
            assert!(picker.range.place(one).is_some() && picker.range.place(other).is_some());
        }
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
