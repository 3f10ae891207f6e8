//! The ledger for clients, by the binary protocol of `docs/PROTOCOL.md`.

pub mod entry;
pub mod rules;
pub mod session;
pub mod statement;
pub mod wire;
