//! Replies that wait until what they show is committed.

use std::collections::VecDeque;

use crate::store::ledger::Shows;

/// A connection's queued replies, cut into runs of which each may be sent once what it shows is committed, and confirmed if it was read.
/// Replies leave in the order of their requests, so a run also waits for those before it.
#[derive(Debug, Default)]
pub struct HeldReplies {
    /// Rising in where they end and in what they show.
    runs: VecDeque<Run>,
    /// How far the ring may be sent.
    released: u32,
}

#[derive(Debug)]
struct Run {
    /// Where it ends in the transmit ring.
    end: u32,
    /// What it waits for.
    shows: Shows,
    replies: Replies,
}

/// Replies that leave together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// How many.
    pub count: u64,
    /// When the first of their requests was there to be read.
    pub since_ns: u64,
}

impl Replies {
    /// Counts others in, which came later.
    #[inline]
    pub fn add(&mut self, later: Replies) {
        if self.count == 0 {
            *self = later;
        } else {
            self.count += later.count;
        }
    }
}

impl HeldReplies {
    /// Nothing held; the ring may be sent up to position `released`.
    #[must_use]
    pub fn none(released: u32) -> Self {
        HeldReplies { runs: VecDeque::new(), released }
    }

    /// Holds all that is queued, which ends at `queued`, until what `shows` says may be shown.
    pub fn hold(&mut self, queued: u32, shows: Shows, replies: Replies) {
        match self.runs.back_mut() {
            Some(run) if run.shows.covers(shows) => {
                run.end = queued;
                run.replies.add(replies);
            }
            last => {
                let shows = last.map_or(shows, |run| run.shows.max(shows));
                self.runs.push_back(Run { end: queued, shows, replies });
            }
        }
    }

    /// Holds what was queued in a turn if it may not be shown, or if others are held that come before it; else gives it back, to leave now.
    #[inline]
    #[must_use]
    pub fn hold_unless(&mut self, may_be_shown: bool, queued: u32, shows: Shows, replies: Replies) -> Option<Replies> {
        let shows = if may_be_shown { self.last() } else { Some(shows) };
        match shows {
            None => Some(replies),
            Some(shows) => {
                self.hold(queued, shows, replies);
                None
            }
        }
    }

    /// Releases the runs that `may_be_shown`, or all that is queued if nothing is held any more; up to where the ring may be sent. Each
    /// released run is passed to `released`.
    #[inline]
    pub fn release(&mut self, queued: u32, may_be_shown: impl Fn(Shows) -> bool, released: impl Fn(Replies)) -> u32 {
        while let Some(run) = self.runs.front() {
            if !may_be_shown(run.shows) {
                return self.released;
            }
            self.released = run.end;
            released(run.replies);
            self.runs.pop_front();
        }
        self.released = queued;
        queued
    }

    /// What must be visible before all that is held may be sent.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Shows> {
        self.runs.back().map(|run| run.shows)
    }

    /// What must be visible before anything more may be sent.
    #[inline]
    #[must_use]
    pub fn waits_for(&self) -> Option<Shows> {
        self.runs.front().map(|run| run.shows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Lsn;

    #[test]
    fn replies_leave_in_order_and_not_before_what_they_show_is_committed() {
        let replies = |count, since_ns| Replies { count, since_ns };
        let gone = std::cell::RefCell::new(Vec::new());
        let mut held = HeldReplies::none(100);
        let let_go = |replies| gone.borrow_mut().push(replies);
        let shows = |lsn, round| Shows { lsn: Lsn(lsn), round };
        assert_eq!(held.hold_unless(true, 120, shows(6, 0), replies(1, 5)), Some(replies(1, 5)));
        assert_eq!(held.release(120, |_| false, let_go), 120, "nothing is held");
        held.hold(140, shows(7, 0), replies(2, 10));
        held.hold(150, shows(5, 0), replies(1, 20));
        held.hold(160, shows(9, 0), replies(4, 30));
        assert_eq!(held.waits_for(), Some(shows(7, 0)));
        assert_eq!(held.release(160, |shows| shows.lsn <= Lsn(6), let_go), 120, "the second waits for the first");
        assert_eq!(held.release(160, |shows| shows.lsn <= Lsn(8), let_go), 150);
        assert_eq!(*gone.borrow(), [replies(3, 10)]);
        assert_eq!(held.waits_for(), Some(shows(9, 0)));
        held.hold(170, shows(4, 2), replies(5, 40));
        assert_eq!(held.last(), Some(shows(9, 2)), "it waits for those before it as well");
        assert_eq!(held.hold_unless(true, 175, shows(1, 0), replies(1, 50)), None, "those before it are held");
        assert_eq!(held.hold_unless(false, 180, shows(10, 0), replies(1, 60)), None);
        assert_eq!((held.waits_for(), held.last()), (Some(shows(9, 0)), Some(shows(10, 2))));
        assert_eq!(held.release(180, |shows| shows.round <= 1, let_go), 160);
        assert_eq!(held.release(180, |shows| shows.lsn <= Lsn(9), let_go), 175);
        assert_eq!(*gone.borrow(), [replies(3, 10), replies(4, 30), replies(6, 40)]);
        assert_eq!(held.release(180, |shows| shows.lsn <= Lsn(10), let_go), 180);
        assert_eq!(held.waits_for(), None);
    }
}
