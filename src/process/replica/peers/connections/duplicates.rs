//! Which of two connections between the same peers is kept: pure.

use crate::base::limits::PEER_YOUNG_MILLISECONDS;
use crate::base::time::is_over;
use crate::store::cluster::NodeId;

/// A connection to a peer, as far as this decision goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// The node that has made it.
    pub(super) dialler: NodeId,
    /// When its other end was accepted as a peer.
    pub(super) since_ns: u64,
}

/// Whether `new` is kept, and `old` is not.
///
/// Where both nodes dial each other at the same time, both must come to the same result: the connection that the lower node has made is
/// kept. Nobody dials who has a connection. So when the old one has been there for a while, it is dead at its other end, and the new
/// one is kept; and so it is when both were made by the same node.
pub(super) fn is_new_kept(old: Candidate, new: Candidate) -> bool {
    let is_old = is_over(new.since_ns, old.since_ns, PEER_YOUNG_MILLISECONDS * 1_000_000);
    is_old || new.dialler <= old.dialler
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_the_same_whichever_comes_first() {
        let node = |number| NodeId::new(number).unwrap();
        let at = |dialler, since_ns| Candidate { dialler: node(dialler), since_ns };
        // One side sees 1's connection first, the other 2's.
        assert!(!is_new_kept(at(1, 0), at(2, 5)));
        assert!(is_new_kept(at(2, 0), at(1, 5)));
        assert!(is_new_kept(at(1, 0), at(1, 5)) && is_new_kept(at(2, 0), at(2, 5)), "it has dialled again");
        let later_ns = PEER_YOUNG_MILLISECONDS * 1_000_000;
        assert!(is_new_kept(at(1, 7), at(2, 7 + later_ns)), "the old one is dead at its other end");
        assert!(!is_new_kept(at(1, 7), at(2, 6 + later_ns)));
    }
}
