//! Which count each reason is one of.

use super::refusal::{Closed, Dropped, Refusal};
use crate::store::cluster::peer_counts::{Closures, Drops, Refusals};

/// Counts a reason.
pub(super) trait Count<Why> {
    /// One more of `why`.
    fn count(&mut self, why: Why);
}

impl Count<&Refusal> for Refusals {
    fn count(&mut self, why: &Refusal) {
        *match why {
            Refusal::Secret => &mut self.secret,
            Refusal::Version { .. } => &mut self.version,
            Refusal::Cluster { .. } => &mut self.cluster,
            Refusal::Accounts { .. } => &mut self.accounts,
            Refusal::Opening { .. } | Refusal::Openings => &mut self.opening,
            Refusal::KeyWindow { .. } => &mut self.key_window,
            Refusal::SegmentRecords { .. } => &mut self.segment_records,
            Refusal::KeyValues { .. } => &mut self.key_values,
            Refusal::Myself => &mut self.myself,
            Refusal::SameReplica { .. } => &mut self.same_replica,
            Refusal::OtherReplica { .. } => &mut self.other_replica,
            Refusal::Garbage(_) => &mut self.garbage,
            Refusal::Slow => &mut self.slow,
            Refusal::Crowded => &mut self.crowded,
            Refusal::Full => &mut self.full,
            Refusal::Gone => &mut self.gone,
            Refusal::Unreachable(_) => &mut self.unreachable,
            Refusal::Unresolved(_) => &mut self.unresolved,
        } += 1;
    }
}

impl Count<&Closed> for Closures {
    fn count(&mut self, why: &Closed) {
        *match why {
            Closed::Peer => &mut self.peer,
            Closed::Broken(_) => &mut self.broken,
            Closed::Garbage(_) => &mut self.garbage,
            Closed::Stalled => &mut self.stalled,
            Closed::Replaced => &mut self.replaced,
            Closed::Own => &mut self.own,
        } += 1;
    }
}

impl Count<Dropped> for Drops {
    fn count(&mut self, why: Dropped) {
        *match why {
            Dropped::Unconnected => &mut self.unconnected,
            Dropped::Messages => &mut self.messages,
            Dropped::Bytes => &mut self.bytes,
            Dropped::Changed => &mut self.changed,
            Dropped::Unencodable => &mut self.unencodable,
        } += 1;
    }
}
