//! Bank Vault: a ledger server made of cooperating Unix processes.
//!
//! The floors of this crate, from the ground up. Imports point downward only; `tests/rooms.rs` holds the list.
//!
//! - [`ipc`]: what the kernel gives, and all of the `unsafe`
//! - [`base`]: words, limits, settings, the server's log, crash points
//! - [`store`]: what is shared or kept: ledger, journal, connection slots, access log, the instance's shared memory
//! - [`service`]: what clients are offered, a folder for each service: bytes, rules, sessions
//! - [`status`]: what can be seen of all that
//! - [`process`]: the master, the workers, the journal process, the cache process
//! - [`tool`]: the load client and the operator's tool
//!
//! `docs/ARCHITECTURE.md` tells how they work together.

#[path = "../ipc/mod.rs"]
pub mod ipc;

pub mod base;
// With the feature `model` there is nothing above what is checked: it has no memory to run on.
#[cfg(not(feature = "model"))]
pub mod process;
#[cfg(not(feature = "model"))]
pub mod service;
#[cfg(not(feature = "model"))]
pub mod status;
pub mod store;
#[cfg(not(feature = "model"))]
pub mod tool;
