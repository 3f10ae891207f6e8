//! What an instance knows of the cluster that it is a member of.
//!
//! [`members`] names nodes and says who is a member, [`identity`] which cluster it is, [`secret`] reads and makes the file by which members
//! prove to each other that they belong together. [`state`] is what a member promised, and [`state_file`] keeps it in `DATA/raft`. [`row`] is
//! what workers and tools read of the cluster in shared memory, [`view`] the same as values; [`peer_counts`] is what its connections have
//! counted.

pub mod identity;
pub mod members;
pub mod peer_counts;
pub mod row;
pub mod secret;
pub mod state;
pub mod state_file;
pub mod view;

pub use identity::ClusterId;
pub use members::{Change, ChangeKind, Member, Membership, NodeId, ReplicaId};
pub use peer_counts::PeerCounts;
pub use row::ClusterRow;
pub use secret::{Secret, SecretError};
pub use state::{Commit, State};
pub use state_file::{StateFile, StateFileError, read_state};
pub use view::{ClusterView, MemberView, Standing};
