//! GetFile: one file a connection, by a protocol of two lines (`docs/GETFILE.md`).

pub mod entry;
mod session;
pub mod wire;
