//! The cache process, `vault-cache`: what GetFile has in memory, and what it fetches.
//!
//! [`core`] decides: a state machine without clock, threads, sockets or descriptors. Around it: [`origin`]s fetch, on threads, from an
//! [`upstream`] or from the [`files`] that a map names; `contents` has the bytes; `transfers` puts them into segments; `shell` carries
//! out what the core says; and the event loop tells it what happens.

mod arguments;
mod contents;
pub mod core;
mod event_loop;
mod fetches;
pub mod files;
#[cfg(test)]
mod hour_tests;
pub mod origin;
mod replies;
mod shell;
mod statistics;
#[cfg(test)]
mod together_tests;
mod transfers;
mod turn_wake_ups;
pub mod upstream;

pub use arguments::CacheArguments;
pub use event_loop::{EXIT_FAILED, run};
