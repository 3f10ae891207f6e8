//! Whether to found a cluster, decided from what each configured peer has said.
//!
//! A node that was not yet a member of any cluster founds one only when it has heard of every configured peer that it is none either, and
//! only the one with the lowest number does. So two clusters cannot come about, unless configurations contradict each other: then
//! nobody founds any.
//!
//! Where one of them has operations of its own, that one founds it, whatever its number, and is the only voter: the others learn, and get its
//! books by a snapshot. If they voted before they have them, they could elect each other and lose them.

use super::settings::Identity;
use super::wire::Found;
use crate::base::vocab::Lsn;
use crate::store::cluster::{ClusterId, Member, Membership, NodeId, ReplicaId};

/// What a node is to do about a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Founding {
    /// Nothing: it is a member.
    IsMember,
    /// Found one with these members, in the order of their numbers: write them durably, and then tell the others. All vote; but where this
    /// node has operations of its own, it votes alone.
    Found(Membership),
    /// Wait for replica `0` to found it and tell.
    AwaitFounder(ReplicaId),
    /// Wait for these peers, which have not greeted yet.
    AwaitPeers(Vec<ReplicaId>),
    /// Several have operations of their own, so that their books are not those of one ledger: somebody must choose one. These are they, and
    /// how many operations each has.
    SeveralHaveBooks(Vec<(ReplicaId, Lsn)>),
    /// There is a cluster: wait until a member of it says that this node is one, too.
    Join(ClusterId),
    /// Peers are members of different clusters, or two of them are the same node: somebody must correct that.
    Contradiction,
}

/// What a configured peer has said, if it has: what it greeted with.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Whose number this is.
    pub replica: ReplicaId,
    /// Its greeting; `None` while it is not connected.
    pub greeting: Option<&'a Identity>,
}

/// What `own` is to do, `peers` being all that are configured but itself.
#[must_use]
pub fn decide(own: &Identity, peers: &[Heard<'_>]) -> Founding {
    if own.cluster.is_some() {
        return Founding::IsMember;
    }
    let heard = || peers.iter().filter_map(|peer| peer.greeting);
    let mut clusters = heard().filter_map(|greeting| greeting.cluster);
    if let Some(cluster) = clusters.next() {
        return if clusters.all(|other| other == cluster) { Founding::Join(cluster) } else { Founding::Contradiction };
    }
    let silent: Vec<_> = peers.iter().filter(|peer| peer.greeting.is_none()).map(|peer| peer.replica).collect();
    if !silent.is_empty() {
        return Founding::AwaitPeers(silent);
    }
    let member = |of: &Identity| Member { replica: of.replica, node: of.node, address: of.peer_address.clone() };
    let mut voters: Vec<_> = heard().chain([own]).map(member).collect();
    voters.sort();
    let is_twice = |pair: &[Member]| pair[0].replica == pair[1].replica;
    let mut nodes: Vec<_> = voters.iter().map(|voter| voter.node).collect();
    nodes.sort();
    if voters.windows(2).any(is_twice) || nodes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Founding::Contradiction;
    }
    let with_books = heard().chain([own]).filter(|greeting| greeting.operations > Lsn(0));
    let mut with_books: Vec<_> = with_books.map(|greeting| (greeting.replica, greeting.operations)).collect();
    with_books.sort_unstable();
    let founder = match with_books[..] {
        [] => voters.first().map_or(own.replica, |first| first.replica),
        [(only, _)] => only,
        _ => return Founding::SeveralHaveBooks(with_books),
    };
    if founder != own.replica {
        return Founding::AwaitFounder(founder);
    }
    let votes = |member: &Member| with_books.is_empty() || member.replica == founder;
    let (voters, learners) = voters.into_iter().partition(votes);
    Founding::Found(Membership { voters, learners })
}

/// Why a node does not take over which cluster it is said to be a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// It is a member of that cluster, and knows.
    #[error("it is known already")]
    Known,
    /// It is a member of another one.
    #[error("this instance is a member of cluster {ours}, and is said to be one of {theirs}")]
    OtherCluster {
        /// Of which it is.
        ours: ClusterId,
        /// Of which it is said to be.
        theirs: ClusterId,
    },
    /// Its node is not named: the data directory has been emptied since.
    #[error("node {0} is not named as a member; add this instance to the cluster by `vaultctl cluster add`")]
    NotNamed(NodeId),
    /// Its node is named under another number.
    #[error("this instance has --replica-id {ours}, and is named as replica {theirs}")]
    OtherReplica {
        /// Its number.
        ours: ReplicaId,
        /// The number under which it is named.
        theirs: ReplicaId,
    },
}

/// Whether `own` may take over that it is a member of that cluster.
///
/// # Errors
/// It may not, or knows already.
pub fn accept_found(own: &Identity, found: &Found) -> Result<(), FoundError> {
    match own.cluster {
        Some(ours) if ours == found.cluster => return Err(FoundError::Known),
        Some(ours) => return Err(FoundError::OtherCluster { ours, theirs: found.cluster }),
        None => {}
    }
    let named = found.members.of_node(own.node).ok_or(FoundError::NotNamed(own.node))?;
    if named.replica == own.replica {
        Ok(())
    } else {
        Err(FoundError::OtherReplica { ours: own.replica, theirs: named.replica })
    }
}

#[cfg(test)]
#[path = "founding_tests.rs"]
mod tests;
