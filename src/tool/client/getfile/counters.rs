//! What became of the requests: counters and times, per thread, added up at the end.

use std::collections::BTreeMap;

use crate::service::getfile::wire::response::Response;
use crate::tool::client::getfile::failure::Failure;
use crate::tool::client::load::counters::Latencies;

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// How many ended how: by the word of the status, or [`Failure::name`].
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Those that mean that something is wrong.
    pub failed: u64,
    /// Bytes of whole files.
    pub bytes: u64,
    /// How long the whole responses took.
    pub latencies: Latencies,
    /// When the last request ended, nanoseconds since the start.
    pub last: u64,
}

impl Counters {
    /// Counts a request that was sent at `since` and ended at `now`; whether something is wrong.
    pub fn count(&mut self, result: &Result<u64, Failure>, is_checked: bool, since: u64, now: u64) -> bool {
        let name = result.as_ref().map_or_else(Failure::name, |length| Response::Ok(*length).word());
        *self.outcomes.entry(name).or_default() += 1;
        self.last = self.last.max(now);
        if let Ok(length) = result {
            self.bytes += length;
        }
        if matches!(result, Ok(_) | Err(Failure::Status(_))) {
            self.latencies.record(now - since);
        }
        let is_wrong = match result {
            Ok(_) | Err(Failure::Interrupted) => false,
            Err(Failure::Status(Response::FileNotFound)) => !is_checked,
            Err(_) => true,
        };
        self.failed += u64::from(is_wrong);
        is_wrong
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Counters) {
        for (name, more) in &other.outcomes {
            *self.outcomes.entry(name).or_default() += more;
        }
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.latencies.merge(&other.latencies);
        self.last = self.last.max(other.last);
    }

    /// How many requests were sent, or should have been and could not.
    pub fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// How many ended so.
    pub fn of(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_wrong_unless_it_was_to_be_missing() {
        let missing = || Err(Failure::Status(Response::FileNotFound));
        let results = [Ok(5), missing(), Err(Failure::Status(Response::Error)), Err(Failure::Interrupted), Ok(0)];
        for (is_checked, failed) in [(true, 1), (false, 2)] {
            let mut parts = [Counters::default(), Counters::default()];
            for (turn, result) in results.iter().enumerate() {
                parts[turn % 2].count(result, is_checked, 1, 10 + turn as u64);
            }
            let mut all = Counters::default();
            parts.iter().for_each(|part| all.merge(part));
            assert_eq!((all.requests(), all.failed, all.bytes, all.last), (5, failed, 5, 14));
            assert_eq!(all.latencies.histogram.len(), 4);
            let outcomes: Vec<_> = all.outcomes.into_iter().collect();
            assert_eq!(outcomes, [("ERROR", 1), ("FILE_NOT_FOUND", 1), ("OK", 2), ("interrupted", 1)]);
        }
    }
}
