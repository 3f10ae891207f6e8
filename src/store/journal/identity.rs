//! What tells one data directory from another.

/// Bytes of an identity.
pub const IDENTITY_BYTES: usize = 16;
/// A random number that every file of a directory carries, so that files of two directories are never mixed.
pub type Identity = [u8; IDENTITY_BYTES];
