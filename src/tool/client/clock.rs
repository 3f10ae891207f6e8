//! Time as the client counts it, nanoseconds of `CLOCK_MONOTONIC`, which other programs on this machine can read, too; and how long
//! it waits before the next attempt.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rand::RngExt;
use rand::rngs::SmallRng;

/// The first wait, and the longest one.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// The longest one where there are several servers, one of which may be the primary at any moment.
const LONGEST_OF_SEVERAL: Duration = Duration::from_millis(200);

/// The time now, nanoseconds of `CLOCK_MONOTONIC`.
#[inline]
pub fn monotonic() -> u64 {
    // Every Linux has this clock; it counts from the boot.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanoseconds(time.into()))
}

/// A length of time in nanoseconds; those beyond 584 years count as that.
#[inline]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts nanoseconds from a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The start by `CLOCK_MONOTONIC`.
    start: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { start: monotonic() }
    }

    /// The time now.
    #[inline]
    pub fn now(self) -> u64 {
        self.since_start(monotonic())
    }

    /// A time of `CLOCK_MONOTONIC` on this clock.
    #[inline]
    pub fn since_start(self, time: u64) -> u64 {
        time.saturating_sub(self.start)
    }

    /// A time of this clock on `CLOCK_MONOTONIC`.
    #[inline]
    pub fn to_monotonic(self, time: u64) -> u64 {
        self.start.saturating_add(time)
    }
}

/// The waits of one series of attempts, and when to give up: exponential back-off with jitter, so that a hundred connections that
/// were lost together do not come back together. Written by hand, because the crates for it bound the sum of the waits; `--retry-for`
/// bounds the time of the attempts, too.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// How long a series may last, nanoseconds.
    limit: u64,
    /// The longest wait.
    longest: Duration,
    attempts: u32,
    /// When the series began.
    since: Option<u64>,
}

impl Backoff {
    /// No series yet; each may last this long.
    pub fn new(limit: Duration) -> Backoff {
        Backoff { limit: nanoseconds(limit), longest: LONGEST, attempts: 0, since: None }
    }

    /// The same with shorter waits, where there are several servers.
    pub fn among_several(self) -> Backoff {
        Backoff { longest: LONGEST_OF_SEVERAL, ..self }
    }

    /// The next wait at the time `now` (nanoseconds of any clock that does not go back): from half of the doubled time to
    /// the whole of it. The last wait is cut so that it ends with the series; `None` after that.
    pub fn next_wait(&mut self, now: u64, rng: &mut SmallRng) -> Option<Duration> {
        let lasted = now.saturating_sub(*self.since.get_or_insert(now));
        let left = self.limit.checked_sub(lasted).filter(|left| *left > 0)?;
        let whole = FIRST.saturating_mul(1 << self.attempts.min(16)).min(self.longest);
        self.attempts += 1;
        Some(rng.random_range(whole / 2..=whole).min(Duration::from_nanos(left)))
    }

    /// Ends the series after a success.
    #[inline]
    pub fn reset(&mut self) {
        (self.attempts, self.since) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end_with_the_limit() {
        let mut rng = SmallRng::seed_from_u64(1);
        let limit = Duration::from_secs(10);
        let mut backoff = Backoff::new(limit);
        let mut now = Duration::from_secs(77);
        let mut waits = Vec::new();
        while let Some(wait) = backoff.next_wait(nanoseconds(now), &mut rng) {
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits.iter().sum::<Duration>(), limit, "the last attempt comes right at the end");
        for (turn, wait) in waits[..waits.len() - 1].iter().enumerate() {
            let whole = Duration::from_millis(10 << turn.min(10)).min(Duration::from_secs(1));
            assert!((whole / 2..=whole).contains(wait), "{turn}: {wait:?}");
        }
        assert!(waits[7..].windows(2).any(|pair| pair[0] != pair[1]), "a part of each is random: {waits:?}");
        backoff.reset();
        assert!(backoff.next_wait(0, &mut rng).is_some_and(|wait| wait <= Duration::from_millis(10)));
        assert_eq!(Backoff::new(Duration::ZERO).next_wait(5, &mut rng), None);
        let mut backoff = Backoff::new(limit).among_several();
        assert!((0..30).all(|_| backoff.next_wait(0, &mut rng).is_some_and(|wait| wait <= LONGEST_OF_SEVERAL)));
    }

    #[test]
    fn the_time_of_the_attempts_counts() {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert!(backoff.next_wait(0, &mut rng).is_some());
        assert_eq!(backoff.next_wait(999_999_999, &mut rng), Some(Duration::from_nanos(1)));
        assert_eq!(backoff.next_wait(1_000_000_000, &mut rng), None);
    }
}
