//! Why a connection was refused, closed, or a message dropped; each reason has a name and is counted.

use std::io;

use super::wire::WireError;
use crate::base::vocab::Cents;
use crate::store::cluster::{ClusterId, NodeId, ReplicaId};

/// Why the other end of a connection was not accepted as a peer.
///
/// What depends on what the peer says of itself is judged only after it has proved to know the secret, so those reasons can be believed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its proof is wrong.
    #[error("it has another secret; give all members the same file of --cluster-secret")]
    Secret,
    /// It speaks another version of this protocol.
    #[error(
        "it speaks version {theirs} of the protocol between peers, and this instance version {ours}; run the same program on all"
    )]
    Version {
        /// The version that it speaks.
        theirs: u16,
        /// The version that this program speaks.
        ours: u16,
    },
    /// It is a member of another cluster.
    #[error(
        "it is a member of cluster {theirs}, and this instance of {ours}; correct --peers, or empty the data directory of one that is to join anew"
    )]
    Cluster {
        /// Its cluster.
        theirs: ClusterId,
        /// Ours.
        ours: ClusterId,
    },
    /// It has another number of accounts.
    #[error("it has {theirs} accounts, and this instance has {ours}; --accounts must be the same")]
    Accounts {
        /// How many it has.
        theirs: u32,
        /// How many there are here.
        ours: u32,
    },
    /// Its books were opened with another total.
    #[error(
        "its accounts were opened with {theirs} in all, and those of this instance with {ours}; the opening balances must be the same"
    )]
    Opening {
        /// Its total.
        theirs: Cents,
        /// Ours.
        ours: Cents,
    },
    /// The total is the same, and single accounts were opened with other balances.
    #[error(
        "its accounts were opened with other balances than those of this instance, of the same total; --opening-balances and \
         --initial-balance must be the same"
    )]
    Openings,
    /// Its segments have another number of records.
    #[error(
        "its segments have {theirs} records, and those of this instance {ours}; --segment-records must be the same"
    )]
    SegmentRecords {
        /// How many they have.
        theirs: u64,
        /// How many they have here.
        ours: u64,
    },
    /// It remembers another number of idempotency keys.
    #[error("it remembers {theirs} keys, and this instance {ours}; --key-window must be the same")]
    KeyWindow {
        /// How many it remembers.
        theirs: u64,
        /// How many are remembered here.
        ours: u64,
    },
    /// Its key-value table has another size, or only one of the two has a table.
    #[error(
        "its key-value table has {theirs} blocks, and that of this instance {ours} (0: it has none); --kv-mb must be the same on all \
         members, and --kv-port be given on all or on none"
    )]
    KeyValues {
        /// How many blocks it has.
        theirs: u32,
        /// How many there are here.
        ours: u32,
    },
    /// It is this instance itself, or somebody repeats what this instance says.
    #[error("it is this instance itself; correct --peers")]
    Myself,
    /// Another node has this instance's number.
    #[error("node {node} has --replica-id {replica}, too; give each instance a number of its own")]
    SameReplica {
        /// The number.
        replica: ReplicaId,
        /// The other node.
        node: NodeId,
    },
    /// Who answered at a peer's address has another number.
    #[error("it is replica {theirs}, and --peers has replica {configured} at that address")]
    OtherReplica {
        /// Its number.
        theirs: ReplicaId,
        /// The number that is configured.
        configured: ReplicaId,
    },
    /// What it sent is no greeting.
    #[error("what it sends is no greeting: {0}")]
    Garbage(WireError),
    /// It took too long.
    #[error("it has not proved in time that it belongs here")]
    Slow,
    /// The place was needed for others.
    #[error(
        "too many connections have not proved yet that they belong here, and this was the oldest one of its address"
    )]
    Crowded,
    /// There are as many peers as there can be.
    #[error("as many peers are connected as there can be")]
    Full,
    /// The other end closed, or the connection broke.
    #[error("it closed the connection before it had proved that it belongs here")]
    Gone,
    /// It could not be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Its name leads nowhere now.
    #[error("its name cannot be looked up: {0}; it is tried again, and may connect itself")]
    Unresolved(io::Error),
}

/// Why the connection to an accepted peer ended.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The peer closed it, or has ended.
    #[error("the peer closed the connection")]
    Peer,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// It sent what no peer sends.
    #[error("the peer sent what is no frame: {0}")]
    Garbage(WireError),
    /// It began a frame and did not go on.
    #[error("the peer began a frame and did not go on")]
    Stalled,
    /// There is another one to the same peer.
    #[error("there is another connection to the same peer")]
    Replaced,
    /// Whoever owns the connections wanted it closed.
    #[error("it was closed from here")]
    Own,
}

/// Why a message was not sent, or not taken. raft sends again what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its receiver is not connected.
    Unconnected,
    /// Too many messages wait for that peer.
    Messages,
    /// Too many bytes do.
    Bytes,
    /// The log has no longer the entries that it is about.
    Changed,
    /// It cannot be encoded, since something in it is beyond its bound.
    Unencodable,
}
