//! The journal process: takes records out of the ring, makes them durable in groups, and publishes how far it has got.
//!
//! It writes all that is in the ring at once and syncs it; what comes meanwhile is the next group. So a slow disk gets large
//! groups: group commit without a timer. The process sleeps in `poll(2)` on an eventfd, and is woken only when it sleeps.
//!
//! When it dies, nothing is lost and clients only wait: a place of the ring is used again only when its record is durable, so
//! the successor finds all other records there and goes on.

mod arguments;
mod error;
mod event_loop;
mod snapshotter;

pub use arguments::JournalArguments;
pub use error::JournalProcessError;
pub use event_loop::{EXIT_FAILED, run};
