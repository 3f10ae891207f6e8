//! The core's state, and what becomes of each event.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use raft::eraftpb::MessageType;
use raft::{Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

use super::defect::Defect;
use super::event::{Action, Control, Event, HardState};
use super::log::Log;
use super::logger::logger;
use super::parts::{Pending, Reads};
use super::settings::Settings;
use super::storage::{Entries, conf_state};
use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryRange, Message, SnapshotRef};
use crate::store::cluster::{Change, Membership, NodeId};

/// What a node knows when its replica process starts.
///
/// All of `log` is on disk, whole entries only, and an intent to truncate has been finished. Where the gate is closed, the ring is to go on
/// at the record after the log: what stands there already is nothing (a control record that was never proposed).
#[derive(Clone, Debug)]
pub struct Loaded {
    /// From DATA/raft; all zero for a new node.
    pub state: HardState,
    /// From DATA/raft: the members as of entry `membership_index`. For a node that is to join, those that the cluster was founded with, as
    /// of 0, which the greeting tells.
    pub membership: Membership,
    /// See [`Loaded::membership`].
    pub membership_index: u64,
    /// The log, up to `log_end`. It begins no later than what is committed or executed.
    pub log: Log,
    /// Whether older entries are to come, by [`Event::Older`].
    pub are_older_to_come: bool,
    /// The generation of the log.
    pub generation: u64,
    /// What this instance has been told is committed, in its shared memory; where it has just started, what its books were filled with: a snapshot
    /// can be newer than what DATA/raft says is committed.
    pub committed: Lsn,
    /// The last record that the books have, executed here or applied.
    pub executed: Lsn,
    /// Whether workers may execute: this node was the primary, and only its replica process died.
    pub gate_is_open: bool,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// DATA/raft says that an entry is committed, and on this disk, that the log does not have.
    #[error("entry {commit} is committed, and the log has entries {base} to {last} only: it has lost some")]
    Committed {
        /// What is committed.
        commit: u64,
        /// The entry before the first.
        base: u64,
        /// The last.
        last: u64,
    },
    /// The log has entries of a later term than DATA/raft knows, which was synced before any of them came.
    #[error("the log has entries of term {log}, and this node knows term {known} only: it has lost what it promised")]
    Term {
        /// The term of the last entry.
        log: u64,
        /// What DATA/raft says.
        known: u64,
    },
    /// The settings or the members are impossible.
    #[error("raft cannot start: {0}")]
    Raft(String),
}

/// What is to come as the next event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// [`Event::Appended`], for the record of the term.
    Term,
    /// [`Event::Appended`], for a change.
    Change(Change),
    /// [`Event::GateClosed`].
    Gate,
}

/// The state machine. See the [module](super).
pub struct Core {
    pub(super) settings: Settings,
    pub(super) node: RawNode<Entries>,
    rng: SmallRng,
    /// The election timeout that holds, with the term and role that it was drawn for.
    timeout: (usize, u64, StateRole),
    pub(super) members: Membership,
    pub(super) members_at: u64,
    pub(super) actions: VecDeque<Action>,
    /// The answer that is due.
    pub(super) due: Option<Answer>,
    pub(super) has_ended: bool,
    pub(super) generation: u64,
    /// Entries that wait for a cut to be done.
    pub(super) held: Option<Vec<EntryRange>>,
    /// What is on disk, in this generation.
    pub(super) on_disk: Lsn,
    pub(super) pending: VecDeque<Pending>,
    pub(super) saved: HardState,
    pub(super) told_commit: Lsn,
    pub(super) told_leader: (Option<NodeId>, u64),
    /// What the books have.
    pub(super) executed: Lsn,
    /// Some ends of operations behind the log, in order: where entries may end. See [`Core::note_end`].
    pub(super) ends: VecDeque<Lsn>,
    pub(super) gate_is_open: bool,
    /// The term in which this node leads, and the index of that term's first entry.
    pub(super) leads: Option<(u64, u64)>,
    /// The term that this node asks votes for because it led before its replica process died.
    pub(super) resumes: Option<u64>,
    /// To whom leadership is being handed over, and whether raft knows.
    pub(super) hands_over: Option<(NodeId, bool)>,
    pub(super) leaves: bool,
    pub(super) reads: Reads,
    /// The ranges of entries that raft has been given in this step.
    pub(super) arriving: Vec<EntryRange>,
    /// The snapshot that raft has been given in this step.
    pub(super) arriving_snapshot: Option<SnapshotRef>,
    /// What this node asks votes with while it resumes.
    pub(super) vote_requests: Vec<Message>,
    /// The last committed entry that raft has handed out.
    pub(super) handed: u64,
    /// The records before this one are gone.
    pub(super) trimmed: Lsn,
}

impl Core {
    /// A node that goes on from what it has. Actions may be there at once.
    ///
    /// # Errors
    ///
    /// [`LoadError`] says what is wrong with `loaded`.
    pub fn new(settings: Settings, loaded: Loaded) -> Result<Core, LoadError> {
        let Loaded { state, membership, membership_index, log, are_older_to_come, .. } = loaded;
        let Loaded { generation, committed, executed, gate_is_open, .. } = loaded;
        let (commit, base, last) = (state.commit.max(log.index_at(committed)), log.base(), log.last_index());
        if commit > last {
            return Err(LoadError::Committed { commit, base, last });
        }
        if log.last_term() > state.term {
            return Err(LoadError::Term { log: log.last_term(), known: state.term });
        }
        let applied = log.index_at(executed).min(commit).max(base);
        // A change that is not in the membership yet is to be handed out once more.
        let mut changes = (membership_index.max(base) + 1..=applied).filter(|index| log.change_of(*index).is_some());
        let applied = changes.next().map_or(applied, |index| index - 1);
        let end = log.last();
        let config = config(&settings, applied);
        let mut hard_state = raft::eraftpb::HardState::default();
        (hard_state.term, hard_state.commit) = (state.term, commit);
        hard_state.vote = state.vote.map_or(0, NodeId::number);
        let entries = Entries { log, begun: (hard_state, conf_state(&membership)), snapshot: None, are_older_to_come };
        let node = RawNode::new(&config, entries, &logger()).map_err(|error| LoadError::Raft(error.to_string()))?;
        let mut core = Core {
            rng: SmallRng::seed_from_u64(settings.seed),
            settings,
            timeout: (0, u64::MAX, StateRole::Follower),
            node,
            members: membership,
            members_at: membership_index,
            actions: VecDeque::new(),
            due: None,
            has_ended: false,
            generation,
            held: None,
            on_disk: end,
            pending: VecDeque::new(),
            saved: state,
            told_commit: Lsn(0),
            told_leader: (None, u64::MAX),
            executed,
            ends: VecDeque::new(),
            gate_is_open,
            leads: None,
            resumes: None,
            hands_over: None,
            leaves: false,
            reads: Reads::default(),
            arriving: Vec::new(),
            arriving_snapshot: None,
            vote_requests: Vec::new(),
            handed: applied,
            trimmed: Lsn(0),
        };
        if gate_is_open {
            core.resume();
        }
        core.settle();
        Ok(core)
    }

    /// Something has happened. All actions of the event before must have been carried out.
    pub fn handle(&mut self, event: Event) {
        if self.has_ended {
            return;
        }
        match (self.due.take(), event) {
            (None, event) => self.begin(event),
            (Some(Answer::Term), Event::Appended { lsn }) => self.term_record(lsn),
            (Some(Answer::Change(change)), Event::Appended { lsn }) => self.change_record(change, lsn),
            (Some(Answer::Gate), Event::GateClosed { executed }) => {
                self.executed = self.executed.max(executed);
                self.gate_is_open = false;
            }
            (due, event) => {
                log::error!("the replica process was told {event:?} where it waits for the answer to an action");
                self.due = due;
                return;
            }
        }
        self.settle();
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether no [`Action::Append`] will name records of a message that came before any more.
    #[must_use]
    pub fn is_done_with_message(&self) -> bool {
        self.held.is_none()
    }

    /// The last record that the journal may forget, if its snapshots say so, too: what is before it is committed, on disk, in the books, and
    /// the changes of membership there are saved. While there is no replica process, nothing is to be forgotten.
    #[must_use]
    pub fn may_trim_to(&self) -> Lsn {
        self.log().last_of(self.node.raft.raft_log.applied).unwrap_or_default()
    }

    /// The entry before the first that is known, and its last record: what older entries have to end with.
    #[must_use]
    pub fn log_base(&self) -> (u64, Lsn) {
        (self.log().base(), self.log().base_last())
    }

    /// Whether older entries are to come, by [`Event::Older`].
    #[must_use]
    pub fn are_older_to_come(&self) -> bool {
        !self.has_ended && self.node.store().are_older_to_come
    }

    /// Older entries, from the journal.
    fn older(&mut self, older: Log, more: bool) {
        let entries = self.node.mut_store();
        if let Err(error) = entries.log.prepend(older) {
            log::debug!("older entries are not taken: {error}");
        }
        // With so many, the next would be forgotten again.
        let has_room = entries.log.len() < self.settings.entries_least();
        self.node.mut_store().are_older_to_come &= more && has_room;
    }

    /// Whether the core has asked for [`Action::Remake`] or [`Action::Install`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn begin(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Message(message) => self.message(message),
            Event::Executed(upto) if self.gate_is_open => self.executed = self.executed.max(upto),
            Event::OnDisk { generation, upto } => {
                if generation == self.generation && self.held.is_none() || self.has(Defect::LateReportCounts) {
                    self.on_disk = self.on_disk.max(upto.min(self.log().last()));
                    self.persisted();
                }
            }
            Event::Truncated { generation } if generation == self.generation => {
                if let Some(entries) = self.held.take() {
                    self.actions.push_back(Action::Append(entries));
                }
            }
            Event::ReadsWanted(round) => self.reads_wanted(round),
            Event::Applied(upto) if !self.gate_is_open => self.executed = self.executed.max(upto.min(self.told_commit)),
            Event::Trimmed(first) => self.trimmed = self.trimmed.max(first),
            Event::Older { log, more } => self.older(log, more),
            Event::Transfer(to) => self.transfer(to),
            Event::Change(change) => self.change(change),
            Event::Connected(_) => self.repeat_votes(),
            Event::Unreachable(node) => self.node.report_unreachable(node.number()),
            Event::SnapshotSent { to, ok } => {
                let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(to.number(), status);
            }
            Event::Leave => self.leave(),
            Event::Executed(_) | Event::Truncated { .. } | Event::Applied(_) => {}
            Event::Appended { .. } | Event::GateClosed { .. } => {
                log::error!("the replica process was told {event:?} and had not asked for it");
            }
        }
    }

    fn tick(&mut self) {
        let raft = &self.node.raft;
        // A voter that is alone would win at once, and raft takes for granted that all it has is on disk then.
        let alone = self.members.voters.iter().all(|voter| voter.node == self.settings.node);
        if alone && !self.is_leader() && raft.raft_log.persisted < raft.raft_log.last_index() {
            return;
        }
        self.node.tick();
        if !self.is_leader() && self.node.raft.election_elapsed == 0 {
            self.timeout.1 = u64::MAX;
        }
        self.repeat_votes();
        self.repeat_reads();
    }

    /// All that follows from an event, until nothing is left to do, or an answer is due.
    fn settle(&mut self) {
        while !self.has_ended && self.due.is_none() {
            self.draw_timeout();
            if self.look_at_role() {
                continue;
            }
            if self.node.has_ready() {
                self.ready();
                continue;
            }
            if self.propose() || self.hand_over() || self.open_gate() {
                continue;
            }
            let was_refused = self.may_propose();
            self.tell();
            self.apply();
            self.compact();
            // What has been committed makes room for more.
            if !self.node.has_ready() && (was_refused || !self.may_propose()) {
                break;
            }
        }
    }

    /// Raft draws timeouts from the thread's random numbers; these are drawn from the seed, so that a run can be had again.
    fn draw_timeout(&mut self) {
        let now = (self.node.raft.term, self.node.raft.state);
        if now != (self.timeout.1, self.timeout.2) {
            let (least, end) = self.settings.election_ticks;
            self.timeout = (self.rng.random_range(least..end), now.0, now.1);
        }
        self.node.raft.set_randomized_election_timeout(self.timeout.0);
    }

    /// The last record of an entry of the log; `None` where that entry is not known.
    #[must_use]
    pub fn last_of(&self, index: u64) -> Option<Lsn> {
        self.log().last_of(index)
    }

    pub(super) fn log(&self) -> &Log {
        &self.node.raft.raft_log.store.log
    }

    pub(super) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(super) fn ask(&mut self, action: Action, answer: Answer) {
        self.actions.push_back(action);
        self.due = Some(answer);
    }

    /// Whether the tests have put this defect in.
    pub(super) fn has(&self, defect: Defect) -> bool {
        cfg!(test) && self.settings.defect == Some(defect)
    }

    /// Asks for votes in the name of the leader that this node was. `campaign()` would ask for preliminary votes, which nobody gives while
    /// the leader may still live.
    fn resume(&mut self) {
        let mut raw = raft::eraftpb::Message::default();
        raw.set_msg_type(MessageType::MsgTimeoutNow);
        (raw.from, raw.to) = (self.settings.node.number(), self.settings.node.number());
        raw.term = self.node.raft.term;
        // It is told by the role whether that was of any use.
        let _ = self.node.step(raw);
        self.resumes = Some(self.node.raft.term);
    }

    pub(super) fn ask_for_term(&mut self, term: u64) {
        self.ask(Action::AppendControl(Control::Term(term)), Answer::Term);
    }
}

fn config(settings: &Settings, applied: u64) -> Config {
    Config {
        id: settings.node.number(),
        election_tick: settings.election_ticks.0,
        min_election_tick: settings.election_ticks.0,
        max_election_tick: settings.election_ticks.1,
        heartbeat_tick: settings.heartbeat_ticks,
        applied,
        max_size_per_msg: settings.message_records,
        max_inflight_msgs: settings.messages_in_flight,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        ..Config::default()
    }
}
