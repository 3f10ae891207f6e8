//! What raft wants done: what is to be kept, cut, sent, and what is committed.

use raft::Ready;
use raft::eraftpb::{self, ConfChangeSingle, ConfChangeType, ConfChangeV2};

use super::convert::{from_raft, number};
use super::defect::Defect;
use super::event::{Action, HardState};
use super::parts::Pending;
use super::state::Core;
use super::storage::conf_state;
use crate::base::vocab::Lsn;
use crate::process::replica::message::{Message, MessageKind, SnapshotRef};
use crate::store::cluster::{Change, ChangeKind, NodeId};

impl Core {
    /// Does what raft wants, once.
    pub(super) fn ready(&mut self) {
        let mut ready = self.node.ready();
        if !ready.snapshot().is_empty() {
            self.install();
            return;
        }
        self.save();
        let entries = ready.take_entries();
        if !entries.is_empty() && !self.keep(&entries) {
            return;
        }
        let committed = ready.take_committed_entries();
        let confirmed: Vec<u64> = ready.take_read_states().iter().map(|state| number(&state.request_ctx)).collect();
        let messages = self.send(&mut ready);
        let own = if entries.is_empty() { Lsn(0) } else { self.log().last() };
        let before = self.pending.iter().filter(|pending| !pending.is_cut).map(|pending| pending.needs).max();
        let needs = before.unwrap_or_default().max(own);
        self.pending.push_back(Pending { number: ready.number(), needs, is_cut: false, messages });
        self.node.advance_append_async(ready);
        self.persisted();
        for entry in &committed {
            self.committed(entry.index);
        }
        if self.is_leader() {
            confirmed.into_iter().for_each(|round| self.confirm_reads(round));
        }
    }

    /// Has the hard state saved, if it is another than before.
    ///
    /// Of what is committed, that which raft has handed out: a change of membership is saved before it counts as committed, so that a start
    /// need not look for changes before `commit`.
    fn save(&mut self) {
        let raft = &self.node.raft;
        let commit = raft.raft_log.committed.min(raft.raft_log.persisted).min(self.handed).max(self.saved.commit);
        let state = HardState { term: raft.term, vote: NodeId::new(raft.vote), commit };
        let is_promise = (state.term, state.vote) != (self.saved.term, self.saved.vote);
        if state != self.saved {
            self.saved = state;
            self.actions.push_back(Action::Save { state, sync: is_promise && !self.has(Defect::VoteNotSynced) });
        }
    }

    /// Takes entries into the log. Returns whether that can be: false if the books are to be remade first.
    fn keep(&mut self, entries: &[eraftpb::Entry]) -> bool {
        let first = entries[0].index;
        let arriving = std::mem::take(&mut self.arriving);
        let ranges: Vec<_> = arriving.into_iter().filter(|range| range.index >= first).collect();
        if first <= self.log().last_index() {
            let after = self.log().last_of(first - 1).unwrap_or_default();
            if after < self.executed {
                self.end(Action::Remake { keep: after });
                return false;
            }
            self.node.mut_store().log.cut_after(first - 1);
            self.generation += 1;
            self.on_disk = self.on_disk.min(after);
            self.cut_pending(after);
            self.actions.push_back(Action::Truncate { after, generation: self.generation });
            self.held = Some(Vec::new());
        }
        let log = &mut self.node.mut_store().log;
        for range in &ranges {
            // They were checked when they came.
            if let Err(error) = log.push(range.clone()) {
                log::error!("raft's log and the records do not fit: {error}");
            }
        }
        match &mut self.held {
            Some(held) => held.extend(ranges),
            None => self.actions.push_back(Action::Append(ranges)),
        }
        true
    }

    /// Sends what need not wait for the disk, and returns the rest.
    fn send(&mut self, ready: &mut Ready) -> Vec<Message> {
        for raw in ready.take_messages() {
            self.actions.extend(self.outgoing(&raw).map(Action::Send));
        }
        let mut waiting = Vec::new();
        for raw in ready.take_persisted_messages() {
            let Some(message) = self.outgoing(&raw) else { continue };
            match message.kind {
                MessageKind::HeartbeatResponse
                | MessageKind::RequestVoteResponse
                | MessageKind::RequestPreVoteResponse => self.actions.push_back(Action::Send(message)),
                MessageKind::AppendResponse if message.reject => self.actions.push_back(Action::Send(message)),
                MessageKind::RequestVote if self.resumes == Some(message.term) => {
                    self.vote_requests.push(message.clone());
                    waiting.push(message);
                }
                _ => waiting.push(message),
            }
        }
        waiting
    }

    /// A message of raft's with the ranges of its entries, or with its snapshot.
    fn outgoing(&self, raw: &eraftpb::Message) -> Option<Message> {
        let mut message = from_raft(raw)?;
        message.entries = raw.entries.iter().map(|entry| self.log().entry(entry.index)).collect::<Option<_>>()?;
        if message.kind == MessageKind::Snapshot {
            let metadata = raw.get_snapshot().get_metadata();
            let (index, term) = (metadata.index, metadata.term);
            let last = self.log().last_of(index)?;
            message.snapshot = Some(SnapshotRef { index, term, last, membership: self.members.clone() });
        }
        Some(message)
    }

    /// An entry is committed, and on this disk.
    fn committed(&mut self, index: u64) {
        self.handed = index;
        let Some(change) = self.log().change_of(index).cloned() else { return };
        let next = self.members.after(&change);
        if index <= self.members_at || next == self.members {
            return;
        }
        match self.node.apply_conf_change(&to_raft(&change)) {
            Ok(_) => (self.members, self.members_at) = (next, index),
            Err(error) => {
                log::error!("entry {index} changes membership as raft cannot: {error}");
                return;
            }
        }
        self.actions.push_back(Action::SaveMembership { membership: self.members.clone(), index });
        self.save();
    }

    /// A snapshot takes the place of the log.
    fn install(&mut self) {
        self.save();
        match self.arriving_snapshot.take() {
            Some(snapshot) => self.end(Action::Install(snapshot)),
            None => log::error!("raft takes over a snapshot that has not come"),
        }
    }

    /// The last thing to do.
    pub(super) fn end(&mut self, action: Action) {
        self.actions.push_back(action);
        self.has_ended = true;
    }

    /// Tells what is new of what is committed, and of who leads.
    pub(super) fn tell(&mut self) {
        self.save();
        let raft = &self.node.raft;
        let committed = raft.raft_log.committed;
        let first_held = self.held.as_ref().and_then(|held| held.first());
        let shown = first_held.map_or(committed, |held| committed.min(held.index - 1));
        let mut upto = self.log().last_of(shown).unwrap_or_default();
        if self.has(Defect::AcknowledgedBeforeQuorum) && self.is_leader() {
            upto = self.log().last();
        }
        let leader = (NodeId::new(raft.leader_id), raft.term);
        if upto > self.told_commit {
            self.told_commit = upto;
            self.actions.push_back(Action::Commit(upto));
        }
        if leader != self.told_leader {
            self.told_leader = leader;
            self.actions.push_back(Action::Leader { node: leader.0, term: leader.1 });
        }
        if self.leads.is_some_and(|(_, index)| committed >= index) {
            self.confirm_ties(committed);
        }
    }

    /// Tells raft how far the books are, and what a snapshot could be of.
    pub(super) fn apply(&mut self) {
        let raft = &self.node.raft;
        let persisted = raft.raft_log.committed.min(raft.raft_log.persisted).min(self.handed);
        let applied = self.log().index_at(self.executed).min(persisted);
        if applied > raft.raft_log.applied {
            self.node.advance_apply_to(applied);
        }
        let applied = self.node.raft.raft_log.applied;
        if self.node.store().snapshot.as_ref().is_none_or(|(index, _)| *index != applied) {
            let members = (applied >= self.members_at).then(|| (applied, conf_state(&self.members)));
            self.node.mut_store().snapshot = members;
        }
    }

    /// Forgets entries whose records are gone, or that are too many.
    pub(super) fn compact(&mut self) {
        let (kept, applied) = (self.settings.entries_kept, self.node.raft.raft_log.applied);
        let log = &self.node.raft.raft_log.store.log;
        let gone = if self.trimmed > log.first() { log.index_at(Lsn(self.trimmed.0 - 1)) } else { log.base() };
        // Not each time, since that moves what is left.
        let many = if log.len() > kept { log.last_index() - self.settings.entries_least() as u64 } else { log.base() };
        let to = gone.max(many).min(applied);
        if to > log.base() {
            self.node.mut_store().log.forget_to(to);
        }
    }
}

/// A change, as raft applies it.
pub(super) fn to_raft(change: &Change) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(match change.kind {
        ChangeKind::AddLearner => ConfChangeType::AddLearnerNode,
        ChangeKind::Promote => ConfChangeType::AddNode,
        ChangeKind::Remove => ConfChangeType::RemoveNode,
    });
    single.node_id = change.member.node.number();
    let mut changes = ConfChangeV2::default();
    changes.set_changes(vec![single].into());
    changes
}
