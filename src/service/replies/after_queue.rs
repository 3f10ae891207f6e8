//! Connections whose next request waits until this instance has applied the operation that it names as the last one seen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::vocab::Lsn;

/// A request that waits until this instance has applied the operation that it names as the last one seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterWait {
    /// The operation.
    pub lsn: Lsn,
    /// When the wait is over, nanoseconds of the monotonic clock.
    pub until_ns: u64,
}

/// How late the end of a wait may be noticed, so that many ends do not make as many walks through those that wait.
const GRAIN_NS: u64 = 10_000_000;

/// Those that wait: a connection has one request that may, so there are no more of them than connections.
#[derive(Debug, Default)]
pub struct AfterQueue {
    /// When each wait is over, by what it waits for and its slot.
    waits: BTreeMap<(Lsn, u32), u64>,
    /// When to look for waits that are over; nothing is over before.
    next_look_ns: u64,
}

impl AfterQueue {
    /// Puts the connection of `slot` in, if it is not there.
    pub fn join(&mut self, slot: u32, wait: AfterWait) {
        if self.waits.is_empty() || wait.until_ns < self.next_look_ns {
            self.next_look_ns = wait.until_ns;
        }
        self.waits.insert((wait.lsn, slot), wait.until_ns);
    }

    /// Takes a connection out that has ended.
    pub fn leave(&mut self, slot: u32, wait: AfterWait) {
        self.waits.remove(&(wait.lsn, slot));
    }

    /// The first operation that any of them waits for.
    pub fn first(&self) -> Option<Lsn> {
        self.waits.first_key_value().map(|(&(lsn, _), _)| lsn)
    }

    /// How long until the next wait is over, or a little longer.
    pub fn patience(&self, now_ns: u64) -> Option<Duration> {
        (!self.waits.is_empty()).then(|| Duration::from_nanos(self.next_look_ns.saturating_sub(now_ns)))
    }

    /// Takes those out whose operation is not after `shown`, and those whose wait is over at `now_ns`; each is passed to `go_on`.
    pub fn take(&mut self, shown: Lsn, now_ns: u64, mut go_on: impl FnMut(u32)) {
        while let Some(entry) = self.waits.first_entry().filter(|entry| entry.key().0 <= shown) {
            go_on(entry.remove_entry().0.1);
        }
        if self.waits.is_empty() || now_ns < self.next_look_ns {
            return;
        }
        let mut earliest = u64::MAX;
        self.waits.retain(|&(_, slot), &mut until_ns| {
            let is_over = until_ns <= now_ns;
            if is_over {
                go_on(slot);
            } else {
                earliest = earliest.min(until_ns);
            }
            !is_over
        });
        self.next_look_ns = earliest.max(now_ns.saturating_add(GRAIN_NS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut AfterQueue, shown: u64, now_ns: u64) -> Vec<u32> {
        let mut taken = Vec::new();
        queue.take(Lsn(shown), now_ns, |slot| taken.push(slot));
        taken
    }

    #[test]
    fn a_wait_ends_by_what_it_waits_for_and_by_time() {
        let wait = |lsn, until_ns| AfterWait { lsn: Lsn(lsn), until_ns };
        let mut queue = AfterQueue::default();
        assert_eq!((queue.first(), queue.patience(0)), (None, None));
        queue.join(1, wait(u64::MAX, 500));
        queue.join(2, wait(30, 600));
        queue.join(3, wait(20, 50_000_000));
        queue.join(3, wait(20, 50_000_000));
        assert_eq!((queue.first(), queue.patience(100)), (Some(Lsn(20)), Some(Duration::from_nanos(400))));
        assert_eq!(taken(&mut queue, 19, 499), [0; 0]);
        assert_eq!(taken(&mut queue, 20, 499), [3], "one that waits for what never comes holds nobody up");
        assert_eq!(taken(&mut queue, 20, 500), [1]);
        assert_eq!(taken(&mut queue, 20, 600), [0; 0], "a little later is enough");
        assert_eq!(queue.patience(600), Some(Duration::from_nanos(500 + GRAIN_NS - 600)));
        assert_eq!(taken(&mut queue, 20, 500 + GRAIN_NS), [2]);
        assert_eq!(queue.patience(0), None);
        // One that comes later and ends earlier is not overlooked.
        queue.join(1, wait(40, 90_000_000));
        queue.join(2, wait(50, 80_000_000));
        assert_eq!(queue.patience(0), Some(Duration::from_millis(80)));
        assert_eq!(taken(&mut queue, 20, 80_000_000), [2]);
        assert_eq!(taken(&mut queue, 20, 90_000_000), [1]);
        queue.join(1, wait(40, 90_000_000));
        queue.leave(1, wait(40, 90_000_000));
        assert_eq!(queue.first(), None);
    }
}
