//! Bank Vault: a ledger server made of cooperating Unix processes.
//!
//! The rooms of this crate, from the ground up; imports point downward only (`tests/rooms.rs` holds the list):
//!
//! - floor 0, words: [`vocab`], [`limits`]
//! - floor 1, what the kernel gives, and all of the `unsafe`: [`ipc`]
//! - floor 2, pure rules: [`wire`]
//! - floor 4, processes: [`client`]
//!
//! `docs/ARCHITECTURE.md` tells the whole plan.

#[path = "../ipc/mod.rs"]
pub mod ipc;

pub mod client;
pub mod limits;
pub mod vocab;
pub mod wire;
