//! The worker's side of the key-value service: the handler gives connections their turns, the executor answers calls, and threads walk over
//! the keys for scans.

mod executor;
mod handler;
mod kv_service;
mod kv_session;
mod scans;

pub use kv_service::KvService;
