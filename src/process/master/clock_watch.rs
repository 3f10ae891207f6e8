//! Watches whether the clock is behind the times of records.
//!
//! Times of records never go back, so while the clock is behind the last one, they stand still. That is so after a clock was hours ahead,
//! here or at the primary before, and was then set right; or now is wrong.

/// Nanoseconds that the clock may be behind the last record before anything is said: what clocks of several machines differ by anyway.
const TOLERATED_NS: u64 = 1_000_000_000;

/// What was seen last.
#[derive(Debug, Default)]
pub struct ClockWatch {
    is_behind: bool,
}

impl ClockWatch {
    /// Looks at the clock and at the time of the last record, both nanoseconds since 1970; gives by how many the clock is behind when that
    /// is to be said: once, until it has caught up.
    pub fn look(&mut self, clock_ns: u64, last_ns: u64) -> Option<u64> {
        let behind_ns = last_ns.saturating_sub(clock_ns);
        let was_behind = self.is_behind;
        self.is_behind = behind_ns > TOLERATED_NS || was_behind && behind_ns > 0;
        (self.is_behind && !was_behind).then_some(behind_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_told_once_until_it_has_caught_up() {
        let second_ns = 1_000_000_000;
        let mut watch = ClockWatch::default();
        let last_ns = 100 * second_ns;
        let seen = [200, 100, 99, 98, 97, 99, 100, 99, 90].map(|clock| watch.look(clock * second_ns, last_ns));
        let told = |seconds: u64| Some(seconds * second_ns);
        assert_eq!(seen, [None, None, None, told(2), None, None, None, None, told(10)]);
    }

    #[test]
    fn without_records_no_clock_is_behind() {
        assert_eq!(ClockWatch::default().look(0, 0), None);
    }
}
