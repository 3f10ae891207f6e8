//! What an instance knows of the cluster that it is a member of.
//!
//! [`members`] names nodes and says who is a member, [`identity`] which cluster it is, [`secret`] reads and makes the file by which members
//! prove to each other that they belong together. [`row`] is what workers and tools read of it in shared memory, [`view`] the same as values.

pub mod identity;
pub mod members;
pub mod row;
pub mod secret;
pub mod view;

pub use identity::ClusterId;
pub use members::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};
pub use row::ClusterRow;
pub use secret::{Secret, SecretError};
pub use view::{ClusterView, MemberView, Standing};
