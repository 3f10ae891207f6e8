//! How a node behaves.

use super::defect::Defect;
use crate::base::limits;
use crate::store::cluster::NodeId;

/// What is the same from start to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// What election timeouts are drawn from. It differs between nodes.
    pub seed: u64,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader after which a node wants to become it: drawn from these anew each time, the second excluded. The first is
    /// also the time in which a leader must hear from a majority, and in which a follower that has a leader votes for nobody.
    pub election_ticks: (usize, usize),
    /// Records of one entry, at most, unless a single operation has more.
    pub entry_records: u64,
    /// Records of one message, unless its only entry has more.
    pub message_records: u64,
    /// Messages with entries to one peer that are not answered yet.
    pub messages_in_flight: usize,
    /// Records proposed and not committed. Beyond that, what is executed waits.
    pub records_ahead: u64,
    /// Entries of the log that are known by index. Peers that need earlier ones get a snapshot.
    pub entries_kept: usize,
    /// What the tests have put in.
    pub(super) defect: Option<Defect>,
}

impl Settings {
    /// As many entries as stay when there are too many.
    pub(super) fn entries_least(&self) -> usize {
        self.entries_kept - self.entries_kept / 8
    }

    /// Those of a node in a cluster, as [`limits`] has them.
    #[must_use]
    pub fn new(node: NodeId, seed: u64) -> Settings {
        Settings {
            node,
            seed,
            heartbeat_ticks: 2,
            election_ticks: (20, 41),
            entry_records: limits::ENTRY_RECORDS,
            message_records: limits::MESSAGE_RECORDS,
            messages_in_flight: limits::MESSAGES_IN_FLIGHT,
            records_ahead: limits::RECORDS_AHEAD,
            entries_kept: limits::ENTRIES_KEPT,
            defect: None,
        }
    }
}
