//! The open-loop schedule: operation k of the run is due k / rate seconds after the start, whatever became of those before
//! it. Latencies count from the due time, not from the sending, so that a slow reply does not hide the requests that it delayed.

/// The schedule of one run; operation k belongs to connection k modulo the number of connections.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    nanoseconds_per_op: f64,
    connections: u32,
}

impl Schedule {
    /// This many operations per second over this many connections.
    #[must_use]
    pub fn new(rate: f64, connections: u32) -> Schedule {
        Schedule { nanoseconds_per_op: 1e9 / rate, connections }
    }

    /// When the `nth` operation (from 0) of a connection is due, nanoseconds since the start.
    #[inline]
    #[must_use]
    pub fn due(&self, connection: u32, nth: u64) -> u64 {
        // 2^53 operations are years at any rate; a product beyond 64 bits saturates and is never due.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let due = ((nth as f64 * f64::from(self.connections) + f64::from(connection)) * self.nanoseconds_per_op) as u64;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_spread_evenly_over_time_and_connections() {
        let schedule = Schedule::new(1000.0, 10);
        assert_eq!(schedule.due(0, 0), 0);
        assert_eq!(schedule.due(3, 0), 3_000_000);
        assert_eq!(schedule.due(0, 1), 10_000_000);
        let second =
            (0..10).map(|connection| (0..1000).filter(|&nth| schedule.due(connection, nth) < 1_000_000_000).count());
        assert_eq!(second.sum::<usize>(), 1000);
        assert_eq!(Schedule::new(0.001, 100_000).due(0, u64::MAX), u64::MAX);
    }
}
