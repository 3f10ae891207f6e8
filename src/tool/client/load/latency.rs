//! How long operations took: a histogram for percentiles, and the longest time exactly.

use hdrhistogram::Histogram;

/// Times from 2^40 ns (18 minutes) up count as that.
const LONGEST: u64 = (1 << 40) - 1;

/// The times of one kind of operation, nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Two digits: percentiles are true to 1 %, at 34 KiB. Every thread has one for each opcode.
    histogram: Histogram<u64>,
    /// The histogram rounds it.
    longest: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        match Histogram::new_with_bounds(1, LONGEST, 2) {
            Ok(histogram) => Latencies { histogram, longest: 0 },
            Err(error) => unreachable!("constant bounds were refused: {error}"),
        }
    }
}

impl Latencies {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
        self.longest = self.longest.max(nanoseconds);
    }

    /// Adds what another thread recorded.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram += &other.histogram;
        self.longest = self.longest.max(other.longest);
    }

    /// The time within which this share of the operations was answered.
    #[must_use]
    pub fn at_quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).min(self.longest)
    }

    /// The longest time.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// All times.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_true_to_a_hundredth_and_the_longest_is_exact() {
        let mut all = Latencies::default();
        let mut parts = [Latencies::default(), Latencies::default()];
        let mut times: Vec<u64> = (1..=100_000u64).map(|step| step * step * 7 % 9_999_991 + 1).collect();
        for (turn, &time) in times.iter().enumerate() {
            parts[turn % 2].record(time);
        }
        parts.iter().for_each(|part| all.merge(part));
        times.sort_unstable();
        assert_eq!(all.histogram().len(), times.len() as u64);
        for (quantile, place) in [(0.01, 999), (0.5, 49_999), (0.95, 94_999), (0.999, 99_899), (1.0, 99_999)] {
            let (got, wanted) = (all.at_quantile(quantile), times[place]);
            assert!(got.abs_diff(wanted) * 100 <= wanted, "{quantile}: {got} instead of {wanted}");
        }
        assert_eq!(all.longest(), times[99_999]);
        all.record(u64::MAX);
        assert!(all.longest() == u64::MAX && all.at_quantile(1.0) >= LONGEST, "beyond the histogram");
    }
}
