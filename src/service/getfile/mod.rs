//! GetFile: one file a connection, by a protocol of two lines.

pub mod wire;
