//! What connections are accepted from, and when to try.

use crate::base::limits::ACCEPT_BACKOFF_MS;
use crate::process::master::children::Listeners;

/// What connections are accepted from, and when to try.
#[derive(Default)]
pub struct Accepting {
    /// Nothing in the modes where workers accept by themselves.
    pub listeners: Listeners,
    /// Whether a connection may be waiting at one of them.
    pub ready: bool,
    /// After a failure, for want of a descriptor or of memory: when to try again, nanoseconds of the monotonic clock.
    pub not_before_ns: u64,
    /// Failures since the last connection that was accepted.
    pub failures: u64,
}

impl Accepting {
    /// A connection may be ready to be accepted, or one that waits may find room.
    pub fn may_be_ready(&mut self) {
        self.ready = true;
    }

    /// When to try to accept, if at all; not while others wait for room in a lane.
    #[must_use]
    pub fn next_try_ns(&self, now_ns: u64, any_waiting: bool) -> Option<u64> {
        (self.ready && !any_waiting).then(|| self.not_before_ns.max(now_ns))
    }

    /// Notes that accepting has failed; whether to log it. A shortage that lasts must not fill the log.
    pub fn failed(&mut self, now_ns: u64) -> bool {
        self.not_before_ns = now_ns + ACCEPT_BACKOFF_MS * 1_000_000;
        self.failures += 1;
        self.failures.is_power_of_two()
    }
}
