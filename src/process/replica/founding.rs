//! How a node becomes a member of a cluster, before there is a core.
//!
//! A node whose DATA/raft names no cluster founds one with its configured peers, or is told by a member that it is one. What each peer has
//! greeted with is kept for the whole life of the process: it names the addresses at which clients reach the members.

use std::collections::BTreeMap;

use crate::process::replica::peers::founding::{FoundError, Heard};
use crate::process::replica::peers::{Accepted, Found, Founding, Identity, accept_found, decide};
use crate::store::cluster::identity::CLUSTER_ID_BYTES;
use crate::store::cluster::{ClusterId, NodeId, ReplicaId};

/// What peers have greeted with.
#[derive(Debug, Default)]
pub struct Greetings {
    by_replica: BTreeMap<ReplicaId, Identity>,
}

impl Greetings {
    /// A peer was accepted.
    pub fn note(&mut self, accepted: &Accepted) {
        self.by_replica.insert(accepted.peer.replica, accepted.peer.clone());
    }

    /// The connection to a node has ended; what it said of itself stays, but it counts as silent for a founder.
    pub fn forget(&mut self, replica: ReplicaId, node: NodeId) {
        self.by_replica.retain(|number, identity| *number != replica || identity.node != node);
    }

    /// Where clients reach a node, if it is connected.
    #[must_use]
    pub fn client_address(&self, node: NodeId) -> Option<&str> {
        let identity = self.by_replica.values().find(|identity| identity.node == node)?;
        Some(&identity.client_address)
    }

    /// What `own` is to do about a cluster with these configured peers.
    #[must_use]
    pub fn decide(&self, own: &Identity, configured: impl Iterator<Item = ReplicaId>) -> Founding {
        let heard: Vec<_> = configured
            .filter(|replica| *replica != own.replica)
            .map(|replica| Heard { replica, greeting: self.by_replica.get(&replica) })
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
