//! What the kernel gives: shared memory, semaphores, robust locks, descriptor passing, processes.
//!
//! All of the crate's `unsafe` lives in this folder, behind interfaces that are safe to call. Nothing here knows what a
//! bank is: these are the building blocks that the rest is made of.
//!
//! The happens-before pairs between processes carry greppable names in the comments of both sides:
//! `PUBLISH-SEGMENT` (segment), `HAND-OVER` (lane), `COMMIT-INTENT`, `TAIL`,
//! `CUT` and `RING-PLACE` (ledger), `MOVE-PROGRESS` (connection), `APPEND-OR-SLEEP` and `DURABLE-OR-AWAITED` (journal),
//! `LINE-APPENDED`, `LINE-FLUSHED` and `PLAN` (access log), `OFFER-SEGMENT`, `END-OF-USE`, `ANNOUNCE-OUTCOME`, `FILL-CHUNK`, `RETURN-CHUNK`,
//! `FILLED-OR-AWAITED`, `RETURNED-OR-AWAITED` and `FREED-OR-TICKET-SHOWN` (transfer).
#![allow(unsafe_code)]

pub mod bytes;
pub mod cells;
pub mod error;
pub mod event;
pub mod fdpass;
pub mod filelock;
pub mod files;
pub mod futex;
pub mod inherit;
pub mod lane;
pub mod layout;
pub mod local_socket;
pub mod memfd;
pub mod message_queue;
#[cfg(feature = "model")]
pub mod model;
pub mod names;
pub mod net;
pub mod output;
pub mod process;
pub mod region;
pub mod robust;
pub mod scan;
pub mod segment;
pub mod semaphore;
pub mod shared_semaphore;

pub use error::IpcError;
