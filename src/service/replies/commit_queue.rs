//! Sessions that wait until something is committed.

use std::collections::VecDeque;

use crate::service::replies::waits::Waits;
use crate::store::ledger::{Shows, Visible};

/// A session that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it waits for.
    pub shows: Shows,
    /// Its slot.
    pub slot: u32,
}

/// Those that wait, in the order in which they may go on.
#[derive(Debug, Default)]
pub struct CommitQueue(VecDeque<Waiting>);

impl CommitQueue {
    /// Puts the session of `slot` in if it waits and is not there.
    #[inline]
    pub fn join(&mut self, slot: u32, waits: &mut Waits) {
        let Some(shows) = waits.waits_for().filter(|_| !waits.is_queued) else { return };
        waits.is_queued = true;
        self.push(slot, shows);
    }

    fn push(&mut self, slot: u32, shows: Shows) {
        // Operations are committed in groups: waiting for the one before, too, costs nothing, and keeps the queue sorted.
        let shows = self.0.back().map_or(shows, |waiting| waiting.shows.max(shows));
        self.0.push_back(Waiting { shows, slot });
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> Option<Waiting> {
        self.0.front().copied()
    }

    /// Takes the first one out, if what it waits for is visible; its slot.
    pub fn next(&mut self, visible: Visible) -> Option<u32> {
        self.0.pop_front_if(|waiting| visible.includes(waiting.shows)).map(|waiting| waiting.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{Committed, Lsn};

    #[test]
    fn sessions_go_on_in_the_order_in_which_they_came() {
        let shows = |lsn, round| Shows { lsn: Lsn(lsn), round };
        let visible = |lsn, round| Visible { committed: Committed(Lsn(lsn)), rounds: round };
        let mut queue = CommitQueue::default();
        assert_eq!((queue.first(), queue.next(visible(9, 9))), (None, None));
        queue.push(1, shows(5, 0));
        queue.push(2, shows(3, 2));
        queue.push(3, shows(7, 0));
        assert_eq!(queue.first(), Some(Waiting { shows: shows(5, 0), slot: 1 }));
        assert_eq!(queue.next(visible(4, 9)), None);
        assert_eq!(queue.next(visible(5, 0)), Some(1));
        assert_eq!(queue.first(), Some(Waiting { shows: shows(5, 2), slot: 2 }), "not before the first");
        assert_eq!(queue.next(visible(9, 1)), None, "what was read is not confirmed");
        assert_eq!(
            [queue.next(visible(7, 2)), queue.next(visible(7, 2)), queue.next(visible(7, 2))],
            [Some(2), Some(3), None]
        );
    }
}
