//! The programs beside the server: the load client and the operator's tool.

pub mod client;
pub mod output;
pub mod signals;
pub mod vaultctl;
