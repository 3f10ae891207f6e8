//! Time as the client counts it: nanoseconds of `CLOCK_MONOTONIC`, which other programs on this machine can read, too.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

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
