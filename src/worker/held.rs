//! Replies that wait until what they show is durable.

use std::collections::VecDeque;

use crate::vocab::Lsn;
use crate::worker::guest::Guest;

/// A connection's queued replies, cut into runs of which each may be sent once an operation is durable. Replies leave in the
/// order of their requests, so a run also waits for those before it.
#[derive(Debug, Default)]
pub struct Held {
    /// Where a run ends in the transmit ring, and the operation that it waits for; rising in both.
    runs: VecDeque<(u32, Lsn)>,
    /// How far the ring may be sent.
    released: u32,
}

impl Held {
    /// Nothing held; the ring may be sent up to position `released`.
    #[must_use]
    pub fn none(released: u32) -> Self {
        Held { runs: VecDeque::new(), released }
    }

    /// Holds all that is queued, which ends at `queued`, until operation `lsn` is durable.
    pub fn hold(&mut self, queued: u32, lsn: Lsn) {
        match self.runs.back_mut() {
            Some((end, last)) if *last >= lsn => *end = queued,
            _ => self.runs.push_back((queued, lsn)),
        }
    }

    /// Lets go what `may_be_shown`, and all that is queued if nothing waits any more; how far the ring may be sent.
    #[inline]
    pub fn release(&mut self, queued: u32, may_be_shown: impl Fn(Lsn) -> bool) -> u32 {
        while let Some(&(end, lsn)) = self.runs.front() {
            if !may_be_shown(lsn) {
                return self.released;
            }
            self.released = end;
            self.runs.pop_front();
        }
        self.released = queued;
        queued
    }

    /// The operation that must become durable before all that is held may be sent.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Lsn> {
        self.runs.back().map(|&(_, lsn)| lsn)
    }

    /// The operation that must become durable before anything more may be sent.
    #[inline]
    #[must_use]
    pub fn waits_for(&self) -> Option<Lsn> {
        self.runs.front().map(|&(_, lsn)| lsn)
    }
}

/// The connections of a worker that wait for the journal, in the order in which they may go on.
#[derive(Debug, Default)]
pub struct Line(VecDeque<(Lsn, u32)>);

impl Line {
    /// Has `guest` stand in line if it waits.
    #[inline]
    pub fn join(&mut self, guest: &mut Guest) {
        let Some(lsn) = guest.waits_for().filter(|_| !guest.in_line) else { return };
        guest.in_line = true;
        // Operations become durable in groups: waiting for the one before, too, costs nothing, and keeps the line sorted.
        let last = self.0.back().map_or(lsn, |&(last, _)| last);
        self.0.push_back((lsn.max(last), guest.connection.index()));
    }

    /// What the first one waits for, and its slot.
    #[must_use]
    pub fn first(&self) -> Option<(Lsn, u32)> {
        self.0.front().copied()
    }

    /// How many stand in it.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// The slot of the first one, if all up to `durable` is what it waits for.
    pub fn next(&mut self, durable: Lsn) -> Option<u32> {
        let (lsn, _) = *self.0.front()?;
        if lsn <= durable { self.0.pop_front().map(|(_, slot)| slot) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_order_and_not_before_what_they_show_is_durable() {
        let mut held = Held::none(100);
        assert_eq!(held.release(120, |_| false), 120, "nothing is held");
        held.hold(140, Lsn(7));
        held.hold(150, Lsn(5));
        held.hold(160, Lsn(9));
        assert_eq!(held.waits_for(), Some(Lsn(7)));
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(6)), 120, "the second waits for the first");
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(8)), 150);
        assert_eq!(held.waits_for(), Some(Lsn(9)));
        assert_eq!(held.release(160, |lsn| lsn <= Lsn(9)), 160);
        assert_eq!(held.waits_for(), None);
    }
}
