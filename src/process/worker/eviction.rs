//! Making room: silent connections are closed when places run out, the longest silent first; never one that waits for an answer or
//! gets one, and never one that has earned its place.
//!
//! A service has a few slots more than it may have connections (`RESERVED_CONNECTIONS`), so a connection that comes while all places
//! are taken still gets a slot, and a silent connection is closed for it. If this worker has none, but others have, they close some at their
//! next ticks, which the new connection waits for. If nobody has, it is told that there is no room; of HTTP, `health` and `ready` are
//! still answered.

use crate::base::limits::SILENT_MILLISECONDS;
use crate::process::worker::candidates::{Want, first_to_go, is_ripe};
use crate::process::worker::event_loop::{TICK_NS, Worker};
use crate::service::connection_state::{Admission, Closing};
use crate::service::host::Candidate;
use crate::store::connection::ServiceId;

const SILENT_NS: u64 = SILENT_MILLISECONDS * 1_000_000;
/// How soon all connections are looked at again after none was found.
const REST_NS: u64 = 1_000_000;

/// What is to be closed.
#[derive(Clone, Copy, Debug)]
struct Aim {
    want: Want,
    /// How long it must have been silent, nanoseconds.
    patience_ns: u64,
    /// Not this one: the room is for it.
    newcomer: Option<u32>,
}

impl Worker {
    /// Sees to it that there is room for the new connection in `slot`, or tells it that there is none.
    pub fn find_room(&mut self, slot: u32) {
        let service = self.services.id_of(slot);
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
        let others = (0..)
            .zip(self.instance.workers())
            .filter(|(worker, row)| *worker != self.number && row.life.pid.get() != 0);
        let others_can = others.map(|(_, row)| row.stats.services[service.index()].silent.get()).sum::<u64>() > 0;
        let until_ns = self.now_ns + 2 * TICK_NS;
        let may_wait = others_can && occupancy.shortage() == 0;
        self.set_admission(slot, if may_wait { Admission::Awaited { until_ns } } else { Admission::Denied });
    }

    /// Makes room where there are too many connections, and tells those that wait for it.
    pub fn share_room(&mut self) {
        let open: Vec<_> = self.services.ids().collect();
        for service in open {
            let now_ns = self.now_ns;
            let silent = self.silent_connections(service);
            let ripe = silent.filter(|(silent, ..)| Want::Place.takes(*silent) && is_ripe(*silent, now_ns, SILENT_NS));
            let ripe = ripe.count() as u64;
            self.stats_of(service).silent.set(ripe);
            let occupancy = self.instance.occupancy(service);
            let patience_ns = if occupancy.shortage() > 0 { 0 } else { SILENT_NS };
            for (count, want) in [(occupancy.shortage(), Want::Slot), (occupancy.excess(), Want::Place)] {
                let aim = Aim { want, patience_ns, newcomer: None };
                let _evicted = (0..count).take_while(|_| self.evict(service, aim)).count();
            }
        }
        for slot in self.services.slots() {
            let state = self.services.of(slot).and_then(|host| host.state(slot));
            if let Some(Admission::Awaited { until_ns }) = state.map(|state| state.admission) {
                self.settle_admission(slot, until_ns);
            }
        }
    }

    /// Tells a connection that waits for room whether there is some, as soon as that is known.
    fn settle_admission(&mut self, slot: u32, until_ns: u64) {
        let admission = match self.instance.occupancy(self.services.id_of(slot)).excess() {
            0 => Admission::Admitted,
            _ if self.now_ns >= until_ns => Admission::Denied,
            _ => return,
        };
        self.set_admission(slot, admission);
        self.serve(slot);
    }

    fn set_admission(&mut self, slot: u32, admission: Admission) {
        let Some(host) = self.services.of(slot) else { return };
        let Some(state) = host.state(slot) else { return };
        state.admission = admission;
        if admission == Admission::Denied {
            host.deny(slot);
        }
    }

    /// Closes the first of the connections that will do; whether there was one.
    fn evict(&mut self, service: ServiceId, aim: Aim) -> bool {
        loop {
            let next = self.candidates[service.index()].list(aim.want).next.pop();
            let Some((silent, slot, generation)) = next else {
                if self.find_candidates(service, aim) {
                    continue;
                }
                return false;
            };
            let Some(host) = self.services.of(slot) else { return false };
            // Something may have happened to it since it was looked at.
            let is_same = host.candidate(slot) == Some((silent, slot, generation));
            if is_same && is_ripe(silent, self.now_ns, aim.patience_ns) && aim.newcomer != Some(slot) {
                self.close_to_make_room(slot);
                return true;
            }
        }
    }

    /// Finds out what is closed next; whether there is anything. Looks at all connections, so it finds some at once, and rests when there
    /// are none.
    fn find_candidates(&mut self, service: ServiceId, aim: Aim) -> bool {
        let now_ns = self.now_ns;
        if now_ns < self.candidates[service.index()].list(aim.want).rest_until_ns {
            return false;
        }
        let found = self.silent_connections(service).filter(|(silent, slot, _)| {
            aim.want.takes(*silent) && is_ripe(*silent, now_ns, aim.patience_ns) && aim.newcomer != Some(*slot)
        });
        let mut found = found.collect();
        first_to_go(&mut found);
        let list = self.candidates[service.index()].list(aim.want);
        list.next = found;
        if list.next.is_empty() {
            list.rest_until_ns = now_ns + REST_NS;
        }
        !list.next.is_empty()
    }

    /// The silent connections of a service.
    fn silent_connections(&mut self, service: ServiceId) -> impl Iterator<Item = Candidate> {
        let slots = self.services.slots_of(service);
        self.services
            .get(service)
            .into_iter()
            .flat_map(move |host| slots.clone().filter_map(|slot| host.candidate(slot)))
    }

    fn close_to_make_room(&mut self, slot: u32) {
        let stats = self.service_stats(slot);
        if let Some(host) = self.services.of(slot)
            && let Some(state) = host.state(slot)
            && state.closing == Closing::No
        {
            if state.admission == Admission::Admitted {
                stats.evicted.add(1);
            }
            host.evict(slot);
        }
        self.close(slot);
    }
}
