//! Who goes when places run out: silent connections, the longest silent first; never one that waits for an answer or gets one, and
//! never one that has logged in.
//!
//! A service has a few slots more than it may have connections (`RESERVED_CONNECTIONS`), so whoever comes while all places are
//! taken has a slot all the same, and has a silent connection closed. If this worker has none, but others have, they close some in their
//! next rounds, which the newcomer waits for. If nobody has, it is told that there is no room; of HTTP, `health` and `ready` are
//! answered all the same.

use crate::base::limits::SILENT_MILLISECONDS;
use crate::process::worker::guest::Guest;
use crate::process::worker::{ROUND_NS, Worker};
use crate::service::bank::session as bank;
use crate::service::http::session as web;
use crate::service::http::session::Stage;
use crate::service::visit::{Parting, Place};
use crate::store::connection::Service;

const SILENT_NS: u64 = SILENT_MILLISECONDS * 1_000_000;
/// Candidates that one look at all connections finds, at most.
const CANDIDATES: usize = 64;
/// How soon all connections are looked at again after nobody was found.
const REST_NS: u64 = 1_000_000;

/// What a connection is at that may be closed to make room; the first of these go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Silence {
    /// It has no place: it was told good-bye, or there was none for it.
    Placeless,
    /// Of HTTP: between two requests, or with an answer that waits for the access log.
    BetweenRequests,
    /// It has sent nothing; of the bank: has not logged in.
    Stranger,
    /// Of HTTP: it has begun a request that it does not end.
    Unfinished,
}

/// How soon a connection goes: by what it is at, then by since when. The least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    silence: Silence,
    since_ns: u64,
}

/// A connection that may go: its rank, its slot, and the life of that.
type Candidate = (Rank, u32, u32);

/// The connections of a service that go next.
#[derive(Debug, Default)]
pub struct Candidates {
    parting: List,
    silent: List,
}

#[derive(Debug, Default)]
struct List {
    /// The last goes first.
    next: Vec<Candidate>,
    /// Nobody was found, and nobody looks again before.
    rest_until_ns: u64,
}

/// What is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// A place: somebody has to go who has one.
    Place,
    /// A slot, which those have as well who were told good-bye.
    Slot,
}

/// Whom to close.
#[derive(Clone, Copy, Debug)]
struct Aim {
    want: Want,
    /// How long it must have been silent.
    patience_ns: u64,
    /// Not this one: it is for it.
    newcomer: Option<u32>,
}

impl Want {
    fn takes(self, rank: Rank) -> bool {
        (self == Want::Slot) == (rank.silence == Silence::Placeless)
    }
}

impl Candidates {
    fn list(&mut self, want: Want) -> &mut List {
        match want {
            Want::Place => &mut self.silent,
            Want::Slot => &mut self.parting,
        }
    }
}

/// The rank of a connection, if it may go.
fn rank_of(guest: &Guest) -> Option<Rank> {
    let visit = guest.visit();
    if matches!(visit.parting, Parting::Lingering(_)) {
        return Some(Rank { silence: Silence::Placeless, since_ns: visit.active_ns });
    }
    let rank = match guest {
        Guest::Bank(guest) => rank_of_bank(guest),
        Guest::Web(guest) => rank_of_web(guest),
    }?;
    Some(if visit.place == Place::Granted { rank } else { Rank { silence: Silence::Placeless, ..rank } })
}

/// PING is no LOGIN: what counts is since when it could have logged in.
fn rank_of_bank(guest: &bank::Guest) -> Option<Rank> {
    let stranger = guest.session.is_none() && guest.pending.is_none();
    stranger.then(|| Rank { silence: Silence::Stranger, since_ns: guest.connection.slot().opened_ns() })
}

fn rank_of_web(guest: &web::Guest) -> Option<Rank> {
    let since_ns = guest.active_ns;
    let unfinished = guest.partial_since_ns.unwrap_or(since_ns);
    match guest.stage {
        Stage::Listening if guest.told.is_some() => None,
        Stage::Listening if guest.partial_since_ns.is_some() => {
            Some(Rank { silence: Silence::Unfinished, since_ns: unfinished })
        }
        // Whole, and waits for its place.
        Stage::Listening if guest.connection.unread() > 0 => None,
        Stage::Listening if guest.has_asked => Some(Rank { silence: Silence::BetweenRequests, since_ns }),
        Stage::Unlogged { .. } => Some(Rank { silence: Silence::BetweenRequests, since_ns }),
        Stage::Listening => Some(Rank { silence: Silence::Stranger, since_ns }),
        Stage::Skipping(_) => Some(Rank { silence: Silence::Unfinished, since_ns: unfinished }),
        Stage::Awaiting | Stage::Sending(_) | Stage::Streaming(_) => None,
    }
}

impl Rank {
    fn is_ripe(self, now_ns: u64, patience_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= patience_ns
    }
}

impl Worker {
    /// Sees to it that there is a place for the newcomer in `slot`, or says that there is none.
    pub(super) fn find_place(&mut self, slot: u32) {
        let service = self.intake.service_of(slot);
        let occupancy = self.instance.occupancy(service);
        let mut aim = Aim { want: Want::Slot, patience_ns: 0, newcomer: Some(slot) };
        if occupancy.shortage() > 0 {
            self.evict(service, aim);
        } else {
            aim.patience_ns = SILENT_NS;
        }
        aim.want = Want::Place;
        if occupancy.excess() == 0 || self.evict(service, aim) {
            return;
        }
        let others =
            (0..).zip(self.instance.workers()).filter(|(worker, row)| *worker != self.number && row.pid() != 0);
        let others_can = others.map(|(_, row)| row.stats.bounds.silent[service.index()].get()).sum::<u64>() > 0;
        let until_ns = self.desk.counter.now_ns + 2 * ROUND_NS;
        let may_wait = others_can && occupancy.shortage() == 0;
        self.set_place(slot, if may_wait { Place::Awaited { until_ns } } else { Place::Denied });
    }

    /// Makes room where there are too many, and tells those who wait for it.
    pub(super) fn share_places(&mut self) {
        for service in Service::ALL {
            let mine = self.guests[self.instance.slots_of(service)].iter().flatten();
            let silent = mine.filter_map(rank_of).filter(|rank| Want::Place.takes(*rank));
            let now_ns = self.desk.counter.now_ns;
            let ripe = silent.filter(|rank| rank.is_ripe(now_ns, SILENT_NS)).count();
            self.row.stats.bounds.silent[service.index()].set(ripe as u64);
            let occupancy = self.instance.occupancy(service);
            let patience_ns = if occupancy.shortage() > 0 { 0 } else { SILENT_NS };
            for (count, want) in [(occupancy.shortage(), Want::Slot), (occupancy.excess(), Want::Place)] {
                let aim = Aim { want, patience_ns, newcomer: None };
                let _evicted = (0..count).take_while(|_| self.evict(service, aim)).count();
            }
        }
        for slot in 0..self.guests.len() {
            let place = self.guests[slot].as_ref().map(|guest| guest.visit().place);
            if let (Some(Place::Awaited { until_ns }), Ok(slot)) = (place, u32::try_from(slot)) {
                self.settle_place(slot, until_ns);
            }
        }
    }

    /// Tells a connection that waits for a place whether it has one, as soon as that is known.
    fn settle_place(&mut self, slot: u32, until_ns: u64) {
        let is_over = self.desk.counter.now_ns >= until_ns;
        let place = match self.instance.occupancy(self.intake.service_of(slot)).excess() {
            0 => Place::Granted,
            _ if is_over => Place::Denied,
            _ => return,
        };
        self.set_place(slot, place);
        self.give_turn(slot as usize);
    }

    fn set_place(&mut self, slot: u32, place: Place) {
        let Some(guest) = self.guests[slot as usize].as_mut() else { return };
        guest.visit_mut().place = place;
        if let (Guest::Bank(guest), Place::Denied) = (guest, place) {
            self.desk.counter.turn_away(guest);
        }
    }

    /// Closes the connection that goes first of those that will do; whether there was one.
    fn evict(&mut self, service: Service, aim: Aim) -> bool {
        loop {
            let next = self.candidates[service.index()].list(aim.want).next.pop();
            let Some((rank, slot, generation)) = next else {
                if self.look_for_candidates(service, aim) {
                    continue;
                }
                return false;
            };
            // Something may have happened to it since it was looked at.
            let is_same = |guest: &mut Guest| guest.visit().generation == generation && rank_of(guest) == Some(rank);
            if rank.is_ripe(self.desk.counter.now_ns, aim.patience_ns)
                && aim.newcomer != Some(slot)
                && let Some(guest) = self.guests[slot as usize].take_if(is_same)
            {
                self.send_away(guest);
                return true;
            }
        }
    }

    /// Finds out who goes next; whether anybody may. Looks at all connections, so it finds some at once, and rests when there are none.
    fn look_for_candidates(&mut self, service: Service, aim: Aim) -> bool {
        let now_ns = self.desk.counter.now_ns;
        let list = self.candidates[service.index()].list(aim.want);
        if now_ns < list.rest_until_ns {
            return false;
        }
        let ranked = self.guests[self.instance.slots_of(service)].iter().flatten().filter_map(|guest| {
            let rank = rank_of(guest).filter(|rank| aim.want.takes(*rank) && rank.is_ripe(now_ns, aim.patience_ns))?;
            Some((rank, guest.visit().connection.index(), guest.visit().generation))
        });
        list.next.extend(ranked.filter(|(_, slot, _)| aim.newcomer != Some(*slot)));
        first_to_go(&mut list.next);
        if list.next.is_empty() {
            list.rest_until_ns = now_ns + REST_NS;
        }
        !list.next.is_empty()
    }

    fn send_away(&mut self, mut guest: Guest) {
        let (service, visit) = (self.intake.service_of(guest.visit().connection.index()), guest.visit());
        if visit.parting == Parting::No {
            if visit.place == Place::Granted {
                self.row.stats.bounds.evicted[service.index()].add(1);
            }
            if let Guest::Bank(guest) = &mut guest {
                self.desk.counter.turn_away(guest);
                // Told if its socket takes that; it is closed now in any case.
                let _fate = self.desk.turn(guest);
            }
        }
        self.close(guest);
    }
}

/// Keeps of `list` those that go first, the very first at its end.
fn first_to_go(list: &mut Vec<Candidate>) {
    list.sort_unstable_by(|one, other| other.cmp(one));
    list.drain(..list.len().saturating_sub(CANDIDATES));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_goes_first_and_what_it_is_at_counts_more() {
        use Silence::{BetweenRequests, Placeless, Stranger, Unfinished};
        let ranks =
            [(Stranger, 5), (Unfinished, 1), (BetweenRequests, 9), (Stranger, 3), (Placeless, 8), (Unfinished, 0)];
        let mut list: Vec<Candidate> =
            (0..).zip(ranks).map(|(slot, (silence, since_ns))| (Rank { silence, since_ns }, slot, 0)).collect();
        first_to_go(&mut list);
        let order: Vec<_> = std::iter::from_fn(|| list.pop()).map(|(rank, ..)| (rank.silence, rank.since_ns)).collect();
        assert_eq!(
            order,
            [(Placeless, 8), (BetweenRequests, 9), (Stranger, 3), (Stranger, 5), (Unfinished, 0), (Unfinished, 1)]
        );
    }

    #[test]
    fn the_first_of_many_are_kept() {
        let rank = |since_ns| Rank { silence: Silence::Stranger, since_ns };
        let mut list: Vec<Candidate> = (0..1000).map(|slot| (rank(u64::from((slot * 7) % 1000)), slot, 0)).collect();
        first_to_go(&mut list);
        let since: Vec<_> = list.iter().rev().map(|(rank, ..)| rank.since_ns).collect();
        assert_eq!(since, (0..CANDIDATES as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_is_had_of_those_that_leave_a_place_of_the_others() {
        let rank = |silence| Rank { silence, since_ns: 100 };
        assert!(Want::Slot.takes(rank(Silence::Placeless)) && !Want::Place.takes(rank(Silence::Placeless)));
        for silence in [Silence::BetweenRequests, Silence::Stranger, Silence::Unfinished] {
            assert!(Want::Place.takes(rank(silence)) && !Want::Slot.takes(rank(silence)));
        }
        assert!(rank(Silence::Stranger).is_ripe(350, 250) && !rank(Silence::Stranger).is_ripe(349, 250));
    }
}
