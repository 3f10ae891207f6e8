//! Remaking the books: shared memory holds operations that this instance carried out as the primary, and that the cluster has not
//! committed and never will. They cannot be undone one by one, since keys and tallies have no history. Or this instance was so far behind
//! that another has sent it a snapshot. So every process that has the books ends at once, the tables are filled again from the snapshot
//! and the log as far as that is committed, and all start again.
//!
//! Nobody was shown any of these operations. Clients lose their connections, since what is queued for them may show them. The cache
//! process knows nothing of the books, and stays.

use log::Level;

use super::event::Action;
use super::slot::{Slot, SlotId, State, nanoseconds};
use super::state::{REMAKING, Remake, Supervisor, Until, Upgrade};

impl Supervisor {
    /// Whether the process of a slot has the books, so that it ends when they are remade.
    pub(super) fn has_books(id: SlotId) -> bool {
        id != SlotId::Cache
    }

    /// Whether the books are to be remade.
    pub(super) fn is_remaking(&self) -> bool {
        self.remake != Remake::No
    }

    /// The replica process has ended because the books are to be remade.
    pub(super) fn begin_remake(&mut self, now_ns: u64) {
        if self.is_remaking() {
            return;
        }
        self.remake = Remake::Wanted { not_before_ns: now_ns };
        let text = "the books are remade from what the cluster has committed: workers, journal process and replica process end, and \
                    start again";
        self.say(Level::Warn, text.to_owned());
        if matches!(self.upgrade, Upgrade::Checking { .. }) {
            self.give_up_upgrade(REMAKING);
        }
        if let Some(pending) = self.request.take_if(|pending| matches!(pending.until, Until::Gone { .. })) {
            self.act(Action::Answer(pending.id, Err("all workers end, since the books are remade".to_owned())));
        }
    }

    /// Ends the processes that have the books; has them remade when all are gone.
    pub(super) fn remake_step(&mut self, now_ns: u64) {
        let Remake::Wanted { not_before_ns } = self.remake else { return };
        let mut kills = Vec::new();
        for (id, slot) in self.slots_mut() {
            if Self::has_books(id) && slot.may_be_killed() {
                slot.set_killed(true);
                kills.push(Action::Kill(id));
            }
        }
        self.actions.extend(kills);
        if !self.are_books_free() {
            return;
        }
        if self.is_stopping() {
            // Whoever starts next reads the journal anyway. There is nothing to write: what is not on disk was not committed.
            (self.journal, self.replica, self.remake) = (None, None, Remake::No);
        } else if now_ns >= not_before_ns {
            self.remake = Remake::Asked;
            self.act(Action::Remake);
        }
    }

    /// Whether all processes are gone that have the books.
    pub(super) fn are_books_free(&self) -> bool {
        let gone = |slot: &Slot| matches!(slot.state, State::Empty { .. } | State::Unsettled { .. });
        self.workers.iter().flatten().chain(&self.journal).chain(&self.replica).all(gone)
    }

    /// When [`Supervisor::remake_step`] has something to do, if no process ends before.
    pub(super) fn next_remake_ns(&self) -> Option<u64> {
        match self.remake {
            Remake::Wanted { not_before_ns } => Some(not_before_ns),
            Remake::No | Remake::Asked => None,
        }
    }

    /// The driver has remade the books, and closed what dead workers had left: all start again.
    pub(super) fn remade(&mut self, now_ns: u64) {
        if self.remake != Remake::Asked {
            return;
        }
        self.remake = Remake::No;
        self.remake_backoff.after_start();
        self.say(Level::Info, "the books are remade, as the cluster has committed them".to_owned());
        (0..self.workers.len()).for_each(|index| self.settled(index));
        self.start_due(now_ns);
    }

    /// It is tried again later; where that has no prospect, the instance ends.
    pub(super) fn not_remade(&mut self, now_ns: u64, why: &str, has_prospect: bool) {
        if self.remake != Remake::Asked {
            return;
        }
        let wait = self.remake_backoff.after_failure();
        let failed = self.remake_backoff.failed();
        self.remake = Remake::Wanted { not_before_ns: now_ns + nanoseconds(wait) };
        if !has_prospect {
            self.say(Level::Error, format!("the books cannot be remade: {why}"));
            self.stop_at_once(now_ns);
        } else if failed.is_power_of_two() {
            let wait = wait.as_millis();
            let text = format!("the books cannot be remade: {why}; attempt {failed}, the next in {wait} ms");
            self.say(Level::Warn, text);
        }
    }
}
