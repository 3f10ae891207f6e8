//! What can be seen of a running instance: counters at one moment, what happened between two, and whether it is ready.
//!
//! Everything is loaded from shared memory, by atomic loads: no lock is taken and nothing is written, so that looking
//! delays no one. `docs/STATUS.md` describes what is shown, field by field.

pub mod activity;
pub mod bounds;
mod dashboard;
mod events;
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
