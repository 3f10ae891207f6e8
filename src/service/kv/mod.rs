//! The key-value service: ONC RPC by the interface in `docs/kv.x`.

pub mod wire;
