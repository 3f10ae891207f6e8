//! Connections whose next request waits until a primary is known: between two of them, most elections take a second or two.

use std::collections::BTreeMap;
use std::time::Duration;

/// How soon it is looked again whether there is one; nobody tells.
const LOOK_NS: u64 = 10_000_000;

/// Those that wait: a connection has one request that may, so there are no more of them than connections.
#[derive(Debug, Default)]
pub struct PrimaryQueue {
    /// When each wait is over, nanoseconds of the monotonic clock, by its slot.
    waits: BTreeMap<u32, u64>,
}

impl PrimaryQueue {
    /// Puts the connection of `slot` in; its wait is over at `until_ns`.
    pub fn join(&mut self, slot: u32, until_ns: u64) {
        self.waits.insert(slot, until_ns);
    }

    /// Takes a connection out that has ended.
    pub fn leave(&mut self, slot: u32) {
        self.waits.remove(&slot);
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// How long until it is to be looked again; `None` where nobody waits.
    pub fn patience(&self) -> Option<Duration> {
        (!self.waits.is_empty()).then_some(Duration::from_nanos(LOOK_NS))
    }

    /// Takes all out if a primary `is_known`, else those whose wait is over at `now_ns`; each is passed to `go_on`.
    pub fn take(&mut self, is_known: bool, now_ns: u64, mut go_on: impl FnMut(u32)) {
        self.waits.retain(|&slot, &mut until_ns| {
            let goes_on = is_known || until_ns <= now_ns;
            if goes_on {
                go_on(slot);
            }
            !goes_on
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_time_or_when_there_is_a_primary() {
        let mut queue = PrimaryQueue::default();
        let taken = |queue: &mut PrimaryQueue, is_known, now_ns| {
            let mut taken = Vec::new();
            queue.take(is_known, now_ns, |slot| taken.push(slot));
            taken
        };
        assert_eq!((queue.patience(), taken(&mut queue, true, 0)), (None, vec![]));
        (1..6).for_each(|slot| queue.join(slot, u64::from(slot) * 100));
        queue.join(2, 200);
        assert_eq!(queue.patience(), Some(Duration::from_nanos(LOOK_NS)));
        assert_eq!(taken(&mut queue, false, 99), [0; 0]);
        assert_eq!(taken(&mut queue, false, 200), [1, 2]);
        queue.leave(4);
        assert_eq!(taken(&mut queue, true, 200), [3, 5]);
        assert!(queue.is_empty());
    }
}
