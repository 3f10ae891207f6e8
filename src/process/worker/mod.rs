//! A worker: an event loop that serves the connections handed to it.
//!
//! `acceptor` receives connections from the master or accepts them, `connections` begins and ends their sessions, `eviction` makes room
//! for them, `run_queue` serves those that have something to be served for, `timers` looks after those that are late, `orders` obeys the
//! master. What is served, `services` knows.

mod acceptor;
mod candidates;
mod connections;
mod event_loop;
mod eviction;
mod orders;
mod release_notice;
mod run_queue;
mod services;
mod timers;

pub use event_loop::{Start, run};
pub use release_notice::ReleaseNotice;
