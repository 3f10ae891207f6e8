//! Times as they are compared everywhere: nanoseconds of one clock, in 64 bits, which last for 584 years.

use std::time::Duration;

/// A duration in nanoseconds; the greatest number for one that does not fit.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether `patience` nanoseconds or more have passed since `since_ns`.
#[inline]
#[must_use]
pub fn is_over(now_ns: u64, since_ns: u64, patience_ns: u64) -> bool {
    now_ns.saturating_sub(since_ns) >= patience_ns
}
