//! The sessions of a service in one worker that wait, and who has to be woken for them.

use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::ENOUGH_FOR_A_GROUP;
use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::service::interface::Patience;
use crate::service::replies::after_queue::AfterQueue;
use crate::service::replies::commit_queue::CommitQueue;
use crate::service::replies::primary_queue::PrimaryQueue;
use crate::service::replies::room_queue::RoomQueue;
use crate::service::replies::visibility::Visibility;
use crate::service::replies::waits::Waits;
use crate::service::sessions::Sessions;
use crate::store::connection::ServiceId;
use crate::store::instance::control::WorkerRow;
use crate::store::ledger::Shows;

/// How soon it is looked again whether the journal has room, for those that wait for that. A commit wakes the worker earlier, but the room
/// may come a moment after it, and that nobody tells.
const ROOM_PATIENCE: Duration = Duration::from_millis(1);

/// How soon it is looked again what has been applied where nobody tells, for those that wait for that.
const APPLY_PATIENCE: Duration = Duration::from_millis(5);

/// Those that wait.
pub struct WaitingSessions {
    commits: CommitQueue,
    room: RoomQueue,
    after: AfterQueue,
    primary: PrimaryQueue,
    service: ServiceId,
    row: &'static WorkerRow,
    recorder: Arc<EventFd>,
}

impl WaitingSessions {
    /// None of `service` in the worker of `row`. `recorder` wakes the process that takes records from the ring, and confirms reads.
    #[must_use]
    pub fn new(service: ServiceId, row: &'static WorkerRow, recorder: Arc<EventFd>) -> Self {
        let (commits, room) = (CommitQueue::default(), RoomQueue::default());
        let (after, primary) = (AfterQueue::default(), PrimaryQueue::default());
        WaitingSessions { commits, room, after, primary, service, row, recorder }
    }

    /// Begins a turn of the loop: the worker need not be woken any more.
    pub fn begin_turn(&self) {
        self.row.await_visible(self.service, None);
    }

    /// Puts the session of `slot` in where it waits, after its turn.
    #[inline]
    pub fn join(&mut self, slot: u32, waits: &mut Waits) {
        self.commits.join(slot, waits);
        self.room.join(slot, waits);
        if let Some(wait) = waits.after.filter(|_| waits.is_behind) {
            self.after.join(slot, wait);
        }
        if let Some(until_ns) = waits.primary_until_ns.filter(|_| waits.is_leaderless) {
            self.primary.join(slot, until_ns);
        }
        let is_waiting = waits.is_queued || waits.is_queued_for_room || waits.is_behind || waits.is_leaderless;
        if is_waiting != waits.is_waiting {
            waits.is_waiting = is_waiting;
            self.count(is_waiting);
        }
    }

    /// Counts a session that begins or ends to wait, for whatever reasons.
    fn count(&self, is_waiting: bool) {
        let waiting = &self.row.stats.services[self.service.index()].waiting;
        waiting.set(if is_waiting { waiting.get() + 1 } else { waiting.get().saturating_sub(1) });
    }

    /// Takes out a session that has ended.
    pub fn leave(&mut self, slot: u32, waits: &Waits) {
        if let Some(wait) = waits.after {
            self.after.leave(slot, wait);
        }
        self.primary.leave(slot);
        if waits.is_waiting {
            self.count(false);
        }
    }

    /// Wakes the process that takes records if it sleeps although there are some, or a round of reads is wanted.
    pub fn wake_recorder(&self, visibility: &Visibility) {
        let sequencer = visibility.sequencer;
        if sequencer.is_journaled() && sequencer.must_be_woken(&visibility.order) {
            self.recorder.send();
        }
    }

    /// Does that in the middle of a turn of the loop if so many records are there that it is worth it.
    #[inline]
    pub fn wake_recorder_for_a_group(&self, visibility: &Visibility) {
        let unsynced = visibility.order.now().lsn.0.saturating_sub(visibility.sequencer.on_disk().0.0);
        if unsynced >= ENOUGH_FOR_A_GROUP {
            self.wake_recorder(visibility);
        }
    }

    /// Schedules the sessions that can go on: of each, `waits` gives what it waits for.
    pub fn schedule<D>(
        &mut self,
        visibility: &mut Visibility,
        now_ns: u64,
        sessions: &mut Sessions<D>,
        waits: impl Fn(&mut D) -> &mut Waits,
    ) {
        if visibility.note_gate() {
            // Each finds that it is to be closed.
            let slots: Vec<_> = sessions.iter_mut().map(|session| session.state.connection.index()).collect();
            slots.into_iter().for_each(|slot| sessions.schedule(slot));
        }
        if visibility.room_is_short && self.room.may_try(visibility.sequencer) {
            visibility.room_is_short = false;
            self.room.take(visibility.sequencer, |slot| {
                if let Some(session) = sessions.at(slot) {
                    waits(&mut session.data).is_queued_for_room = false;
                    sessions.schedule(slot);
                }
            });
        }
        if self.commits.first().is_some() {
            let visible = visibility.sequencer.visible();
            while let Some(slot) = self.commits.next(visible) {
                if let Some(session) = sessions.at(slot) {
                    waits(&mut session.data).is_queued = false;
                    sessions.schedule(slot);
                }
            }
        }
        if self.after.first().is_some() {
            self.after.take(visibility.shown(), now_ns, |slot| sessions.schedule(slot));
        }
        if !self.primary.is_empty() {
            let is_known = visibility.standing().primary != 0;
            self.primary.take(is_known, now_ns, |slot| sessions.schedule(slot));
        }
    }

    /// How long the loop may wait, as far as these are concerned. Wakes the process that takes records for those of this turn, and has this
    /// worker woken once what is waited for first may be shown.
    pub fn patience(&self, visibility: &Visibility, now_ns: u64) -> Patience {
        self.wake_recorder(visibility);
        let (first, behind) = (self.commits.first(), self.after.first());
        let sequencer = visibility.sequencer;
        // What is committed next makes room.
        let next = (!self.room.is_empty()).then(|| Lsn(sequencer.committed().0.0 + 1));
        let awaited =
            first.map(|first| first.shows).into_iter().chain(behind.into_iter().chain(next).map(Shows::operation));
        if let Some(awaited) = awaited.min_by_key(|shows| shows.lsn) {
            self.row.await_visible(self.service, Some(awaited));
        }
        let until_applied = match behind {
            None => Patience::Unlimited,
            Some(lsn) if lsn <= visibility.shown() => Patience::None,
            Some(lsn) => {
                // What is committed and not applied is about to be, and nobody tells.
                let is_told = sequencer.is_journaled() && !sequencer.committed().includes(lsn);
                let longest = if is_told { Duration::MAX } else { APPLY_PATIENCE };
                let until_over = self.after.patience(now_ns).unwrap_or_default();
                // Not at once: what is over is noticed in whole milliseconds.
                Patience::AtMost(until_over.clamp(Duration::from_millis(1), longest))
            }
        };
        let is_committed = first.is_some_and(|first| sequencer.visible().includes(first.shows));
        let until_committed = if is_committed { Patience::None } else { Patience::Unlimited };
        let until_room = match self.room.is_empty() {
            true => Patience::Unlimited,
            false if self.room.may_try(sequencer) => Patience::None,
            false => Patience::AtMost(ROOM_PATIENCE),
        };
        let until_known = self.primary.patience().map_or(Patience::Unlimited, Patience::AtMost);
        until_applied.min(until_committed).min(until_room).min(until_known)
    }
}
