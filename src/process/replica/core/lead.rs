//! What a leader does beside raft: the gate, proposals, handing over, changes of membership.

use super::check::{Own, check};
use super::convert;
use super::defect::Defect;
use super::event::{Action, Control, Refusal};
use super::ready::to_raft;
use super::state::{Answer, Core};
use crate::base::limits::MAX_REPLICAS;
use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::store::cluster::{Change, ChangeKind, NodeId};

impl Core {
    /// A peer's message.
    pub(super) fn message(&mut self, mut message: Message) {
        let raft = &self.node.raft;
        let own = Own {
            node: self.settings.node,
            term: raft.term,
            committed: raft.raft_log.committed,
            log: self.log(),
            leads: self.is_leader(),
        };
        if let Err(what) = check(&own, &message) {
            self.actions.push_back(Action::Malformed { from: message.from, what });
            return;
        }
        match message.kind {
            // Only one message's records are kept for the time after a cut. It comes again, as if it were lost.
            MessageKind::Append if self.held.is_some() && !message.entries.is_empty() => return,
            MessageKind::Snapshot if self.held.is_some() => return,
            // There is no room for more entries. What the message says of those that are here is heard nevertheless: if it were not, a
            // node that does not know what of them is committed would never learn it, and never have room.
            MessageKind::Append if self.log().len() >= self.settings.entries_kept.saturating_mul(2) => {
                let last = self.log().last_index();
                message.entries.retain(|entry| entry.index <= last);
            }
            MessageKind::TransferLeader => {
                if self.is_leader() && message.term == self.node.raft.term {
                    self.transfer(message.from);
                }
                return;
            }
            MessageKind::TimeoutNow if !self.can_be_asked_to_lead() => return,
            _ => {}
        }
        let raw = convert::to_raft(&message);
        self.arriving_snapshot = message.snapshot;
        self.arriving = message.entries;
        // It refuses what a node says that is no member, and that is right.
        let _ = self.node.step(raw);
    }

    /// Whether all that a leader of one voter takes for granted is there.
    fn can_be_asked_to_lead(&self) -> bool {
        let log = &self.node.raft.raft_log;
        self.held.is_none() && log.persisted == log.last_index()
    }

    /// Looks whether this node has become leader, or is it no more. Returns whether something follows from that.
    pub(super) fn look_at_role(&mut self) -> bool {
        let (term, leads) = (self.node.raft.term, self.is_leader());
        if leads && self.leads.is_none_or(|(led, _)| led != term) {
            self.leads = Some((term, self.log().last_index() + 1));
            (self.resumes, self.hands_over) = (None, None);
            self.vote_requests.clear();
            // All that was executed before is in the first entry of the term; ends that were noted may be of a log that was cut since.
            self.ends.clear();
            self.forget_reads();
            self.ask_for_term(term);
            return true;
        }
        let votes = self.members.voters.iter().any(|voter| voter.node == self.settings.node);
        if leads && !votes {
            // It was removed by the leader before, and raft would let it go on without proposing anything.
            self.node.raft.become_follower(term, raft::INVALID_ID);
            return true;
        }
        if leads {
            return false;
        }
        if self.leads.take().is_some() {
            self.hands_over = None;
            self.ends.clear();
            self.forget_reads();
        }
        let resumes = self
            .resumes
            .is_some_and(|before| self.node.raft.state == raft::StateRole::Candidate && self.node.raft.term == before);
        if !resumes {
            self.resumes = None;
            self.vote_requests.clear();
        }
        if self.gate_is_open && !resumes {
            self.ask(Action::CloseGate, Answer::Gate);
            return true;
        }
        if !self.gate_is_open && self.executed > self.log().last() {
            let keep = self.log().last();
            self.end(Action::Remake { keep });
            return true;
        }
        if std::mem::take(&mut self.leaves) {
            self.actions.push_back(Action::Left);
        }
        false
    }

    /// The record of the term is in the ring.
    pub(super) fn term_record(&mut self, lsn: Lsn) {
        if self.gate_is_open {
            self.executed = self.executed.max(lsn);
        }
        self.arriving = vec![self.next_entry(lsn, EntryKind::Term)];
    }

    /// The entry that follows in this term, with records up to `last`.
    fn next_entry(&self, last: Lsn, kind: EntryKind) -> EntryRange {
        let log = self.log();
        let (index, term, first) = (log.last_index() + 1, self.node.raft.term, Lsn(log.last().0 + 1));
        EntryRange { index, term, first, last, kind }
    }

    /// Opens the gate if it can be. Returns whether it was opened.
    pub(super) fn open_gate(&mut self) -> bool {
        let Some((term, index)) = self.leads else { return false };
        let log = &self.node.raft.raft_log;
        let first = log.store.log.last_of(index).unwrap_or_default();
        let is_ready = log.committed >= index && self.executed >= first || self.has(Defect::GateOpenedEarly);
        if self.gate_is_open || self.hands_over.is_some() || self.leaves || !is_ready || self.held.is_some() {
            return false;
        }
        self.gate_is_open = true;
        // Everything that the log has is carried out.
        self.tell();
        self.actions.push_back(Action::OpenGate { term });
        true
    }

    /// Whether something was executed that is to be proposed now.
    pub(super) fn may_propose(&self) -> bool {
        let last = self.log().last();
        let ahead = last.0.saturating_sub(self.told_commit.0);
        let has_room = self.hands_over.is_some() || ahead < self.settings.records_ahead;
        self.leads.is_some() && self.executed > last && has_room && self.node.raft.lead_transferee.is_none()
    }

    /// Notes that an operation ends with record `lsn`, on the primary, before the core is told that all up to there was executed. An entry
    /// ends with an operation, and of which records one consists, is not known here. What is not noted is only no place to cut at: entries
    /// get longer where none is near.
    pub fn note_end(&mut self, lsn: Lsn) {
        let last = self.log().last();
        if lsn <= last.max(self.ends.back().copied().unwrap_or_default()) {
            return;
        }
        // As few as show where entries that are as long as can be may end.
        while !self.ends.is_empty() {
            let before = self.ends.len().checked_sub(2).map_or(last, |at| self.ends[at]);
            if lsn.0 - before.0 > self.settings.entry_records {
                break;
            }
            self.ends.pop_back();
        }
        self.ends.push_back(lsn);
    }

    /// Where the next entry ends of what is executed up to `upto`, which is behind the log and ends an operation.
    pub(super) fn next_cut(&mut self, upto: Lsn) -> Lsn {
        let last = self.log().last();
        let most = Lsn(last.0 + self.settings.entry_records);
        while self.ends.front().is_some_and(|end| *end <= last) {
            self.ends.pop_front();
        }
        if upto <= most {
            return upto;
        }
        if self.has(Defect::CutsInsideOperations) {
            return most;
        }
        let near = self.ends.iter().rfind(|end| **end <= most).or(self.ends.front());
        near.copied().unwrap_or(upto).min(upto)
    }

    /// Makes an entry of what was executed. Returns whether it did.
    pub(super) fn propose(&mut self) -> bool {
        if !self.may_propose() {
            return false;
        }
        let upto = self.next_cut(self.executed);
        self.propose_upto(upto)
    }

    fn propose_upto(&mut self, upto: Lsn) -> bool {
        let entry = self.next_entry(upto, EntryKind::Operations);
        let index = entry.index;
        self.arriving = vec![entry];
        if self.node.propose(Vec::new(), Vec::new()).is_err() {
            return false;
        }
        self.tie_reads(index);
        true
    }

    /// Hands leadership over as soon as everything is proposed. Returns whether anything was done.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some((to, begun)) = self.hands_over else { return false };
        let has_gone_wrong = begun && self.node.raft.lead_transferee != Some(to.number());
        if has_gone_wrong {
            self.hands_over = None;
            self.actions.push_back(Action::TransferFailed(to));
            if std::mem::take(&mut self.leaves) {
                self.actions.push_back(Action::Left);
            }
            return true;
        }
        if begun || self.gate_is_open || self.executed > self.log().last() {
            return false;
        }
        self.hands_over = Some((to, true));
        self.node.transfer_leader(to.number());
        true
    }

    /// Leadership is to go to `to`.
    pub(super) fn transfer(&mut self, to: NodeId) {
        let own = self.settings.node;
        if !self.is_leader() && to == own && self.node.raft.leader_id != 0 {
            self.node.transfer_leader(own.number());
            return;
        }
        let votes = self.members.voters.iter().any(|voter| voter.node == to);
        if !self.is_leader() || !votes || to == own || self.hands_over.is_some() {
            self.actions.push_back(Action::TransferFailed(to));
            return;
        }
        self.hands_over = Some((to, false));
        if self.gate_is_open {
            self.ask(Action::CloseGate, Answer::Gate);
        }
    }

    /// This node is about to stop.
    pub(super) fn leave(&mut self) {
        let prs = self.node.raft.prs();
        let others = self.members.voters.iter().filter(|voter| voter.node != self.settings.node);
        let active = others.filter_map(|voter| {
            let progress = prs.get(voter.node.number()).filter(|progress| progress.recent_active)?;
            Some((progress.matched, voter.node))
        });
        let best = active.max();
        match best {
            Some((_, to)) if self.is_leader() => {
                self.leaves = true;
                if self.hands_over.is_none() {
                    self.transfer(to);
                }
            }
            _ => self.actions.push_back(Action::Left),
        }
    }

    /// A change of membership is wanted.
    pub(super) fn change(&mut self, change: Change) {
        match self.refusal(&change) {
            Some(why) => self.actions.push_back(Action::ChangeRefused { change, why }),
            None => self.ask(Action::AppendControl(Control::Change(change.clone())), Answer::Change(change)),
        }
    }

    fn refusal(&self, change: &Change) -> Option<Refusal> {
        let node = change.member.node;
        let next = self.members.after(change);
        if !self.is_leader() {
            return Some(Refusal::NotLeader);
        }
        if next == self.members {
            return Some(Refusal::NoEffect);
        }
        if next.all().count() > usize::from(MAX_REPLICAS) {
            return Some(Refusal::Full);
        }
        if !self.gate_is_open || self.hands_over.is_some() || self.node.raft.has_pending_conf() {
            return Some(Refusal::Busy);
        }
        match change.kind {
            ChangeKind::Remove if node == self.settings.node => Some(Refusal::Leader),
            ChangeKind::Promote if self.is_behind(node) => Some(Refusal::Behind),
            _ => None,
        }
    }

    /// Whether a learner is more than a few messages behind.
    fn is_behind(&self, node: NodeId) -> bool {
        let progress = self.node.raft.prs().get(node.number());
        // One that has acknowledged nothing lacks what was before the first entry, too.
        let matched = progress.filter(|progress| progress.matched > 0);
        let matched = matched.and_then(|progress| self.log().last_of(progress.matched));
        matched.is_none_or(|matched| matched.0 + 4 * self.settings.message_records < self.told_commit.0)
    }

    /// The record of a change is in the ring.
    pub(super) fn change_record(&mut self, change: Change, lsn: Lsn) {
        self.executed = self.executed.max(Lsn(lsn.0.saturating_sub(1)));
        while self.log().last().0 + 1 < lsn.0 {
            let upto = self.next_cut(Lsn(lsn.0 - 1));
            if !self.propose_upto(upto) {
                break;
            }
            self.ready();
        }
        let raw = to_raft(&change);
        self.arriving = vec![self.next_entry(lsn, EntryKind::Change(change))];
        self.executed = self.executed.max(lsn);
        match self.node.propose_conf_change(Vec::new(), raw) {
            Ok(()) => self.tie_reads(self.log().last_index() + 1),
            Err(error) => log::error!("raft refuses a change that it could have: {error}"),
        }
    }
}
