//! What an instance knows of its cluster, as values.

use crate::base::vocab::{Lsn, ReplicaRole};

/// What decides whether a request may be answered here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What the instance is.
    pub role: ReplicaRole,
    /// The number of the primary; 0 where none is known.
    pub primary: u8,
}

/// What a [`ClusterRow`](super::ClusterRow) says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Role, and who is the primary.
    pub standing: Standing,
    /// The identity of the instance's node.
    pub node: u64,
    /// The term.
    pub term: u64,
    /// Where clients reach the primary; empty where that is not known.
    pub primary_address: String,
    /// Where clients reach the primary's key-value service; empty where that is not known, or there is none.
    pub primary_kv_address: String,
    /// The members, at most [`MAX_REPLICAS`](crate::base::limits::MAX_REPLICAS).
    pub members: Vec<MemberView>,
}

/// What a `MemberRow` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberView {
    /// Its number.
    pub replica: u8,
    /// Its identity.
    pub node: u64,
    /// What it is.
    pub role: ReplicaRole,
    /// The last operation that it is known to have on its disk.
    pub match_lsn: Lsn,
    /// When it was last heard, nanoseconds of the monotonic clock; 0 for never.
    pub heard_ns: u64,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it; empty where that is not known.
    pub client_address: String,
    /// Where clients reach its key-value service; empty where that is not known, or there is none.
    pub kv_address: String,
}
