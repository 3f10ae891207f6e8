//! Time as the client counts it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, which other programs on this machine can read, too.
#[inline]
#[must_use]
pub fn monotonic() -> u64 {
    // Every Linux has this clock, and it counts from the boot.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanoseconds(time.into()))
}

/// A length of time in nanoseconds; those beyond 584 years count as that.
#[inline]
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
