//! The programs beside the server: the load client, the client of the key-value service, and the operator's tool.

pub mod client;
pub mod kv_client;
pub mod output;
pub mod signals;
pub mod vaultctl;
