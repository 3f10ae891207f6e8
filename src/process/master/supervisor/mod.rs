//! The supervisor: which child processes there are to be, and what is done when one ends, hangs, or cannot be started.
//!
//! It is a state machine without system calls, clock or memory of its own: [`Event`]s and the time go in, [`Action`]s come out, and
//! the driver ([`crate::process::master::driver`]) performs them and reports what became of them. An action that fails is an event like any
//! other, so no failing system call can end the master; `tests.rs` drives every state through every failing action.
//!
//! The state is part of what an upgrade hands over, so a request under way goes on with the new program.

mod event;
mod hand_over;
mod lifecycle;
mod remake;
#[cfg(test)]
mod replica_tests;
mod request;
mod slot;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use event::{Action, End, Ended, Event, Observation, Order, Request, WorkerSeen};
pub use request::MUST_HAND_OVER;
pub use slot::SlotId;
pub use state::{Supervisor, TICK_NS};
