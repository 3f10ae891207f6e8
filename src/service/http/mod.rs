//! Files, and the status of the instance, over HTTP.

pub mod rules;
pub mod session;
pub mod wire;
