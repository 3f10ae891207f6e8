//! The journal process: takes records out of the ring, makes them durable in groups, says how far it has got.
//!
//! It writes all that is in the ring in one go and syncs it; what came meanwhile is the next group. So a group is as large as
//! the disk is slow: group commit without a timer. It sleeps in `poll(2)` on an eventfd, and is woken only when it sleeps.
//!
//! When it dies nothing is lost and nobody notices but by waiting: the ring's places are used again only when their records
//! are durable, so its successor finds all others there and goes on.

mod arguments;
mod error;
mod event_loop;
mod snapshotter;

pub use arguments::JournalArguments;
pub use error::JournalProcessError;
pub use event_loop::{EXIT_FAILED, run};
