//! What tools, workers and clients see of the cluster: the row in the control segment.

use std::collections::BTreeMap;

use crate::base::vocab::Lsn;
use crate::base::vocab::ReplicaRole;
use crate::process::replica::core::{Role, Status};
use crate::process::replica::founding::Greetings;
use crate::process::replica::peers::Identity;
use crate::store::cluster::{ClusterView, Member, MemberView, NodeId, Standing};

/// Notes when members were heard of whom no messages can be expected: between two that follow, the connection is all that there is to
/// hear. A leader hears all of them, and those who follow the leader, several times a second; of nodes that are no members nothing is kept.
pub fn note_connected(heard: &mut BTreeMap<NodeId, u64>, greetings: &Greetings, status: &Status, now_ns: u64) {
    heard.retain(|node, _| status.membership.of_node(*node).is_some());
    let is_silent = |node: NodeId| status.role != Role::Leader && status.leader != Some(node);
    for Member { node, .. } in status.membership.all() {
        if is_silent(*node) && greetings.client_address(*node).is_some() {
            heard.insert(*node, now_ns);
        }
    }
}

/// The row's contents for a member; `heard` has when each node was heard last, nanoseconds of the monotonic clock.
#[must_use]
pub fn view(
    own: &Identity,
    greetings: &Greetings,
    status: &Status,
    gate_is_open: bool,
    heard: &BTreeMap<NodeId, u64>,
) -> ClusterView {
    let Status { role, term, leader, membership, .. } = status;
    let is_learner = |node: NodeId| membership.learners.iter().any(|learner| learner.node == node);
    let identity = |node: NodeId| if node == own.node { Some(own) } else { greetings.of_node(node) };
    let client_address = |node| identity(node).map_or_else(String::new, |known| known.client_address.clone());
    let kv_address = |node| identity(node).map_or_else(String::new, |known| known.kv_address.clone());
    let own_role = match role {
        // Also while its replica process, which has died, asks for votes again: workers go on executing, and reads wait for a round.
        _ if gate_is_open => ReplicaRole::Primary,
        Role::Leader | Role::Candidate => ReplicaRole::Candidate,
        Role::Follower if is_learner(own.node) => ReplicaRole::Learner,
        Role::Follower => ReplicaRole::Follower,
    };
    // Only who may execute is named: a leader whose gate is closed would refuse.
    let primary = match role {
        _ if gate_is_open => Some(own.node),
        Role::Leader => None,
        Role::Candidate | Role::Follower => *leader,
    };
    let member = |member: &Member| {
        let node = member.node;
        let progress = status.progress.iter().find(|progress| progress.node == node);
        let role = match () {
            () if node == own.node => own_role,
            () if is_learner(node) => ReplicaRole::Learner,
            () if Some(node) == primary => ReplicaRole::Primary,
            () => ReplicaRole::Follower,
        };
        MemberView {
            replica: member.replica.number(),
            node: node.number(),
            role,
            match_lsn: if node == own.node {
                status.last
            } else {
                progress.map_or(Lsn(0), |progress| progress.matched)
            },
            heard_ns: heard.get(&node).copied().unwrap_or(0),
            peer_address: member.address.clone(),
            client_address: client_address(node),
            kv_address: kv_address(node),
        }
    };
    let number_of = |node: NodeId| membership.of_node(node).map_or(0, |member| member.replica.number());
    ClusterView {
        standing: Standing { role: own_role, primary: primary.map_or(0, number_of) },
        node: own.node.number(),
        term: *term,
        primary_address: primary.map(client_address).unwrap_or_default(),
        primary_kv_address: primary.map(kv_address).unwrap_or_default(),
        members: membership.all().map(member).collect(),
    }
}
