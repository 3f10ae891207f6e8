//! Sessions that wait for room in the journal's ring.

use crate::base::vocab::Lsn;
use crate::service::replies::waits::Waits;
use crate::store::ledger::Sequencer;
use crate::store::ledger::sequencer::JournalState;

/// Those that found no room in their last turn, in the order in which they did.
///
/// They go on before everybody else once there is room again, and until then [nobody tries](super::Visibility::room_is_short). Those whose
/// replies wait are woken at the same time, and those who have just sent something come in between: if they took the room first, a session
/// that found none once might never find any.
#[derive(Debug, Default)]
pub struct RoomQueue {
    slots: Vec<u32>,
    /// The last number that could be given out when they last tried.
    tried: Lsn,
}

impl RoomQueue {
    /// Puts the session of `slot` in if it waits for that and is not there.
    #[inline]
    pub fn join(&mut self, slot: u32, waits: &mut Waits) {
        if waits.wants_room() && !waits.is_queued_for_room {
            waits.is_queued_for_room = true;
            self.slots.push(slot);
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there may be more room than when they last tried, or it is to be said that there will be none.
    #[must_use]
    pub fn may_try(&self, sequencer: &Sequencer) -> bool {
        sequencer.limit() != self.tried || sequencer.state() == JournalState::NoSpace
    }

    /// Takes all out, to try again; `each` is called with their slots. Who finds no room joins again.
    pub fn take(&mut self, sequencer: &Sequencer, each: impl FnMut(u32)) {
        self.tried = sequencer.limit();
        self.slots.drain(..).for_each(each);
    }
}
