//! What an instance knows of the cluster that it is a member of.
//!
//! [`members`] names nodes and says who is a member.

pub mod members;

pub use members::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};
