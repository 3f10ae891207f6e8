//! What an instance knows of the cluster that it is a member of.
//!
//! [`members`] names nodes and says who is a member, [`identity`] which cluster it is, [`secret`] reads and makes the file by which members
//! prove to each other that they belong together.

pub mod identity;
pub mod members;
pub mod secret;

pub use identity::ClusterId;
pub use members::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};
pub use secret::{Secret, SecretError};
