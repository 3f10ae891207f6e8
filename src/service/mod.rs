//! What the server offers, and to whom.

pub mod bank;
pub mod session;
pub mod statement;
pub mod users;
