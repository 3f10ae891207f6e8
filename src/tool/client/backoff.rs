//! How long to wait before the next attempt: twice as long each time, with a random part, so that a hundred connections
//! that were lost together do not come back together; and when to give up.

use std::time::Duration;

use crate::tool::client::prng::{Prng, high, scale};

/// The first wait, milliseconds.
const FIRST_MS: u32 = 10;
/// The longest wait, milliseconds.
const LONGEST_MS: u32 = 1000;

/// The waits of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// How long a series may last, nanoseconds.
    patience: u64,
    attempts: u32,
    /// When the series began.
    since: Option<u64>,
}

impl Backoff {
    /// No series yet; each may last for `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Backoff {
        Backoff { patience: u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX), attempts: 0, since: None }
    }

    /// The next wait at the time `now` (nanoseconds of any clock that does not go back): from half of to the whole of the
    /// doubled time, the last one cut so that it ends with the series; `None` once that is over.
    pub fn next_wait(&mut self, now: u64, prng: &mut Prng) -> Option<Duration> {
        let lasted = now.saturating_sub(*self.since.get_or_insert(now));
        let left = self.patience.checked_sub(lasted).filter(|left| *left > 0)?;
        let whole_ms = FIRST_MS.saturating_mul(1 << self.attempts.min(16)).min(LONGEST_MS);
        self.attempts += 1;
        let random_us = scale(high(prng.next_u64()), whole_ms * 500);
        Some(Duration::from_micros(u64::from(whole_ms * 500 + random_us)).min(Duration::from_nanos(left)))
    }

    /// Ends the series after a success.
    #[inline]
    pub fn reset(&mut self) {
        (self.attempts, self.since) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end_with_the_patience() {
        let mut prng = Prng::new(1, 0);
        let patience = Duration::from_secs(10);
        let mut backoff = Backoff::new(patience);
        let mut now = Duration::from_secs(77);
        let mut waits = Vec::new();
        while let Some(wait) = backoff.next_wait(u64::try_from(now.as_nanos()).unwrap(), &mut prng) {
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits.iter().sum::<Duration>(), patience, "the last attempt comes right at the end");
        for (turn, wait) in waits[..waits.len() - 1].iter().enumerate() {
            let whole = Duration::from_millis(10 << turn.min(10)).min(Duration::from_secs(1));
            assert!((whole / 2..=whole).contains(wait), "{turn}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait(0, &mut prng).is_some_and(|wait| wait <= Duration::from_millis(10)));
        assert_eq!(Backoff::new(Duration::ZERO).next_wait(5, &mut prng), None);
    }
}
