//! Sessions that wait for room in the journal's ring.

use crate::base::vocab::Lsn;
use crate::service::replies::waits::Waits;

/// Those that found no room in their last turn, in the order in which they did.
///
/// They go on before everybody else once there is room again. Those whose replies wait are woken at the same time, and if they took the room
/// first, a session that found none once would never find any.
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

    /// Whether somebody waits and there is more room than when they last tried: `limit` is the last number that can be given out now. Numbers
    /// are taken all the time, so nothing else makes room.
    #[must_use]
    pub fn has_room(&self, limit: Lsn) -> bool {
        !self.slots.is_empty() && limit != self.tried
    }

    /// Takes all out, if there is more room than when they last tried; `each` is called with their slots. Who finds none joins again.
    pub fn take(&mut self, limit: Lsn, each: impl FnMut(u32)) {
        if self.has_room(limit) {
            self.tried = limit;
            self.slots.drain(..).for_each(each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_try_again_in_their_order_each_time_that_there_is_more_room() {
        let mut queue = RoomQueue::default();
        let mut tries = |limit, joining: &[u32]| {
            queue.slots.extend(joining);
            let (has_room, mut slots) = (queue.has_room(Lsn(limit)), Vec::new());
            queue.take(Lsn(limit), |slot| slots.push(slot));
            assert_eq!((has_room, queue.is_empty()), (!slots.is_empty(), has_room || joining.is_empty()));
            slots
        };
        assert!(tries(9, &[]).is_empty());
        assert_eq!(tries(9, &[3, 1]), [3, 1], "nobody has tried with this limit");
        assert!(tries(9, &[1]).is_empty(), "it was no room for that one");
        assert_eq!(tries(12, &[2]), [1, 2]);
    }
}
