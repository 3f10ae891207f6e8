//! A file as it is served and cached.

use std::sync::Arc;

use crate::service::http::wire::{Representation, Status};
use crate::service::outgoing::Content;

/// What a file is asked for by: `z` for a client that understands gzip, else `-`; a slash if the address ended in one, else `-`; and its
/// path below the folder.
pub type FileKey = Arc<[u8]>;

/// What an open file is counted as in the cache: descriptors are what it costs, and there are at most a thousand to 64 MiB.
const OPEN_FILE_BYTES: usize = 64 << 10;

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its bytes.
    pub length: u64,
    /// When it last changed, seconds and nanoseconds since 1970 (ctime).
    pub changed: (i64, i64),
    /// Whether this is the file's compressed form.
    pub gzipped: bool,
}

/// A file that is served.
pub struct ServedFile {
    /// What is said of it.
    pub representation: Representation,
    /// What it holds.
    pub content: Content,
    /// As it was when it was read.
    pub stamp: Stamp,
}

impl ServedFile {
    /// What it is counted as in the cache.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        let content = match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Open(_) => OPEN_FILE_BYTES,
        };
        (content + self.representation.heap_bytes() + size_of::<ServedFile>()) as u64
    }
}

/// What was found.
pub enum LoadOutcome {
    /// What was known already.
    Same,
    /// This file.
    Found(Arc<ServedFile>),
    /// A folder, whose address ends in a slash.
    Folder,
    /// Nothing that can be served.
    Refused(Status),
}
