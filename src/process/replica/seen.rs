//! What the replica process sees of the instance's memory.

use crate::base::vocab::{Lsn, OnDisk};

/// What was seen of the instance's memory when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The last operation that has a number.
    pub executed: Lsn,
    /// How far the journal was on disk.
    pub on_disk: OnDisk,
    /// The last truncation that was carried out.
    pub truncated: u64,
}
