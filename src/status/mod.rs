//! What can be seen of a running instance: its counters at one moment, the changes between two moments, and whether it is ready.
//!
//! Everything is loaded from shared memory with atomic operations. No lock is taken and nothing is written, so that looking
//! delays nobody. `docs/STATUS.md` describes every field.

pub mod activity;
pub mod cache;
pub mod cluster;
mod events;
pub mod kv;
pub mod metrics;
pub mod numbers;
mod pages;
pub mod readiness;
pub mod sample;
pub mod services;
pub mod view;

pub use metrics::metrics;
pub use pages::pages;
pub use readiness::{Unready, readiness};
pub use sample::Sample;
pub use services::ServiceCounts;
pub use view::{View, Watcher};
