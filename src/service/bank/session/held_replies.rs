//! Replies that wait until what they show is committed.

use std::collections::VecDeque;

use crate::base::vocab::Lsn;

/// A connection's queued replies, cut into runs of which each may be sent once an operation is committed. Replies leave in the
/// order of their requests, so a run also waits for those before it.
#[derive(Debug, Default)]
pub struct HeldReplies {
    /// Rising in where they end and in what they wait for.
    runs: VecDeque<Run>,
    /// How far the ring may be sent.
    released: u32,
}

#[derive(Debug)]
struct Run {
    /// Where it ends in the transmit ring.
    end: u32,
    /// The operation that it waits for.
    lsn: Lsn,
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

    /// Holds all that is queued, which ends at `queued`, until operation `lsn` is committed.
    pub fn hold(&mut self, queued: u32, lsn: Lsn, replies: Replies) {
        match self.runs.back_mut() {
            Some(run) if run.lsn >= lsn => {
                run.end = queued;
                run.replies.add(replies);
            }
            _ => self.runs.push_back(Run { end: queued, lsn, replies }),
        }
    }

    /// Releases the runs that `may_be_shown`, or all that is queued if nothing is held any more; up to where the ring may be sent. Each
    /// released run is passed to `released`.
    #[inline]
    pub fn release(&mut self, queued: u32, may_be_shown: impl Fn(Lsn) -> bool, released: impl Fn(Replies)) -> u32 {
        while let Some(run) = self.runs.front() {
            if !may_be_shown(run.lsn) {
                return self.released;
            }
            self.released = run.end;
            released(run.replies);
            self.runs.pop_front();
        }
        self.released = queued;
        queued
    }

    /// The operation that must be committed before all that is held may be sent.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Lsn> {
        self.runs.back().map(|run| run.lsn)
    }

    /// The operation that must be committed before anything more may be sent.
    #[inline]
    #[must_use]
    pub fn waits_for(&self) -> Option<Lsn> {
        self.runs.front().map(|run| run.lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_order_and_not_before_what_they_show_is_committed() {
        let replies = |count, since_ns| Replies { count, since_ns };
        let gone = std::cell::RefCell::new(Vec::new());
        let mut held = HeldReplies::none(100);
        let let_go = |replies| gone.borrow_mut().push(replies);
        assert_eq!(held.release(120, |_| false, let_go), 120, "nothing is held");
        held.hold(140, Lsn(7), replies(2, 10));
        held.hold(150, Lsn(5), replies(1, 20));
        held.hold(160, Lsn(9), replies(4, 30));
        assert_eq!(held.waits_for(), Some(Lsn(7)));
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(6), let_go), 120, "the second waits for the first");
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(8), let_go), 150);
        assert_eq!(*gone.borrow(), [replies(3, 10)]);
        assert_eq!(held.waits_for(), Some(Lsn(9)));
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(9), let_go), 160);
        assert_eq!(*gone.borrow(), [replies(3, 10), replies(4, 30)]);
        assert_eq!(held.waits_for(), None);
    }
}
