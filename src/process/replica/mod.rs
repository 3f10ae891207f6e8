//! The replica process `vault-replica`: this instance's part in a cluster.
//!
//! Several instances are one ledger by raft (Ongaro and Ousterhout, "In search of an understandable consensus algorithm"). A process of
//! its own does that, so that a slow disk delays no heartbeat, and so that what peers send stays out of the process that owns the disk.

mod arguments;
mod changing;
pub mod core;
mod error;
mod event_loop;
mod founding;
mod loading;
mod log_reading;
mod membership;
pub mod message;
mod node;
mod observing;
pub mod peers;
mod publish;
mod records;
mod requests;
mod seen;
mod shell;
mod snapshots;

pub use arguments::ReplicaArguments;
pub use event_loop::run;

/// The exit code of a replica process that cannot go on; its successor may.
pub const EXIT_FAILED: i32 = 1;
/// The exit code of a replica process after which the books are to be remade before its successor starts: they hold operations which the
/// cluster has not committed, and which are to be cut from the log, or a snapshot has come that takes their place.
pub const EXIT_REMAKE: i32 = 3;
