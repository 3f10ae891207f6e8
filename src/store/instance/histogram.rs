//! Times in shared memory, counted into buckets: one writer, any number of readers, no lock.
//!
//! Eight buckets to each doubling, from a microsecond to a minute: a percentile is at most an eighth too high, and never too low.

use crate::ipc::layout::Counter;
use crate::shared_struct;

/// The binary logarithm of the shortest time that is told apart, in nanoseconds.
const LOWEST: u32 = 10;
/// Buckets to a doubling, as a binary logarithm.
const FINENESS: u32 = 3;
/// Doublings: the last bucket is for whatever is longer than 2^36 ns, 68 seconds.
const DOUBLINGS: u32 = 26;
/// How many buckets there are.
pub const BUCKETS: usize = (DOUBLINGS << FINENESS) as usize;

shared_struct! {
    /// How often which time was taken. Writer: the process whose row it stands in.
    pub struct Histogram, align 8, size 8 * (BUCKETS + 1); {
        buckets: [Counter; BUCKETS],
        /// All times, summed.
        sum_ns: Counter,
    }
}

/// The bucket of a time.
fn bucket_of(ns: u64) -> usize {
    let units = ns >> (LOWEST - FINENESS);
    if units < 1 << FINENESS {
        return 0;
    }
    let doubling = units.ilog2() - FINENESS;
    let within = (units >> doubling) & ((1 << FINENESS) - 1);
    let bucket = u64::from(doubling) << FINENESS | within;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The longest time that is counted into a bucket, nanoseconds; of the last one, what its bound would be.
#[must_use]
pub fn longest_of(bucket: usize) -> u64 {
    let (doubling, within) = (bucket >> FINENESS, bucket as u64 & ((1 << FINENESS) - 1));
    ((((1 << FINENESS) + within + 1) << doubling) << (LOWEST - FINENESS)) - 1
}

impl Default for Histogram {
    /// One that has counted nothing.
    fn default() -> Self {
        Histogram { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Histogram {
    /// Counts `times` times of `ns` nanoseconds each.
    #[inline]
    pub fn record(&self, ns: u64, times: u64) {
        self.buckets[bucket_of(ns)].add(times);
        self.sum_ns.add(ns.wrapping_mul(times));
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Times {
        Times { buckets: self.buckets.iter().map(Counter::get).collect(), sum_ns: self.sum_ns.get() }
    }
}

/// Times that were read from one histogram or from several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    buckets: Vec<u64>,
    sum_ns: u64,
}

impl Times {
    /// Adds those of another histogram.
    pub fn add(&mut self, other: &Times) {
        self.buckets.resize(BUCKETS, 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// Those that came after `before` was read of the same histograms.
    #[must_use]
    pub fn since(&self, before: &Times) -> Times {
        let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
        Times {
            buckets: self.buckets.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect(),
            sum_ns: self.sum_ns.wrapping_sub(before.sum_ns),
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them, summed, nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// How many in each bucket; see [`longest_of`].
    #[must_use]
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// The time that `per_mille` of a thousand are not longer than, nanoseconds; `None` where there are none.
    #[must_use]
    pub fn percentile_ns(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().position(reached).map(longest_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_end_where_the_next_begins() {
        for bucket in 0..BUCKETS - 1 {
            let longest = longest_of(bucket);
            assert_eq!((bucket_of(longest), bucket_of(longest + 1)), (bucket, bucket + 1), "{longest} ns");
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
        assert!(longest_of(BUCKETS - 1) > 60_000_000_000, "a minute is told from more");
    }

    #[test]
    fn percentiles_are_never_too_low_and_at_most_an_eighth_too_high() {
        let histogram = Histogram::default();
        let mut exact: Vec<u64> = (0..10_000u64).map(|i| 2_000 + i * i * 37 % 9_000_001).collect();
        exact.iter().for_each(|&ns| histogram.record(ns, 1));
        exact.sort_unstable();
        let times = histogram.read();
        assert_eq!((times.count(), times.sum_ns()), (10_000, exact.iter().sum()));
        for per_mille in [1usize, 500, 900, 990, 999, 1000] {
            let (told, is) = (times.percentile_ns(per_mille as u64).unwrap(), exact[per_mille * 10 - 1]);
            assert!(told >= is && told <= is + is / 8 + 1, "{per_mille}: {told} for {is}");
        }
        assert_eq!(times.since(&times).percentile_ns(500), None);
        assert_eq!(times.since(&Times::default()), times);
    }
}
