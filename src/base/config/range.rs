//! The bounds of every numeric setting, each beside the name by which people write it.

use crate::base::limits::{
    MAX_ACCOUNTS, MAX_CONNECTIONS, MAX_KV_VALUE_BYTES, MAX_QUEUE_DEPTH, MAX_RECORDS_PER_SEGMENT, MAX_REPLICAS,
    MAX_TRANSFER_SEGMENT_BYTES, MAX_TRANSFER_SEGMENTS, MAX_WORKERS, MIN_TRANSFER_SEGMENT_BYTES,
};

/// The whole numbers that a setting may take, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The setting's name, the same on the command line and in the file.
    pub name: &'static str,
    /// The least value allowed.
    pub least: i64,
    /// The greatest value allowed.
    pub most: i64,
    /// What is counted, for the refusal: "seconds", "connections".
    pub unit: &'static str,
}

// The casts below widen or are far below i64::MAX; `as` because `From` is not const.
#[allow(clippy::cast_lossless, clippy::cast_possible_wrap)]
mod table {
    use super::*;

    /// `--port`; 0 lets the kernel choose a free one.
    pub const PORT: Range = range("port", 0, u16::MAX as i64, "as a TCP port; 0 lets the kernel choose");
    /// `--workers`.
    pub const WORKERS: Range = range("workers", 1, MAX_WORKERS as i64, "processes");
    /// `--accounts`.
    pub const ACCOUNTS: Range = range("accounts", 1, MAX_ACCOUNTS as i64, "accounts");
    /// `--max-connections`.
    pub const CONNECTIONS: Range = range("max-connections", 1, MAX_CONNECTIONS as i64, "connections");
    /// `--idle-timeout`; the upper end is a year, above which 0 (never) is what people mean.
    pub const IDLE_TIMEOUT: Range = range("idle-timeout", 0, 31_536_000, "seconds; 0 means never");
    /// `--login-timeout`.
    pub const LOGIN_TIMEOUT: Range = range("login-timeout", 1, 3_600, "seconds");
    /// `--rate-limit`.
    pub const RATE_LIMIT: Range = range("rate-limit", 0, 1_000_000_000, "requests per second; 0 means no limit");
    /// `--queue-depth`.
    pub const QUEUE_DEPTH: Range = range("queue-depth", 1, MAX_QUEUE_DEPTH as i64, "tickets");
    /// `--worker-timeout`; at least a second, because workers beat more often than that but not much.
    pub const WORKER_TIMEOUT: Range = range("worker-timeout", 1, 3_600, "seconds");
    /// `--flush-interval`.
    pub const FLUSH_INTERVAL: Range = range("flush-interval", 1, 60_000, "milliseconds");
    /// `--key-window`; the upper end is ten gigabytes of memory.
    pub const KEY_WINDOW: Range = range("key-window", 1, 100_000_000, "operations");
    /// `--snapshot-every`.
    pub const SNAPSHOT_EVERY: Range = range("snapshot-every", 0, 1 << 40, "records; 0 means never");
    /// `--getfile-port`.
    pub const GETFILE_PORT: Range = range("getfile-port", 0, u16::MAX as i64, "as a TCP port; 0 means no GetFile");
    /// `--getfile-connections`.
    pub const GETFILE_CONNECTIONS: Range = range("getfile-connections", 1, MAX_CONNECTIONS as i64, "connections");
    /// `--getfile-threads`.
    pub const GETFILE_THREADS: Range = range("getfile-threads", 1, 64, "threads of each worker");
    /// `--getfile-timeout`.
    pub const GETFILE_TIMEOUT: Range = range("getfile-timeout", 1, 3_600, "seconds");
    /// `--getfile-cache-mb`; the upper end is a tebibyte.
    pub const GETFILE_CACHE_MB: Range =
        range("getfile-cache-mb", 0, 1 << 20, "mebibytes of the cache process; 0 means that nothing is kept");
    /// `--getfile-object-mb`.
    pub const GETFILE_OBJECT_MB: Range = range("getfile-object-mb", 1, 1 << 20, "mebibytes");
    /// `--getfile-ttl`; the upper end is a year.
    pub const GETFILE_TTL: Range = range("getfile-ttl", 0, 31_536_000, "seconds");
    /// `--getfile-negative-ttl`.
    pub const GETFILE_NEGATIVE_TTL: Range = range("getfile-negative-ttl", 0, 31_536_000, "seconds");
    /// `--getfile-upstream-timeout`.
    pub const GETFILE_UPSTREAM_TIMEOUT: Range = range("getfile-upstream-timeout", 1, 3_600, "seconds");
    /// `--cache-segments`.
    pub const CACHE_SEGMENTS: Range = range("cache-segments", 1, MAX_TRANSFER_SEGMENTS as i64, "segments");
    /// `--cache-segment-bytes`; the least has room for the header and for something in each of its two chunks.
    pub const CACHE_SEGMENT_BYTES: Range = range(
        "cache-segment-bytes",
        MIN_TRANSFER_SEGMENT_BYTES as i64,
        MAX_TRANSFER_SEGMENT_BYTES as i64,
        "bytes, its header of 256 included",
    );
    /// `--http-port`.
    pub const HTTP_PORT: Range = range("http-port", 0, u16::MAX as i64, "as a TCP port; 0 means no HTTP");
    /// `--http-connections`.
    pub const HTTP_CONNECTIONS: Range = range("http-connections", 1, MAX_CONNECTIONS as i64, "connections");
    /// `--http-threads`.
    pub const HTTP_THREADS: Range = range("http-threads", 1, 64, "threads of each worker");
    /// `--cache-mb`.
    pub const CACHE_MB: Range = range("cache-mb", 0, 1 << 20, "mebibytes of each worker; 0 means no cache");
    /// `--http-timeout`.
    pub const HTTP_TIMEOUT: Range = range("http-timeout", 1, 3_600, "seconds");
    /// `--log-rotate-mb`.
    pub const LOG_ROTATE_MB: Range = range("log-rotate-mb", 1, 1 << 20, "mebibytes");
    /// `--log-keep`.
    pub const LOG_KEEP: Range = range("log-keep", 1, 1_000, "files");
    /// `--kv-port`.
    pub const KV_PORT: Range = range("kv-port", 0, u16::MAX as i64, "as a TCP port; 0 means no key-value service");
    /// `--kv-mb`; the upper end is 64 GiB.
    pub const KV_MB: Range = range("kv-mb", 1, 65_536, "mebibytes");
    /// `--kv-max-value`.
    pub const KV_MAX_VALUE: Range = range("kv-max-value", 1, MAX_KV_VALUE_BYTES as i64, "bytes");
    /// `--kv-connections`.
    pub const KV_CONNECTIONS: Range = range("kv-connections", 1, MAX_CONNECTIONS as i64, "connections");
    /// `--segment-records`; from half a mebibyte to a gibibyte.
    pub const SEGMENT_RECORDS: Range = range("segment-records", 4_096, MAX_RECORDS_PER_SEGMENT as i64, "records");
    /// `--replica-id`.
    pub const REPLICA_ID: Range = range("replica-id", 1, MAX_REPLICAS as i64, "as the id of one of the peers");
}
pub use table::*;

const fn range(name: &'static str, least: i64, most: i64, unit: &'static str) -> Range {
    Range { name, least, most, unit }
}
