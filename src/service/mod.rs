//! What the server offers to clients, and what is common to all of it.

pub mod bank;
pub mod budget;
pub mod fair;
pub mod http;
pub mod pool;
pub mod visit;
