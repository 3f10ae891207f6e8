//! What waits for the disk.

use raft::StateRole;

use super::event::Action;
use super::parts::Pending;
use super::state::Core;
use crate::base::vocab::Lsn;

impl Core {
    /// The log is cut after this record.
    pub(super) fn cut_pending(&mut self, after: Lsn) {
        for pending in self.pending.iter_mut().filter(|pending| pending.needs > after) {
            pending.is_cut = true;
            pending.messages.clear();
        }
    }

    /// Tells raft what is on disk, and sends what has waited for it. Returns whether there was anything.
    pub(super) fn persisted(&mut self) -> bool {
        let is_there = |pending: &Pending| !pending.is_cut && pending.needs <= self.on_disk;
        let Some(last) = self.pending.iter().rposition(is_there) else { return false };
        // What needs less comes first, but for what was cut.
        let mut number = 0;
        for pending in self.pending.drain(..=last) {
            number = pending.number;
            self.actions.extend(pending.messages.into_iter().map(Action::Send));
        }
        self.node.on_persist_ready(number);
        true
    }

    /// What raft is asked for votes with waits for the disk; so where a leader resumes and messages are lost, they are sent again.
    pub(super) fn repeat_votes(&mut self) {
        let raft = &self.node.raft;
        if self.resumes == Some(raft.term) && raft.state == StateRole::Candidate && self.pending.is_empty() {
            self.actions.extend(self.vote_requests.iter().cloned().map(Action::Send));
        }
    }
}
