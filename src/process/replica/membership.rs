//! Which change of membership brings a member back that has lost its data directory, or makes a voter of a member that a cluster was founded
//! with as a learner: pure.
//!
//! Such an instance is another node under the same number (see [`NodeId`]). It becomes a learner, and when it has the log a voter; then the
//! node that it was is removed. Each change is made when the one before is committed. There is nothing to remember between them: the
//! members, and who is connected, say which is the next. So another leader goes on where the one before has stopped.

use crate::process::replica::peers::Identity;
use crate::store::cluster::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};

/// The next change that brings a member back, as the leader `own` sees it; `connected` are the nodes that are connected.
///
/// A node is replaced only while it is not connected, and only by one that is: a fresh node that greets with its number, or one that has
/// become a member in its place already. Where none is replaced, a learner that is one of the `configured` peers is to vote.
#[must_use]
pub fn next_change(
    own: NodeId,
    members: &Membership,
    connected: &[&Identity],
    configured: &[ReplicaId],
) -> Option<Change> {
    let is_connected = |node: NodeId| node == own || connected.iter().any(|peer| peer.node == node);
    let gone = members.all().filter(|member| !is_connected(member.node));
    gone.filter_map(|old| in_place_of(old, members, connected))
        .next()
        .or_else(|| promoted(members, configured, &is_connected))
}

/// The promotion of a learner that one of the configured peers is, and no other member under its number.
fn promoted(members: &Membership, configured: &[ReplicaId], is_connected: &impl Fn(NodeId) -> bool) -> Option<Change> {
    let is_only = |learner: &Member| members.all().filter(|member| member.replica == learner.replica).count() == 1;
    let is_due = |learner: &&Member| configured.contains(&learner.replica) && is_only(learner);
    let learner = members.learners.iter().filter(is_due).find(|learner| is_connected(learner.node))?;
    Some(Change { kind: ChangeKind::Promote, member: learner.clone() })
}

fn in_place_of(old: &Member, members: &Membership, connected: &[&Identity]) -> Option<Change> {
    let votes = |node: NodeId| members.voters.iter().any(|voter| voter.node == node);
    let of_number = |member: &&Member| member.replica == old.replica;
    let is_there = |member: &&Member| connected.iter().any(|peer| peer.node == member.node);
    if let Some(new) = members.all().filter(of_number).find(is_there) {
        let is_done = votes(new.node) || !votes(old.node);
        let (kind, member) = if is_done { (ChangeKind::Remove, old) } else { (ChangeKind::Promote, new) };
        return Some(Change { kind, member: member.clone() });
    }
    // A node that has been a member is not fresh: whoever removed it has meant it.
    let new = connected.iter().find(|peer| peer.replica == old.replica && peer.cluster.is_none())?;
    let member = Member { replica: new.replica, node: new.node, address: new.peer_address.clone() };
    Some(Change { kind: ChangeKind::AddLearner, member })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{Cents, Lsn};
    use crate::process::replica::founding::new_cluster;

    /// A node's number is the instance's, times ten, and which of its data directories it is.
    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn member(number: u64) -> Member {
        let replica = ReplicaId::new(u8::try_from(number / 10).unwrap()).unwrap();
        Member { replica, node: node(number), address: format!("a{number}") }
    }

    fn identity(number: u64, is_fresh: bool) -> Identity {
        Identity {
            cluster: if is_fresh { None } else { new_cluster().ok() },
            node: node(number),
            replica: member(number).replica,
            peer_address: format!("a{number}"),
            client_address: String::new(),
            kv_address: String::new(),
            accounts: 1,
            opening: Cents(0),
            key_window: 1,
            operations: Lsn(0),
            openings: 0,
            segment_records: 1,
            kv_blocks: 0,
        }
    }

    /// What comes next with these voters and learners, where those are connected, and these as fresh ones.
    fn next(voters: &[u64], learners: &[u64], connected: &[u64], fresh: &[u64]) -> Option<(ChangeKind, u64)> {
        let of = |numbers: &[u64]| numbers.iter().map(|&number| member(number)).collect();
        let members = Membership { voters: of(voters), learners: of(learners) };
        let peers: Vec<_> = (connected.iter().map(|&number| identity(number, false)))
            .chain(fresh.iter().map(|&number| identity(number, true)))
            .collect();
        let change = next_change(node(10), &members, &peers.iter().collect::<Vec<_>>(), &[])?;
        assert_eq!(change.member, member(change.member.node.number()), "as it greeted, or as it is a member");
        Some((change.kind, change.member.node.number()))
    }

    #[test]
    fn a_member_that_lost_its_disk_comes_back_step_by_step() {
        use ChangeKind::{AddLearner, Promote, Remove};
        let all: &[u64] = &[10, 20, 30];
        for (voters, learners, connected, fresh, expected) in [
            (all, &[][..], &[20, 30][..], &[][..], None),
            // One that is down and does not come back, and one that comes back as it was.
            (all, &[], &[20], &[], None),
            (all, &[], &[20, 30], &[31], None),
            // The three steps.
            (all, &[], &[20], &[31], Some((AddLearner, 31))),
            (all, &[31], &[20], &[31], Some((Promote, 31))),
            (all, &[31], &[20, 31], &[], Some((Promote, 31))),
            (&[10, 20, 30, 31], &[], &[20, 31], &[], Some((Remove, 30))),
            (&[10, 20, 31], &[], &[20, 31], &[], None),
            // It goes away again in the middle.
            (all, &[31], &[20], &[], None),
            (&[10, 20, 30, 31], &[], &[20], &[], None),
            // It has lost its disk once more, as learner and as voter.
            (all, &[31], &[20], &[32], Some((AddLearner, 32))),
            (all, &[31, 32], &[20, 32], &[], Some((Promote, 32))),
            (&[10, 20, 30, 32], &[31], &[20, 32], &[], Some((Remove, 30))),
            (&[10, 20, 32], &[31], &[20, 32], &[], Some((Remove, 31))),
            // A learner, too.
            (&[10, 20], &[30], &[20], &[31], Some((AddLearner, 31))),
            (&[10, 20], &[30, 31], &[20, 31], &[], Some((Remove, 30))),
            // The node that it was is back, after all.
            (all, &[31], &[20, 30], &[31], None),
            // Somebody else's number; this node's own; one that was removed and is not fresh.
            (all, &[], &[20, 30], &[41], None),
            (all, &[], &[20, 30], &[11], None),
            (all, &[], &[20, 31], &[], None),
        ] {
            assert_eq!(
                next(voters, learners, connected, fresh),
                expected,
                "{voters:?} {learners:?} {connected:?} {fresh:?}"
            );
        }
    }

    #[test]
    fn the_steps_lead_to_the_members_that_there_were() {
        let mut members = Membership { voters: [10, 20, 30].map(member).to_vec(), learners: vec![] };
        let peers = [identity(20, false), identity(31, true)];
        let mut steps = 0;
        while let Some(change) = next_change(node(10), &members, &peers.iter().collect::<Vec<_>>(), &[]) {
            let next = members.after(&change);
            assert_ne!(next, members, "each step changes something");
            (members, steps) = (next, steps + 1);
        }
        assert_eq!((members.voters, steps), ([10, 20, 31].map(member).to_vec(), 3));
        assert!(members.learners.is_empty());
    }

    #[test]
    fn learners_of_the_founding_vote_as_soon_as_they_can() {
        let of = |numbers: &[u64]| numbers.iter().map(|&number| member(number)).collect();
        let configured: Vec<_> = [1, 2, 3].map(|number| ReplicaId::new(number).unwrap()).to_vec();
        let next = |voters: &[u64], learners: &[u64], connected: &[u64]| {
            let peers: Vec<_> = connected.iter().map(|&number| identity(number, false)).collect();
            let members = Membership { voters: of(voters), learners: of(learners) };
            let change = next_change(node(10), &members, &peers.iter().collect::<Vec<_>>(), &configured)?;
            Some((change.kind, change.member.node.number()))
        };
        assert_eq!(next(&[10], &[20, 30], &[]), None, "nobody is there");
        assert_eq!(next(&[10], &[20, 30], &[30]), Some((ChangeKind::Promote, 30)));
        assert_eq!(next(&[10, 30], &[20], &[20, 30]), Some((ChangeKind::Promote, 20)));
        assert_eq!(next(&[10, 20, 30], &[40], &[20, 30, 40]), None, "an operator added it, and promotes it");
        // One of them has lost its disk meanwhile: it comes back first.
        assert_eq!(next(&[10, 30], &[20, 31], &[20, 31]), Some((ChangeKind::Promote, 31)));
        assert_eq!(next(&[10, 30, 31], &[20], &[20, 31]), Some((ChangeKind::Remove, 30)));
    }
}
