//! Where in a reply a new version stands: a write is answered before its place in the log is known, and gets it when it is.

use crate::base::onc_rpc::reply::SUCCESS_HEAD_BYTES;
use crate::base::vocab::Lsn;

/// Bytes of a version.
const VERSION_BYTES: usize = 8;
/// Bytes of a reply to a write that was done, mark included, and the most of any reply to a write.
pub const WRITE_REPLY_BYTES: usize = SUCCESS_HEAD_BYTES + 4 + VERSION_BYTES;

/// A reply that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its bytes, mark included.
    pub bytes: usize,
    /// From its beginning, where the version stands that a write has made; only in a reply that says that one was done.
    pub version_at: Option<usize>,
}

impl Written {
    /// Of a reply of so many bytes that says that a write was done: the version is at its end.
    pub(super) const fn with_version(bytes: usize) -> Self {
        Written { bytes, version_at: Some(bytes - VERSION_BYTES) }
    }
}

/// Puts another version into a reply, which stays as long as it was: `record` is all of the reply, and `written` what was said of it.
/// It does nothing to a reply without a new version.
pub fn put_version(record: &mut [u8], written: Written, version: Lsn) {
    let place = written.version_at.and_then(|at| record.get_mut(at..at + VERSION_BYTES));
    if let Some(place) = place {
        place.copy_from_slice(&version.0.to_be_bytes());
    }
}
