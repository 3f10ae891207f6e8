//! How a node becomes a member of a cluster, before there is a core.
//!
//! A node whose DATA/raft names no cluster founds one with its configured peers, or is told by a member that it is one. What each peer has
//! greeted with is kept for the whole life of the process: it names the addresses at which clients reach the members.

use std::collections::BTreeMap;

use crate::process::replica::peers::founding::{FoundError, Heard};
use crate::process::replica::peers::{Accepted, Found, Founding, Identity, accept_found, decide};
use crate::store::cluster::identity::CLUSTER_ID_BYTES;
use crate::store::cluster::{ClusterId, NodeId, ReplicaId};

/// What the peers that are connected have greeted with.
#[derive(Debug, Default)]
pub struct Greetings {
    by_node: BTreeMap<NodeId, Identity>,
}

impl Greetings {
    /// A peer was accepted.
    pub fn note(&mut self, accepted: &Accepted) {
        self.by_node.insert(accepted.peer.node, accepted.peer.clone());
    }

    /// A node that greeted as a fresh one has become a member of that cluster.
    pub fn note_member(&mut self, node: NodeId, cluster: ClusterId) {
        self.by_node.entry(node).and_modify(|peer| peer.cluster = Some(cluster));
    }

    /// The connection to a node has ended.
    pub fn forget(&mut self, node: NodeId) {
        self.by_node.remove(&node);
    }

    /// All that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &Identity> {
        self.by_node.values()
    }

    /// What a node has greeted with, if it is connected.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> Option<&Identity> {
        self.by_node.get(&node)
    }

    /// What the instance of that number has greeted with; of two, of which one has lost its data directory, the fresh one.
    #[must_use]
    pub fn of_replica(&self, replica: ReplicaId) -> Option<&Identity> {
        let of_number = self.by_node.values().filter(|peer| peer.replica == replica);
        of_number.min_by_key(|peer| peer.cluster.is_some())
    }

    /// Where clients reach a node, if it is connected.
    #[must_use]
    pub fn client_address(&self, node: NodeId) -> Option<&str> {
        self.of_node(node).map(|peer| &peer.client_address[..])
    }

    /// What `own` is to do about a cluster with these configured peers.
    #[must_use]
    pub fn decide(&self, own: &Identity, configured: impl Iterator<Item = ReplicaId>) -> Founding {
        let heard: Vec<_> = configured
            .filter(|replica| *replica != own.replica)
            .map(|replica| {
                // Of two of one number, the one that is a member: where there is a cluster, none is to be founded.
                let of_number = self.by_node.values().filter(|peer| peer.replica == replica);
                Heard { replica, greeting: of_number.max_by_key(|peer| peer.cluster.is_some()) }
            })
            .collect();
        decide(own, &heard)
    }
}

/// A new cluster's identity.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn new_cluster() -> std::io::Result<ClusterId> {
    loop {
        let mut bytes = [0; CLUSTER_ID_BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        if let Some(cluster) = ClusterId::new(bytes) {
            return Ok(cluster);
        }
    }
}

/// Whether what was said makes `own` a member; logs why not.
#[must_use]
pub fn is_made_member(own: &Identity, from: NodeId, found: &Found) -> bool {
    match accept_found(own, found) {
        Ok(()) => true,
        Err(FoundError::Known) => false,
        Err(error) => {
            log::error!("node {from} says that this instance is a member of cluster {}: {error}", found.cluster);
            false
        }
    }
}
