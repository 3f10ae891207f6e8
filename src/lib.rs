//! Bank Vault: a ledger server made of cooperating Unix processes.
//!
//! The rooms of this crate, from the ground up; imports point downward only (`tests/rooms.rs` holds the list):
//!
//! - floor 0, words: [`vocab`], [`limits`], [`calendar`], [`defect`]; results of tools: [`output`]
//! - floor 1, what the kernel gives, and all of the `unsafe`: [`ipc`]; the server's log: [`logging`]; signals of tools: [`signals`]
//! - floor 2, pure rules: [`wire`] and [`http`], and the settings of the server: [`config`]
//! - floor 3, where rules meet resources: [`ledger`], [`journal`], [`connection`], [`service`], [`instance`],
//!   [`access_log`], and what can be seen of all: [`status`]
//! - floor 4, the processes: [`master`], [`worker`]; the load client: [`client`]; the operator's tool: [`vaultctl`]
//!
//! `docs/ARCHITECTURE.md` tells the whole plan.

#[path = "../ipc/mod.rs"]
pub mod ipc;

pub mod access_log;
pub mod calendar;
pub mod client;
pub mod config;
pub mod connection;
pub mod crash_point;
pub mod defect;
pub mod http;
pub mod instance;
pub mod journal;
pub mod journald;
pub mod ledger;
pub mod limits;
pub mod logging;
pub mod master;
pub mod output;
pub mod service;
pub mod signals;
pub mod status;
pub mod vaultctl;
pub mod vocab;
pub mod wire;
pub mod worker;
