//! Which silent connections of a service are closed next.

use crate::base::time::is_over;
use crate::service::host::Candidate;
use crate::service::interface::{Silence, Silent};

/// Candidates that one look at all connections finds, at most.
const CANDIDATES: usize = 64;

/// The connections of a service that are closed next.
#[derive(Debug, Default)]
pub struct Candidates {
    not_admitted: List,
    silent: List,
}

/// Some of them.
#[derive(Debug, Default)]
pub struct List {
    /// The last is closed first.
    pub next: Vec<Candidate>,
    /// None was found, and none is looked for before this time.
    pub rest_until_ns: u64,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Places: a connection that was admitted is to be closed.
    Place,
    /// Slots, which connections have as well that are closing or were not admitted.
    Slot,
}

impl Want {
    /// Whether closing such a connection gives some.
    #[must_use]
    pub fn takes(self, silent: Silent) -> bool {
        (self == Want::Slot) == (silent.at == Silence::NotAdmitted)
    }
}

impl Candidates {
    /// Those whose closing gives what is wanted.
    pub fn list(&mut self, want: Want) -> &mut List {
        match want {
            Want::Place => &mut self.silent,
            Want::Slot => &mut self.not_admitted,
        }
    }
}

/// Whether a connection has been silent for `patience_ns`.
#[must_use]
pub fn is_ripe(silent: Silent, now_ns: u64, patience_ns: u64) -> bool {
    is_over(now_ns, silent.since_ns, patience_ns)
}

/// Keeps of `list` those that are closed first, the very first at its end.
pub fn first_to_go(list: &mut Vec<Candidate>) {
    list.sort_unstable_by(|one, other| other.cmp(one));
    list.drain(..list.len().saturating_sub(CANDIDATES));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_goes_first_and_what_it_is_at_counts_more() {
        use Silence::{BeforeFirstRequest, BetweenRequests, InsideRequest, NotAdmitted};
        let ranks = [
            (BeforeFirstRequest, 5),
            (InsideRequest, 1),
            (BetweenRequests, 9),
            (BeforeFirstRequest, 3),
            (NotAdmitted, 8),
            (InsideRequest, 0),
        ];
        let mut list: Vec<Candidate> =
            (0..).zip(ranks).map(|(slot, (at, since_ns))| (Silent { at, since_ns }, slot, 0)).collect();
        first_to_go(&mut list);
        let order: Vec<_> =
            std::iter::from_fn(|| list.pop()).map(|(silent, ..)| (silent.at, silent.since_ns)).collect();
        assert_eq!(
            order,
            [
                (NotAdmitted, 8),
                (BetweenRequests, 9),
                (BeforeFirstRequest, 3),
                (BeforeFirstRequest, 5),
                (InsideRequest, 0),
                (InsideRequest, 1)
            ]
        );
    }

    #[test]
    fn the_first_of_many_are_kept() {
        let silent = |since_ns| Silent { at: Silence::BeforeFirstRequest, since_ns };
        let mut list: Vec<Candidate> = (0..1000).map(|slot| (silent(u64::from((slot * 7) % 1000)), slot, 0)).collect();
        first_to_go(&mut list);
        let since: Vec<_> = list.iter().rev().map(|(silent, ..)| silent.since_ns).collect();
        assert_eq!(since, (0..CANDIDATES as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_is_had_of_those_that_leave_a_place_of_the_others() {
        let silent = |at| Silent { at, since_ns: 100 };
        assert!(Want::Slot.takes(silent(Silence::NotAdmitted)) && !Want::Place.takes(silent(Silence::NotAdmitted)));
        for at in [Silence::BetweenRequests, Silence::BeforeFirstRequest, Silence::InsideRequest] {
            assert!(Want::Place.takes(silent(at)) && !Want::Slot.takes(silent(at)));
        }
        assert!(
            is_ripe(silent(Silence::BeforeFirstRequest), 350, 250)
                && !is_ripe(silent(Silence::BeforeFirstRequest), 349, 250)
        );
    }
}
