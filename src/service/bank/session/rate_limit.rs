//! The limit on the requests of one connection.

use std::num::NonZeroU32;

const TOKEN: u64 = 1_000_000_000;

/// A token bucket: it fills with one token for each request that is allowed, up to one second's worth.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_second: u32,
    /// In billionths of a token.
    tokens: u64,
    filled_ns: u64,
}

impl TokenBucket {
    /// A full bucket for `per_second` requests.
    #[must_use]
    pub fn new(per_second: NonZeroU32, now_ns: u64) -> Self {
        let per_second = per_second.get();
        TokenBucket { per_second, tokens: u64::from(per_second) * TOKEN, filled_ns: now_ns }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let rate = u64::from(self.per_second);
        let passed = now_ns.saturating_sub(self.filled_ns).min(TOKEN);
        self.filled_ns = now_ns;
        self.tokens = (self.tokens + passed * rate).min(rate * TOKEN);
        let granted = self.tokens >= TOKEN;
        if granted {
            self.tokens -= TOKEN;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_rate_with_a_burst_of_one_second() {
        let mut bucket = TokenBucket::new(NonZeroU32::new(2).unwrap(), 0);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
        assert!(!bucket.take(TOKEN / 4));
        assert!(bucket.take(TOKEN / 2) && !bucket.take(TOKEN / 2));
        assert!(bucket.take(100 * TOKEN) && bucket.take(100 * TOKEN) && !bucket.take(100 * TOKEN));
    }
}
