//! What a request means, without files, memory or descriptors.

pub mod map;
