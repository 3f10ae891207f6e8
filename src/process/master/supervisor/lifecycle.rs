//! The life cycle of a child process: started, late, killed, ended, settled, started again.

use log::Level;

use super::event::{Action, End, Ended, Observation};
use super::slot::{Slot, SlotId, State, nanoseconds};
use super::state::{JOURNAL_PATIENCE, Phase, Supervisor};

impl Supervisor {
    /// Fills every slot whose time has come, if it is wanted.
    pub(super) fn start_due(&mut self, now_ns: u64) {
        let is_due = |slot: &Slot| matches!(slot.state, State::Empty { start_at_ns } if now_ns >= start_at_ns);
        let due: Vec<_> = self.slots_mut().filter(|(_, slot)| is_due(slot)).map(|(id, _)| id).collect();
        for id in due.into_iter().filter(|&id| self.is_wanted(id, now_ns)).collect::<Vec<_>>() {
            if let Some(slot) = self.slot_mut(id) {
                slot.state = State::Starting;
                self.act(Action::Start(id));
            }
        }
    }

    pub(super) fn started(&mut self, id: SlotId) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.state = State::Running { killed: false, of_old_program: false };
        slot.leaving = false;
        let failed = slot.backoff.after_start();
        let back = std::mem::replace(&mut slot.filled_before, true);
        match (back, failed) {
            (false, 0) => {}
            (true, 0) => self.say(Level::Info, format!("{id} is back")),
            (_, failed) => self.say(Level::Info, format!("{id} is back, after {failed} starts that failed")),
        }
    }

    /// The slot stays empty and is tried again later; everybody else is served meanwhile.
    pub(super) fn not_started(&mut self, now_ns: u64, id: SlotId, why: &str) {
        let Some(slot) = self.slot_mut(id) else { return };
        let wait = slot.backoff.after_failure();
        let failed = slot.backoff.failed();
        slot.state = State::Empty { start_at_ns: now_ns + nanoseconds(wait) };
        self.act(Action::CountFailedStart(id));
        // The first, the second, the fourth …: a shortage that lasts must not fill the log.
        if failed.is_power_of_two() {
            let wait = wait.as_millis();
            self.say(Level::Warn, format!("{id} cannot be started: {why}; attempt {failed}, the next in {wait} ms"));
        }
    }

    /// The signal is sent again at the next observation.
    pub(super) fn not_killed(&mut self, id: SlotId, why: &str) {
        if let Some(slot) = self.slot_mut(id) {
            slot.set_killed(false);
            self.say(Level::Warn, format!("{id} cannot be killed: {why}; trying again"));
        }
    }

    pub(super) fn ended(&mut self, now_ns: u64, id: SlotId, end: &End) {
        let (stopping, remaking) = (self.is_stopping(), self.is_remaking());
        let Some(slot) = self.slot_mut(id).filter(|slot| slot.is_running()) else { return };
        let told_to_stop = stopping && matches!(id, SlotId::Worker(_));
        // It is nobody's failure, and no reason to wait.
        let ended_to_remake = remaking && Self::has_books(id) && !slot.may_be_killed();
        let expected = match end.how {
            Ended::Orderly => slot.leaving || told_to_stop,
            Ended::BooksStale => true,
            Ended::Crashed | Ended::JournalFailed => ended_to_remake,
        };
        let start_at_ns = if ended_to_remake {
            now_ns
        } else {
            let is_failure = !expected || end.how == Ended::BooksStale;
            slot.backoff.after_end(now_ns, end.failed_early && is_failure)
        };
        slot.state = match id {
            SlotId::Worker(_) => State::Unsettled { start_at_ns },
            SlotId::Journal | SlotId::Cache | SlotId::Replica => State::Empty { start_at_ns },
        };
        if !expected {
            self.act(Action::CountDeath(id));
        }
        let End { pid, text, .. } = end;
        match id {
            SlotId::Worker(index) => {
                let level = if expected { Level::Info } else { Level::Warn };
                self.say(level, format!("worker {index} (pid {pid}) ended: {text}"));
            }
            SlotId::Journal => self.journal_ended(now_ns, expected, end),
            // One that was asked to leave is replaced by one of another program, or needed no more.
            SlotId::Cache if expected => {}
            SlotId::Cache => {
                let text = format!("the cache process (pid {pid}) ended: {text}; requests wait for its successor");
                self.say(Level::Warn, text);
            }
            SlotId::Replica if end.how == Ended::BooksStale => self.begin_remake(now_ns),
            SlotId::Replica if expected => {}
            SlotId::Replica => {
                let text = format!("the replica process (pid {pid}) ended: {text}; replies wait for its successor");
                self.say(Level::Warn, text);
            }
        }
    }

    fn journal_ended(&mut self, now_ns: u64, expected: bool, end: &End) {
        let End { pid, text, how, .. } = end;
        if *how == Ended::JournalFailed {
            // A successor could do no better, and workers would wait for the journal for ever.
            self.journal = None;
            self.journal_failed = true;
            return self.stop_at_once(now_ns);
        }
        if !expected {
            let text = format!("the journal process (pid {pid}) ended: {text}; replies wait for its successor");
            return self.say(Level::Warn, text);
        }
        // Asked to leave while there are workers, it is replaced by one of another program.
        if self.is_stopping() && self.has_no_workers() {
            self.journal = None;
        }
    }

    /// Has what dead workers left settled: their operations first, then their connections.
    pub(super) fn settle_dead_workers(&mut self) {
        if self.is_remaking() {
            // What they had begun goes with the books, and their connections with it.
            return;
        }
        let unsettled = |slot: &Option<Slot>| matches!(slot, Some(Slot { state: State::Unsettled { .. }, .. }));
        let dead = self.workers.iter().enumerate().filter(|(_, slot)| unsettled(slot));
        let actions: Vec<_> = dead.map(|(index, _)| Action::Settle(index)).collect();
        self.actions.extend(actions);
    }

    pub(super) fn settled(&mut self, index: usize) {
        let Some(slot) = self.slot_mut(SlotId::Worker(index)) else { return };
        let State::Unsettled { start_at_ns } = slot.state else { return };
        slot.state = State::Empty { start_at_ns };
        if slot.leaving && !slot.refill {
            self.workers[index] = None;
            return self.act(Action::CloseLane(index));
        }
        (slot.leaving, slot.refill) = (false, false);
    }

    /// Kills processes without a heartbeat for too long, and, when an orderly stop has taken too long, those that are left, but for the
    /// journal process: what that has not written would be lost.
    pub(super) fn kill_unresponsive(&mut self, now_ns: u64, seen: &Observation) {
        let out_of_time = matches!(self.phase, Phase::Stopping { deadline_ns, .. } if now_ns >= deadline_ns);
        let in_grace = now_ns < self.grace_until_ns;
        let mut late = Vec::new();
        for (id, slot) in self.slots_mut() {
            let (heartbeat_ns, patience_ns) = match id {
                SlotId::Worker(index) => (seen.workers[index].heartbeat_ns, seen.worker_timeout_ns),
                SlotId::Journal => (seen.journal_heartbeat_ns, seen.worker_timeout_ns.saturating_mul(JOURNAL_PATIENCE)),
                SlotId::Cache => (seen.cache_heartbeat_ns, seen.worker_timeout_ns),
                SlotId::Replica => (seen.replica_heartbeat_ns, seen.worker_timeout_ns),
            };
            let silent_ns = now_ns.saturating_sub(heartbeat_ns);
            let is_late = silent_ns >= patience_ns && !in_grace;
            if slot.may_be_killed() && (is_late || out_of_time && id != SlotId::Journal) {
                slot.set_killed(true);
                let why = if is_late {
                    format!("no life for {} ms", silent_ns / 1_000_000)
                } else {
                    "the stop has taken too long".to_owned()
                };
                late.extend([Action::Say(Level::Warn, format!("{id}: {why}; killing it")), Action::Kill(id)]);
            }
        }
        self.actions.extend(late);
    }

    pub(super) fn kill_all_but_journal(&mut self) {
        let mut kills = Vec::new();
        for (id, slot) in self.slots_mut() {
            if id != SlotId::Journal && slot.may_be_killed() {
                slot.set_killed(true);
                kills.push(Action::Kill(id));
            }
        }
        self.actions.extend(kills);
    }

    /// After the third order to stop, a journal process that cannot be started is not waited for.
    pub(super) fn give_up_journal(&mut self) {
        if self.journal.as_ref().is_some_and(|slot| !slot.is_running()) {
            self.journal = None;
            let text = "the journal process cannot be started, and what it has not written is lost";
            self.say(Level::Error, text.to_owned());
        }
    }

    /// Asks a process to leave; with `refill`, another one takes its place.
    pub(super) fn ask_to_leave(&mut self, id: SlotId, refill: bool) {
        if let Some(slot) = self.slot_mut(id).filter(|slot| slot.is_running()) {
            (slot.leaving, slot.refill) = (true, refill);
            self.act(Action::AskToLeave(id));
        }
    }

    /// When the last worker of a stopping instance is gone, and its replica process, nothing more comes to be journaled.
    pub(super) fn stop_journal(&mut self) {
        let open = self.journal.as_ref().is_some_and(|slot| slot.is_running() && !slot.leaving);
        if open && self.is_stopping() && self.has_no_workers() && self.replica.is_none() {
            self.ask_to_leave(SlotId::Journal, false);
        }
    }

    /// When no workers are left, or the stop has taken too long, a stopping instance needs its cache process and its replica process no more.
    /// One that cannot be started is not waited for.
    pub(super) fn stop_unneeded(&mut self, id: SlotId, now_ns: u64) {
        if !self.is_stopping() || self.is_wanted(id, now_ns) {
            return;
        }
        match self.slot_mut(id) {
            Some(slot) if matches!(slot.state, State::Empty { .. }) => self.remove(id),
            Some(slot) if slot.is_running() && !slot.leaving => self.ask_to_leave(id, false),
            _ => {}
        }
    }

    /// There is to be no such process any more.
    fn remove(&mut self, id: SlotId) {
        match id {
            SlotId::Worker(index) => self.workers[index] = None,
            SlotId::Journal => self.journal = None,
            SlotId::Cache => self.cache = None,
            SlotId::Replica => self.replica = None,
        }
    }
}
