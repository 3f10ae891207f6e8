//! Leadership of a cluster is handed over before this instance stops, and before an upgrade replaces its processes: its clients go on
//! with another instance at once, and do not wait for an election.
//!
//! The order of a stop: no more connections are accepted; leadership is handed over; the workers stop; the replica process leaves, which
//! until then has told them what is committed, so that they could send it; then the journal process. The order of an upgrade: the new
//! program is executed; leadership is handed over; the replica process, the journal process and the cache process are replaced, then
//! one worker after the other. By then this instance follows, and nobody waits for what is replaced.
//!
//! Nobody is waited for that may not answer: after [`HAND_OVER_SECONDS`], when the replica process is gone, and when a second order to stop
//! comes, it goes on without. Then the others elect a primary.

use log::Level;

use super::event::{Action, Observation};
use super::slot::{Slot, SlotId};
use super::state::{HandingOver, SECOND_NS, Supervisor};
use crate::base::limits::HAND_OVER_SECONDS;

impl Supervisor {
    /// Has the replica process hand leadership over, and goes on when that is done; at once where there is no such process.
    pub(super) fn begin_hand_over(&mut self, now_ns: u64) {
        self.handing_over = None;
        if !self.replica.as_ref().is_some_and(Slot::may_be_killed) {
            return self.handed_over();
        }
        self.hand_overs += 1;
        let deadline_ns = now_ns + HAND_OVER_SECONDS * SECOND_NS;
        self.handing_over = Some(HandingOver { number: self.hand_overs, deadline_ns });
        self.act(Action::HandOverLeadership(self.hand_overs));
    }

    /// Goes on when leadership is handed over, or need not be waited for.
    pub(super) fn hand_over_step(&mut self, now_ns: u64, seen: &Observation) {
        let Some(HandingOver { number, deadline_ns }) = self.handing_over else { return };
        let why = if seen.hand_overs_done >= number {
            None
        } else if !self.replica.as_ref().is_some_and(Slot::may_be_killed) {
            Some(format!("{} has ended", SlotId::Replica))
        } else if now_ns >= deadline_ns {
            Some(format!("that has taken more than {HAND_OVER_SECONDS} s"))
        } else {
            return;
        };
        self.handing_over = None;
        if let Some(why) = why {
            self.say(Level::Warn, format!("leadership was not handed over: {why}; the others elect a primary"));
        }
        self.handed_over();
    }

    /// What waited for it goes on.
    fn handed_over(&mut self) {
        if self.is_stopping() {
            self.act(Action::TellWorkersToStop);
        } else {
            self.begin_rolling();
        }
    }
}
