//! The bounds and the times that the cache goes by.

use crate::base::limits::{
    CACHE_RETRY_MILLISECONDS, CACHE_SPOOL_IDLE_SECONDS, CACHE_STALE_IF_ERROR_SECONDS,
    CACHE_STALE_WHILE_REVALIDATE_SECONDS, CACHE_WINDOW_BYTES, MAX_CACHE_FETCHES, MAX_CACHE_NEGATIVE,
    MAX_CACHE_PASS_THROUGH, MAX_CACHE_READERS, MAX_CACHE_REVALIDATIONS, MAX_CACHE_SPOOLED_OBJECTS, MAX_CACHE_WAITING,
    MAX_CACHE_WAITING_PER_PATH, UPSTREAM_CHUNK_BYTES,
};

/// The bounds and the times that the cache goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of contents and paths in memory.
    pub cache_bytes: u64,
    /// Bytes of one object; a larger one is not kept.
    pub object_bytes: u64,
    /// Bytes of all spools.
    pub spool_bytes: u64,
    /// How long an entry in a spool is kept that nobody reads.
    pub spool_idle_ns: u64,
    /// Bytes of a content that passes through which are held at a time.
    pub window_bytes: u64,
    /// Bytes that an upstream gives at once, at most.
    pub chunk_bytes: u64,
    /// How long an entry is fresh, nanoseconds, as all times here.
    pub ttl_ns: u64,
    /// How long it is remembered that there is no such object.
    pub negative_ttl_ns: u64,
    /// How long an entry that is not fresh is answered with at once.
    pub stale_while_revalidate_ns: u64,
    /// How long an entry that is not fresh is answered with if the upstream is in error.
    pub stale_if_error_ns: u64,
    /// How long the upstream is not asked about an entry after that failed.
    pub retry_ns: u64,
    /// Fetches at a time, but for those that pass through; and entries in spools that nobody reads.
    pub fetches: usize,
    /// Fetches that pass through at a time.
    pub pass_through: usize,
    /// Fetches in the background that wait for their turn.
    pub revalidations: usize,
    /// Requests that wait for one path.
    pub waiting_per_path: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that read.
    pub readers: usize,
    /// Paths of which it is remembered that there is no such object.
    pub negative: usize,
}

impl Settings {
    /// The bounds of `limits`, and what an operator chooses.
    #[must_use]
    pub fn new(cache_bytes: u64, object_bytes: u64, ttl_ns: u64, negative_ttl_ns: u64) -> Self {
        const SECOND_NS: u64 = 1_000_000_000;
        Settings {
            cache_bytes,
            object_bytes,
            spool_bytes: object_bytes.saturating_mul(MAX_CACHE_SPOOLED_OBJECTS),
            spool_idle_ns: CACHE_SPOOL_IDLE_SECONDS * SECOND_NS,
            window_bytes: CACHE_WINDOW_BYTES,
            chunk_bytes: UPSTREAM_CHUNK_BYTES as u64,
            ttl_ns,
            negative_ttl_ns,
            stale_while_revalidate_ns: (CACHE_STALE_WHILE_REVALIDATE_SECONDS * SECOND_NS).min(ttl_ns),
            stale_if_error_ns: CACHE_STALE_IF_ERROR_SECONDS * SECOND_NS,
            retry_ns: CACHE_RETRY_MILLISECONDS * 1_000_000,
            fetches: MAX_CACHE_FETCHES,
            pass_through: MAX_CACHE_PASS_THROUGH,
            revalidations: MAX_CACHE_REVALIDATIONS,
            waiting_per_path: MAX_CACHE_WAITING_PER_PATH,
            waiting: MAX_CACHE_WAITING,
            readers: MAX_CACHE_READERS,
            negative: MAX_CACHE_NEGATIVE,
        }
    }
}
