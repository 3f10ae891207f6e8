//! How things stand with a node, for whoever asks.

use raft::{ProgressState, StateRole};

use super::state::Core;
use crate::base::vocab::Lsn;
use crate::store::cluster::{Membership, NodeId};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It asks for votes, preliminary ones included.
    Candidate,
    /// It follows, or looks for a leader.
    Follower,
}

/// How far a member is, as the leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub node: NodeId,
    /// The last record that it is known to have on disk.
    pub matched: Lsn,
    /// Whether it gets a snapshot.
    pub gets_snapshot: bool,
    /// Whether it has answered within an election timeout.
    pub is_active: bool,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What this node is.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// Who leads, if that is known.
    pub leader: Option<NodeId>,
    /// The last record that is committed.
    pub committed: Lsn,
    /// The last record of the log.
    pub last: Lsn,
    /// The last entry of the log.
    pub last_index: u64,
    /// The members.
    pub membership: Membership,
    /// On the leader, how far the others are, by their numbers; else nothing.
    pub progress: Vec<Progress>,
}

impl Status {
    fn of(core: &Core) -> Status {
        let raft = &core.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        };
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id && role == Role::Leader);
        let progress = others.filter_map(|(id, progress)| {
            Some(Progress {
                node: NodeId::new(*id)?,
                matched: core.log().last_of(progress.matched).unwrap_or_default(),
                gets_snapshot: progress.state == ProgressState::Snapshot,
                is_active: progress.recent_active,
            })
        });
        let mut progress: Vec<Progress> = progress.collect();
        progress.sort_unstable_by_key(|progress| progress.node);
        Status {
            role,
            term: raft.term,
            leader: NodeId::new(raft.leader_id),
            committed: core.told_commit,
            last: core.log().last(),
            last_index: core.log().last_index(),
            membership: core.members.clone(),
            progress,
        }
    }
}

impl Core {
    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(self)
    }
}
