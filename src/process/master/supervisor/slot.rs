//! A slot: the place of one child process, whether a process fills it or not, and when it is to be filled.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::limits::{RESPAWN_BACKOFF_FIRST_MS, RESPAWN_BACKOFF_LONGEST_MS, RESPAWN_BURST, RESPAWN_SPACING_MS};

/// Names a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SlotId {
    /// Of worker N.
    Worker(usize),
    /// Of the journal process.
    Journal,
    /// Of the cache process.
    Cache,
    /// Of the replica process.
    Replica,
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotId::Worker(index) => write!(f, "worker {index}"),
            SlotId::Journal => f.write_str("the journal process"),
            SlotId::Cache => f.write_str("the cache process"),
            SlotId::Replica => f.write_str("the replica process"),
        }
    }
}

/// Where the process of a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// There is none. One is to be started at this time.
    Empty {
        /// Nanoseconds of the monotonic clock.
        start_at_ns: u64,
    },
    /// A start was asked of the driver, which has not reported yet.
    Starting,
    /// It runs.
    Running {
        /// Whether SIGKILL was sent: it may take a moment to end.
        killed: bool,
        /// Whether it is of the program that this process executed before the last upgrade.
        of_old_program: bool,
    },
    /// A worker has ended, and its operation and its connections are to be settled; then the slot is empty.
    Unsettled {
        /// When its successor is to be started.
        start_at_ns: u64,
    },
}

/// The place of one child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Where its process is.
    pub state: State,
    /// Whether the process was asked to leave.
    pub leaving: bool,
    /// Whether the slot is to be filled again when the process has left.
    pub refill: bool,
    /// Whether a process filled it before.
    pub filled_before: bool,
    /// When the next process may be started.
    pub backoff: Backoff,
}

impl Slot {
    /// An empty slot that is to be filled now.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        let state = State::Empty { start_at_ns: now_ns };
        Slot { state, leaving: false, refill: false, filled_before: false, backoff: Backoff::default() }
    }

    /// Whether its process runs, and was neither killed nor asked to leave.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.may_be_killed() && !self.leaving
    }

    /// Whether a process runs here.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether a process runs here that nobody has killed.
    #[must_use]
    pub fn may_be_killed(&self) -> bool {
        matches!(self.state, State::Running { killed: false, .. })
    }

    /// Notes whether the process was sent SIGKILL.
    pub fn set_killed(&mut self, sent: bool) {
        if let State::Running { killed, .. } = &mut self.state {
            *killed = sent;
        }
    }
}

/// Spaces the starts of one slot's processes.
///
/// Processes that end are replaced at once as long as that is rare, and [`RESPAWN_SPACING_MS`] apart when it is not. One that
/// ended before it did anything, and one that could not be started at all, will probably do the same again: the wait doubles with
/// each, up to [`RESPAWN_BACKOFF_LONGEST_MS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// A leaky bucket, kept as the time by which all starts so far are paid for.
    paid_until_ns: u64,
    /// Processes in a row that ended before their loop had turned once.
    failed_early: u32,
    /// Starts in a row that failed.
    failed: u32,
}

impl Backoff {
    /// A process has ended; when its successor is to be started.
    pub fn after_end(&mut self, now_ns: u64, failed_early: bool) -> u64 {
        self.failed_early = if failed_early { self.failed_early + 1 } else { 0 };
        let spacing = RESPAWN_SPACING_MS * MILLISECOND_NS;
        self.paid_until_ns = self.paid_until_ns.max(now_ns) + spacing;
        let spaced = self.paid_until_ns.saturating_sub(spacing * u64::from(RESPAWN_BURST));
        spaced.max(now_ns + nanoseconds(wait_after(self.failed_early)))
    }

    /// A start has failed; how long to wait before the next.
    pub fn after_failure(&mut self) -> Duration {
        self.failed += 1;
        wait_after(self.failed)
    }

    /// A start has succeeded; how many had failed before it.
    pub fn after_start(&mut self) -> u32 {
        std::mem::take(&mut self.failed)
    }

    /// Starts that have failed since the last that succeeded.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Processes in a row that ended before they did anything.
    #[must_use]
    pub fn failed_early(&self) -> u32 {
        self.failed_early
    }
}

const MILLISECOND_NS: u64 = 1_000_000;

/// The wait after so many failures in a row.
fn wait_after(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    Duration::from_millis((RESPAWN_BACKOFF_FIRST_MS << doublings.min(16)).min(RESPAWN_BACKOFF_LONGEST_MS))
}

/// A duration in nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = (0..5).map(|failures| wait_after(failures).as_millis()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80]);
        assert_eq!(wait_after(u32::MAX), Duration::from_millis(RESPAWN_BACKOFF_LONGEST_MS));
    }

    #[test]
    fn ends_are_answered_in_bursts_and_then_at_a_rate() {
        let spacing = RESPAWN_SPACING_MS * MILLISECOND_NS;
        let mut backoff = Backoff::default();
        let now = 1_000 * spacing;
        for _ in 0..RESPAWN_BURST {
            assert_eq!(backoff.after_end(now, false), now);
        }
        for number in 1..10 {
            assert_eq!(backoff.after_end(now, false), now + number * spacing);
        }
        let much_later = 2_000 * spacing;
        assert_eq!(backoff.after_end(much_later, false), much_later);
    }

    #[test]
    fn a_start_that_succeeds_forgives_those_that_failed() {
        let mut backoff = Backoff::default();
        assert_eq!([(); 3].map(|()| backoff.after_failure().as_millis()), [10, 20, 40]);
        assert_eq!((backoff.after_start(), backoff.after_start()), (3, 0));
        assert_eq!(backoff.after_failure().as_millis(), 10);
    }
}
