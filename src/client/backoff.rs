//! How long to wait before the next attempt: twice as long each time, with a random part, so that a hundred connections
//! that were lost together do not come back together.

use std::time::Duration;

use crate::client::prng::{Prng, high, scale};

/// The first wait, milliseconds.
const FIRST_MS: u32 = 10;
/// The longest wait, milliseconds.
const LONGEST_MS: u32 = 1000;
/// Attempts in a row after which a server counts as gone: about 25 seconds of waiting.
const ATTEMPTS: u32 = 40;

/// The waits of one series of attempts.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait: from half of to the whole of the doubled time; `None` once the attempts are used up.
    pub fn next_wait(&mut self, prng: &mut Prng) -> Option<Duration> {
        if self.attempts == ATTEMPTS {
            return None;
        }
        let whole_ms = FIRST_MS.saturating_mul(1 << self.attempts.min(16)).min(LONGEST_MS);
        self.attempts += 1;
        let random_us = scale(high(prng.next_u64()), whole_ms * 500);
        Some(Duration::from_micros(u64::from(whole_ms * 500 + random_us)))
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut prng = Prng::new(1, 0);
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| backoff.next_wait(&mut prng)).collect();
        assert_eq!(waits.len(), ATTEMPTS as usize);
        for (turn, wait) in waits.iter().enumerate() {
            let whole = Duration::from_millis(10 << turn.min(10)).min(Duration::from_secs(1));
            assert!((whole / 2..=whole).contains(wait), "{turn}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait(&mut prng).is_some_and(|wait| wait <= Duration::from_millis(10)));
    }
}
