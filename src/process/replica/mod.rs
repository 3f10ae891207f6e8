//! The replica process `vault-replica`: this instance's part in a cluster.
//!
//! Several instances are one ledger by raft (Ongaro and Ousterhout, "In search of an understandable consensus algorithm"). A process of
//! its own does that, so that a slow disk delays no heartbeat, and so that what peers send stays out of the process that owns the disk.

pub mod core;
pub mod message;
pub mod peers;

/// Whether this program can replicate. While it cannot, a start with peers is refused: nothing of it may be reachable that only half works.
pub const IS_AVAILABLE: bool = false;
