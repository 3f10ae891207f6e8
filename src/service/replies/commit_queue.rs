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
    /// Whether it waits for room in the journal's ring alone, and has no reply that waits.
    pub for_room: bool,
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
        let for_room = waits.blocked.is_some() && waits.held.waits_for().is_none();
        self.push(slot, shows, for_room);
    }

    fn push(&mut self, slot: u32, shows: Shows, for_room: bool) {
        // Operations are committed in groups: waiting for the one before, too, costs nothing, and keeps the queue sorted.
        let shows = self.0.back().map_or(shows, |waiting| waiting.shows.max(shows));
        self.0.push_back(Waiting { shows, slot, for_room });
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
        queue.push(1, shows(5, 0), false);
        queue.push(2, shows(3, 2), true);
        queue.push(3, shows(7, 0), false);
        assert_eq!(queue.first(), Some(Waiting { shows: shows(5, 0), slot: 1, for_room: false }));
        assert_eq!(queue.next(visible(4, 9)), None);
        assert_eq!(queue.next(visible(5, 0)), Some(1));
        assert_eq!(
            queue.first(),
            Some(Waiting { shows: shows(5, 2), slot: 2, for_room: true }),
            "not before the first"
        );
        assert_eq!(queue.next(visible(9, 1)), None, "what was read is not confirmed");
        assert_eq!(
            [queue.next(visible(7, 2)), queue.next(visible(7, 2)), queue.next(visible(7, 2))],
            [Some(2), Some(3), None]
        );
    }
}
