//! How much is still read from a peer whose bytes are discarded.

/// Bytes and a time. Each loop that discards what a peer sends takes one and ends when it is spent. Without it, a peer that sends faster
/// than the loop reads would occupy the loop, and one that sends slowly would occupy its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    bytes: usize,
    until_ns: u64,
}

impl Budget {
    /// `bytes` bytes, until `until_ns` of the monotonic clock.
    #[must_use]
    pub fn new(bytes: usize, until_ns: u64) -> Self {
        Budget { bytes, until_ns }
    }

    /// Takes `bytes` off. Returns whether so many were left.
    #[must_use]
    pub fn spend(&mut self, bytes: usize) -> bool {
        let enough = self.bytes >= bytes;
        self.bytes = self.bytes.saturating_sub(bytes);
        enough
    }

    /// Whether the time is over.
    #[must_use]
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_bytes_and_by_time() {
        let mut budget = Budget::new(100, 1_000);
        assert!(budget.spend(60) && budget.spend(40) && budget.spend(0));
        assert!(!budget.spend(1) && !budget.spend(1));
        assert!(!Budget::new(100, 1_000).spend(101));
        assert!(!budget.is_over(999) && budget.is_over(1_000));
    }
}
