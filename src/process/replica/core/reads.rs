//! Rounds of reads: the proof that this node still led after a read was executed.

use super::convert::context;
use super::defect::Defect;
use super::event::Action;
use super::state::Core;

impl Core {
    pub(super) fn reads_wanted(&mut self, round: u64) {
        if self.has(Defect::ReadNotConfirmed) && self.is_leader() {
            self.confirm_reads(round);
        }
        self.reads.wanted = self.reads.wanted.max(round);
        if self.reads.asked <= self.reads.confirmed {
            self.repeat_reads();
        }
    }

    /// Asks raft for the last round that is wanted, unless it is confirmed. Raft forgets that silently before the first commit of a term,
    /// and messages are lost, so it is repeated.
    pub(super) fn repeat_reads(&mut self) {
        if self.is_leader() && self.reads.wanted > self.reads.confirmed {
            self.reads.asked = self.reads.wanted;
            self.node.read_index(context(self.reads.wanted));
        }
    }

    /// An entry was proposed.
    pub(super) fn tie_reads(&mut self, index: u64) {
        let reads = &mut self.reads;
        if reads.wanted > reads.tied.max(reads.confirmed) {
            reads.tied = reads.wanted;
            reads.ties.push_back((index, reads.wanted));
        }
    }

    /// Raft has confirmed a round.
    pub(super) fn confirm_reads(&mut self, round: u64) {
        if round > self.reads.confirmed {
            self.reads.confirmed = round;
            self.actions.push_back(Action::ConfirmReads(round));
            self.repeat_reads();
        }
    }

    /// Entries up to this one are committed, in this term.
    pub(super) fn confirm_ties(&mut self, committed: u64) {
        while let Some((_, round)) = self.reads.ties.pop_front_if(|(index, _)| *index <= committed) {
            self.confirm_reads(round);
        }
    }

    /// This node does not lead any more, and all reads that waited are dropped.
    pub(super) fn forget_reads(&mut self) {
        self.reads.ties.clear();
        (self.reads.tied, self.reads.asked) = (0, 0);
    }
}
