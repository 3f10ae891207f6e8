//! The server's processes, a folder for each.

pub mod cache;
pub mod journal;
pub mod master;
pub mod replica;
pub mod worker;
