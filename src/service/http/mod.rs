//! Files, and what is to be seen of the server, by HTTP.

pub mod rules;
pub mod session;
