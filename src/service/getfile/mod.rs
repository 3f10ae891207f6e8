//! GetFile: one file a connection, by a protocol of two lines (`docs/GETFILE.md`).

pub mod entry;
pub mod rules;
pub mod session;
pub mod wire;
