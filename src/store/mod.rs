//! What processes share in memory, and what outlives them on disk.

pub mod access_log;
pub mod cache_channel;
pub mod cluster;
pub mod connection;
pub mod instance;
pub mod journal;
pub mod kv;
pub mod ledger;
pub mod transfer;
pub mod users;
