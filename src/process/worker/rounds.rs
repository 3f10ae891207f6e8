//! The rounds: connections that are idle or slow, and the worker's own leaving.

use std::time::Duration;

use crate::base::limits::{PARTIAL_FRAME_SECONDS, STOP_DEADLINE_SECONDS};
use crate::process::worker::guest::Guest;
use crate::process::worker::{ROUND_NS, Worker};
use crate::service::bank::session as bank;
use crate::service::http::session as web;
use crate::service::http::session::Stage;
use crate::service::http::wire::Status;
use crate::service::visit::{Parting, Place};
use crate::store::instance::control::WorkerState;

const SECOND_NS: u64 = 1_000_000_000;

/// Why a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// It has said good-bye for long enough.
    Lingering,
    /// No byte came or went for the idle time-out.
    Idle,
    /// It began a frame and did not end it, or does not fetch its answer.
    Slow,
    /// It began a request of the web and did not end it, which it is told.
    SlowHead,
    /// It has not logged in.
    Stranger,
    /// There is no room for it, and it has asked for nothing that is answered all the same.
    NoPlace,
}

/// How long connections are waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// With one that is silent; `None` is for ever.
    idle_ns: Option<u64>,
    /// With one of the bank that has not logged in.
    login_ns: u64,
    /// With a head, and with a client that fetches an answer.
    web_ns: u64,
}

impl Worker {
    /// Drops who is overdue.
    pub(super) fn make_rounds(&mut self) {
        let now = self.desk.counter.now_ns;
        self.next_round_ns = now + ROUND_NS;
        self.push_events();
        self.share_places();
        // In other modes than dispatch: slots may be free that other workers had.
        self.intake.look_again();
        self.intake_more |= self.intake.listeners().next().is_some();
        if self.web.as_mut().is_some_and(web::Desk::see_to_lines) {
            self.deliver_files();
        }
        let stats = &self.row.stats;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let patience = Patience {
            idle_ns: self.instance.control().idle_timeout_ns(),
            login_ns: nanoseconds(self.settings.login_timeout),
            web_ns: nanoseconds(self.settings.http.timeout),
        };
        for slot in 0..self.guests.len() {
            let Some(why) = self.guests[slot].as_ref().and_then(|guest| overdue(guest, now, patience)) else {
                continue;
            };
            match why {
                Overdue::Lingering => {}
                Overdue::Idle => stats.idle_dropped.add(1),
                Overdue::Slow => stats.slow_dropped.add(1),
                Overdue::Stranger => stats.bounds.strangers_closed.add(1),
                Overdue::SlowHead => {
                    stats.slow_dropped.add(1);
                    self.end_unasked(slot, Status::RequestTimeout);
                    continue;
                }
                Overdue::NoPlace => {
                    stats.web.refused.add(1);
                    self.end_unasked(slot, Status::Unavailable);
                    continue;
                }
            }
            if let Some(guest) = self.guests[slot].take() {
                self.close(guest);
            }
        }
    }

    /// Tells a client of the web, which has not asked for anything whole, why its connection ends.
    fn end_unasked(&mut self, slot: usize, status: Status) {
        if let (Some(web), Some(Guest::Web(guest))) = (&mut self.web, &mut self.guests[slot]) {
            web.end_unasked(guest, status);
        }
        self.give_turn(slot);
    }

    /// Has those who watch see what happened.
    fn push_events(&mut self) {
        let Some(event) = self.web.as_mut().and_then(web::Desk::next_event) else { return };
        for slot in 0..self.guests.len() {
            if let Some(Guest::Web(guest)) = &mut self.guests[slot]
                && guest.push(&event)
            {
                self.give_turn(slot);
            }
        }
    }

    /// Answers nothing new; sends what is queued.
    pub(super) fn begin_to_stop(&mut self) {
        if self.leave_by_ns.is_some() {
            return;
        }
        self.row.set_state(WorkerState::Stopping);
        self.stop_accepting();
        if let Some(web) = &mut self.web {
            web.begin_to_close();
        }
        // A second before the master loses its patience.
        self.leave_by_ns = Some(self.desk.counter.now_ns + (STOP_DEADLINE_SECONDS - 1) * SECOND_NS);
        for slot in 0..self.guests.len() {
            let Some(guest) = self.guests[slot].as_mut() else { continue };
            // One that waits for the pool gets its answer first.
            if guest.may_move() {
                guest.visit_mut().parting = Parting::AfterSending;
            }
            self.give_turn(slot);
        }
    }

    /// Whether this worker has nothing left to do, or no time left to do it in.
    pub(super) fn may_leave(&self) -> bool {
        if let Some(leave_by) = self.leave_by_ns {
            return self.count == 0 || self.desk.counter.now_ns >= leave_by;
        }
        let lane_empty = self.instance.lane_ring(usize::from(self.number)).depth() == 0 && !self.intake.holds_back();
        // The master stops handing over before it asks to leave, so an empty lane stays empty. It must also have been told
        // of every connection that was closed.
        self.row.is_to_leave() && self.count == 0 && lane_empty && self.farewells.is_empty()
    }
}

fn overdue(guest: &Guest, now_ns: u64, patience: Patience) -> Option<Overdue> {
    if let Parting::Lingering(budget) = guest.visit().parting {
        return budget.is_over(now_ns).then_some(Overdue::Lingering);
    }
    match guest {
        Guest::Bank(guest) => bank_overdue(guest, now_ns, patience),
        Guest::Web(guest) => web_overdue(guest, now_ns, patience),
    }
}

fn web_overdue(guest: &web::Guest, now_ns: u64, patience: Patience) -> Option<Overdue> {
    let partial = guest.partial_since_ns.is_some_and(|since| late(now_ns, since, patience.web_ns));
    let stuck = late(now_ns, guest.active_ns, patience.web_ns);
    match guest.stage {
        Stage::Listening if guest.place == Place::Denied && late(now_ns, guest.active_ns, SECOND_NS) => {
            Some(Overdue::NoPlace)
        }
        Stage::Listening if partial => Some(Overdue::SlowHead),
        Stage::Listening => patience.idle_ns.filter(|&idle| late(now_ns, guest.active_ns, idle)).map(|_| Overdue::Idle),
        Stage::Skipping(_) => partial.then_some(Overdue::Slow),
        Stage::Sending(ref sending) if !sending.fetching => stuck.then_some(Overdue::Slow),
        Stage::Streaming(_) => stuck.then_some(Overdue::Slow),
        // It waits for this server.
        Stage::Sending(_) | Stage::Awaiting | Stage::Unlogged { .. } => None,
    }
}

fn bank_overdue(guest: &bank::Guest, now_ns: u64, patience: Patience) -> Option<Overdue> {
    if guest.partial_since_ns.is_some_and(|since| late(now_ns, since, PARTIAL_FRAME_SECONDS * SECOND_NS)) {
        return Some(Overdue::Slow);
    }
    let opened_ns = guest.connection.slot().opened_ns();
    if guest.session.is_none() && guest.pending.is_none() && late(now_ns, opened_ns, patience.login_ns) {
        return Some(Overdue::Stranger);
    }
    // Who waits for this server is not idle.
    let idle = guest.pending.is_none() && patience.idle_ns.is_some_and(|idle| late(now_ns, guest.active_ns, idle));
    idle.then_some(Overdue::Idle)
}

fn late(now_ns: u64, since_ns: u64, patience_ns: u64) -> bool {
    now_ns.saturating_sub(since_ns) >= patience_ns
}
