//! The key-value service: ONC RPC by the interface in `docs/kv.x`.

pub mod entry;
pub mod rules;
pub mod session;
pub mod wire;
