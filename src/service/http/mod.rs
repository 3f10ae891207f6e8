//! Files, and the pages that show the server, by HTTP.

pub mod entry;
pub mod rules;
pub mod session;
pub mod wire;
