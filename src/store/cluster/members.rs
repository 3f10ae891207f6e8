//! The members of a cluster: what they are called, and how membership changes.

use std::fmt;
use std::num::NonZeroU64;

use crate::base::limits::MAX_PEER_ADDRESS_BYTES;
pub use crate::base::vocab::ReplicaId;

/// The identity of a data directory in a cluster, drawn at random with it; raft's id of the node.
///
/// A node that lost its log has lost its promises, too: were it taken for the node that made them, a log that was acknowledged could be
/// overwritten. So whoever starts with an empty directory is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub NonZeroU64);

impl NodeId {
    /// The id of that number; `None` for 0, which is nobody's.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(NodeId)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A member, or a node that is to become one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its number.
    pub replica: ReplicaId,
    /// Its identity.
    pub node: NodeId,
    /// Where its peers reach it, `HOST:PORT`, at most [`MAX_PEER_ADDRESS_BYTES`].
    pub address: String,
}

/// Who is a member, and how: raft's configuration (Ongaro, "Consensus: bridging theory and practice", chapter 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// They vote, and are counted for a majority.
    pub voters: Vec<Member>,
    /// They get the log and do not vote.
    pub learners: Vec<Member>,
}

impl Membership {
    /// All members, voters first.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.voters.iter().chain(&self.learners)
    }

    /// The member of that identity.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> Option<&Member> {
        self.all().find(|member| member.node == node)
    }

    /// The members after `change`. One that would take the last voter away, or names who is not there, changes nothing.
    #[must_use]
    pub fn after(&self, change: &Change) -> Membership {
        let mut next = self.clone();
        let node = change.member.node;
        match change.kind {
            ChangeKind::AddLearner if self.of_node(node).is_none() => next.learners.push(change.member.clone()),
            ChangeKind::Promote if self.learners.iter().any(|learner| learner.node == node) => {
                let (promoted, left) = self.learners.iter().cloned().partition(|learner| learner.node == node);
                next.learners = left;
                next.voters.extend::<Vec<_>>(promoted);
            }
            ChangeKind::Remove if self.voters.iter().any(|voter| voter.node != node) => {
                next.voters.retain(|voter| voter.node != node);
                next.learners.retain(|learner| learner.node != node);
            }
            ChangeKind::AddLearner | ChangeKind::Promote | ChangeKind::Remove => {}
        }
        next
    }
}

/// The numbers and nodes of all, for the log.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voters = self.voters.iter().map(|member| (member, ""));
        let learners = self.learners.iter().map(|member| (member, ", a learner"));
        for (place, (member, how)) in voters.chain(learners).enumerate() {
            let gap = if place == 0 { "" } else { ", " };
            write!(f, "{gap}{} (node {}{how})", member.replica, member.node)?;
        }
        Ok(())
    }
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A new node gets the log.
    AddLearner,
    /// A learner becomes a voter.
    Promote,
    /// A voter or learner is no member any more.
    Remove,
}

/// One change of membership. There is one at a time, and each changes one node, so that any majority before and any majority after have a
/// node in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it does.
    pub kind: ChangeKind,
    /// To whom.
    pub member: Member,
}

/// Bytes of a change before the address: kind, replica, node, length of the address.
const CHANGE_HEAD_BYTES: usize = 1 + 1 + 8 + 1;

impl Change {
    /// The change as the log keeps it: kind u8, replica u8, node u64 little-endian, bytes of the address u8, the address.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Member { replica, node, address } = &self.member;
        let kind = match self.kind {
            ChangeKind::AddLearner => 1,
            ChangeKind::Promote => 2,
            ChangeKind::Remove => 3,
        };
        let length = address.len().min(MAX_PEER_ADDRESS_BYTES);
        let mut bytes = Vec::with_capacity(CHANGE_HEAD_BYTES + length);
        bytes.extend([kind, replica.number()]);
        bytes.extend(node.number().to_le_bytes());
        bytes.push(u8::try_from(length).unwrap_or(u8::MAX));
        bytes.extend(&address.as_bytes()[..length]);
        bytes
    }

    /// Reads a change; `None` where these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Change> {
        let (head, address) = bytes.split_at_checked(CHANGE_HEAD_BYTES)?;
        let kind = match head[0] {
            1 => ChangeKind::AddLearner,
            2 => ChangeKind::Promote,
            3 => ChangeKind::Remove,
            _ => return None,
        };
        let node = u64::from_le_bytes(*head[2..].first_chunk()?);
        let whole =
            usize::from(head[CHANGE_HEAD_BYTES - 1]) == address.len() && address.len() <= MAX_PEER_ADDRESS_BYTES;
        let address = String::from_utf8(address.to_vec()).ok().filter(|_| whole)?;
        Some(Change { kind, member: Member { replica: ReplicaId::new(head[1])?, node: NodeId::new(node)?, address } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::MAX_REPLICAS;

    fn member(number: u8) -> Member {
        let node = NodeId::new(u64::from(number) * 100).unwrap();
        Member { replica: ReplicaId::new(number).unwrap(), node, address: format!("127.0.0.1:{number}") }
    }

    #[test]
    fn changes_move_members_and_never_take_the_last_voter_away() {
        let change = |kind, number| Change { kind, member: member(number) };
        let one = Membership { voters: vec![member(1)], learners: vec![] };
        assert_eq!(one.after(&change(ChangeKind::Remove, 1)), one);
        assert_eq!(one.after(&change(ChangeKind::Promote, 2)), one, "it is no learner");
        assert_eq!(one.after(&change(ChangeKind::AddLearner, 1)), one, "it is there");
        let learning = one.after(&change(ChangeKind::AddLearner, 2));
        assert_eq!(learning, Membership { voters: vec![member(1)], learners: vec![member(2)] });
        let two = learning.after(&change(ChangeKind::Promote, 2));
        assert_eq!(two, Membership { voters: vec![member(1), member(2)], learners: vec![] });
        assert_eq!(two.after(&change(ChangeKind::Remove, 1)).voters, [member(2)]);
        assert_eq!(learning.after(&change(ChangeKind::Remove, 2)), one);
    }

    #[test]
    fn a_change_is_read_as_it_was_written_and_nothing_else_is_one() {
        for kind in [ChangeKind::AddLearner, ChangeKind::Promote, ChangeKind::Remove] {
            let mut change = Change { kind, member: member(7) };
            change.member.address = "x".repeat(MAX_PEER_ADDRESS_BYTES);
            let bytes = change.to_bytes();
            assert!(bytes.len() <= 64, "it fits into a record");
            assert_eq!(Change::from_bytes(&bytes), Some(change));
            (0..bytes.len()).for_each(|end| assert_eq!(Change::from_bytes(&bytes[..end]), None));
            for (place, wrong) in [(0, 0), (0, 4), (1, 0), (1, 8), (10, 45), (11, 0xff)] {
                let mut bytes = bytes.clone();
                bytes[place] = wrong;
                assert_eq!(Change::from_bytes(&bytes), None, "{place}");
            }
        }
    }

    #[test]
    fn ids_have_bounds() {
        assert_eq!(
            [0, 1, MAX_REPLICAS, MAX_REPLICAS + 1].map(|n| ReplicaId::new(n).is_some()),
            [false, true, true, false]
        );
        assert!(NodeId::new(0).is_none());
        assert_eq!(NodeId::new(0xabc).unwrap().to_string(), "0000000000000abc");
    }
}
