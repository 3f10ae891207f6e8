//! What waits for the disk.

use raft::StateRole;

use super::event::Action;
use super::state::Core;
use crate::base::vocab::Lsn;
use crate::process::replica::message::Message;

/// What raft has asked for in one go, and is to be told when it is on disk.
pub(super) struct Pending {
    /// Raft's number for it.
    pub number: u64,
    /// What must be on disk for it, with all before it.
    pub needs: Lsn,
    /// Whether entries of it, or of what was before it, have been cut since. Then its messages promise what is not there any more, and raft
    /// is not told of it but with what comes later.
    pub is_cut: bool,
    /// What may be sent then.
    pub messages: Vec<Message>,
}

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
