//! Recording how long things took: counts in buckets that are narrow for short times and wide for long ones.
//!
//! A thread records into buckets of its own, which costs a few instructions; at the end they are added up and turned
//! into an [`hdrhistogram::Histogram`] for the percentiles.

use hdrhistogram::Histogram;

/// Buckets for every doubling: 128, so that a bucket is at most 0.8 % wide.
const PER_DOUBLING_BITS: u32 = 7;
/// Below 2^8 ns every nanosecond has its own bucket.
const FINE_BITS: u32 = PER_DOUBLING_BITS + 1;
/// Times from 2^40 ns (18 minutes) up share the last bucket.
const LONGEST_BITS: u32 = 40;
/// 256 fine buckets, then 128 for every doubling.
const BUCKETS: usize = ((LONGEST_BITS - FINE_BITS + 2) as usize) << PER_DOUBLING_BITS;
/// The longest time that is told apart, nanoseconds.
const LONGEST: u64 = (1 << LONGEST_BITS) - 1;

/// The place of a time among the buckets; computed once for all the replies that one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(usize);

impl Bucket {
    /// The bucket of a time in nanoseconds.
    #[inline]
    #[must_use]
    pub fn of(nanoseconds: u64) -> Bucket {
        let value = nanoseconds.min(LONGEST);
        let fine = (1 << FINE_BITS) - 1;
        let doublings = u64::BITS - (value | fine).leading_zeros() - FINE_BITS;
        let place = (u64::from(doublings) << PER_DOUBLING_BITS) + (value >> doublings);
        // LONGEST has the last place, BUCKETS - 1; the bound only lets the compiler see it.
        Bucket(usize::try_from(place).unwrap_or(BUCKETS - 1).min(BUCKETS - 1))
    }

    /// The longest time that falls into the bucket, nanoseconds.
    fn longest(self) -> u64 {
        let place = self.0 as u64;
        let doublings = (place >> PER_DOUBLING_BITS).saturating_sub(1);
        let steps = place - (doublings << PER_DOUBLING_BITS);
        ((steps + 1) << doublings) - 1
    }
}

/// The times of one kind of operation.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Box<[u64]>,
    /// The longest time seen, exactly.
    longest: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; BUCKETS].into_boxed_slice(), longest: 0 }
    }
}

impl Latencies {
    /// Counts one time, whose bucket the caller knows.
    #[inline]
    pub fn record(&mut self, bucket: Bucket, nanoseconds: u64) {
        self.counts[bucket.0] += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// Adds what another thread recorded.
    pub fn add(&mut self, other: &Latencies) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// The same as a histogram of nanoseconds, for percentiles; true to 0.8 %, the longest exact.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        // Three digits from 1 ns to 18 minutes: bounds that the crate accepts, as the test shows.
        let mut histogram = match Histogram::new_with_bounds(1, LONGEST, 3) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("constant bounds were refused: {error}"),
        };
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        for (place, &count) in used {
            histogram.saturating_record_n(Bucket(place).longest().min(self.longest), count);
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::client::prng::Prng;

    #[test]
    fn every_time_falls_into_a_bucket_that_holds_it() {
        let mut prng = Prng::new(5, 0);
        let steps = (0..20_000u64).chain((0..20_000).map(|_| prng.next_u64() >> (prng.next_u64() % 64)));
        for time in steps.map(|time| time.min(LONGEST)) {
            let bucket = Bucket::of(time);
            assert!(bucket.0 < BUCKETS, "{time}");
            assert!(bucket.longest() >= time, "{time}");
            assert!((bucket.longest() - time) * 127 <= time, "{time} {}", bucket.longest());
            // The next bucket begins right behind this one.
            assert_eq!(Bucket::of(bucket.longest()), bucket);
            let next = Bucket::of(bucket.longest() + 1);
            assert_eq!(next.0, (bucket.0 + 1).min(BUCKETS - 1));
        }
        assert_eq!(Bucket::of(u64::MAX), Bucket(BUCKETS - 1));
    }

    #[test]
    fn percentiles_agree_with_a_plain_histogram() {
        let mut ours = Latencies::default();
        let mut parts = [Latencies::default(), Latencies::default()];
        let mut plain = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).unwrap();
        let mut prng = Prng::new(6, 0);
        for turn in 0..100_000usize {
            let time = (prng.next_u64() % 1_000_000) * (prng.next_u64() % 1000) + 1;
            plain.record(time).unwrap();
            parts[turn % 2].record(Bucket::of(time), time);
        }
        parts.iter().for_each(|part| ours.add(part));
        let merged = ours.histogram();
        assert_eq!(merged.len(), plain.len());
        for quantile in [0.01, 0.5, 0.95, 0.99, 0.999, 1.0] {
            let (got, wanted) = (merged.value_at_quantile(quantile), plain.value_at_quantile(quantile));
            assert!(got.abs_diff(wanted) * 50 <= wanted, "{quantile}: {got} instead of {wanted}");
        }
    }
}
