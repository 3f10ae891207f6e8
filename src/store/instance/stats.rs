//! What a worker counts: one row of plain counters, written by that worker alone, read by all.

use crate::base::limits::MAX_SERVICES;
use crate::ipc::layout::Counter;
use crate::shared_struct;
use crate::store::connection::PerService;
use crate::store::instance::histogram::{BUCKETS, Histogram};

/// Places for counters per opcode, in the order of `wire::Opcode::ALL`.
pub const OPCODES: usize = 9;
/// Places for counters per status code.
pub const STATUSES: usize = 16;
/// Places for counters per status code of HTTP, in the order of `http::Status::ALL`.
pub const HTTP_STATUSES: usize = 32;

/// Places for counters per procedure of the key-value store.
pub const KV_PROCEDURES: usize = 6;
/// Places for counters per status of the key-value store.
pub const KV_STATUSES: usize = 11;
/// Places for counters per status of GetFile.
pub const GETFILE_RESPONSES: usize = 4;

shared_struct! {
    /// Counters of one worker since the instance began; a successor counts on. Writer: the worker.
    pub struct WorkerStats, align 64, size 320 + 8 * (BUCKETS + 1) + MAX_SERVICES * 64 + WEB_BYTES + GETFILE_BYTES + KV_BYTES
        + BOUND_BYTES; {
        /// Connections dropped for being idle.
        pub idle_dropped: Counter,
        /// Connections dropped for a frame that did not end.
        pub slow_dropped: Counter,
        /// Bytes received by the bank.
        pub bytes_in: Counter,
        /// Bytes sent by the bank.
        pub bytes_out: Counter,
        /// Turns of the event loop.
        pub turns: Counter,
        /// Requests by opcode.
        pub requests: [Counter; OPCODES],
        /// Answers by status code.
        pub answers: [Counter; STATUSES],
        /// Nanoseconds that tickets waited between accept and the worker, summed.
        pub dispatch_wait_ns: Counter,
        /// The longest of these waits.
        pub dispatch_wait_most_ns: Counter,
        /// Bad frames.
        pub strikes: Counter,
        /// Times that the lane was found in use by the master.
        pub lane_contended: Counter,
        /// Connections taken over from other workers.
        pub resumed: Counter,
        spare: [Counter; 5],
        /// From when a request of the bank was there to be read to when its reply was free to be sent.
        pub answer_times: Histogram,
        /// What concerns the connections of each service.
        pub services: PerService<ServiceStats>,
        /// What it served over HTTP.
        pub web: WebStats,
        /// What it served over GetFile.
        pub getfile: GetFileStats,
        /// What it answered of the key-value store.
        pub kv: KvStats,
        /// What happened at the bounds of `limits`.
        pub bounds: BoundStats,
    }
}

shared_struct! {
    /// What a worker counts of the connections of one service. Writer: the worker.
    pub struct ServiceStats, align 8, size 64; {
        /// Connections that came from their clients, not from another worker.
        pub accepted: Counter,
        /// Connections closed.
        pub closed: Counter,
        /// Connections turned away because there was no room.
        pub refused: Counter,
        /// Connections that are open now, those that are closing included.
        pub connections: Counter,
        /// Silent connections closed to make room for others.
        pub evicted: Counter,
        /// Connections that could be, now.
        pub silent: Counter,
        /// Connections that were told that nothing more comes, and have not closed yet.
        pub closing: Counter,
        /// Connections that wait for the log now: with replies that show what is not committed, or with a request that cannot be carried out
        /// yet.
        pub waiting: Counter,
    }
}

/// Bytes of [`BoundStats`].
const BOUND_BYTES: usize = 8 * 24;

shared_struct! {
    /// What a worker counts at the bounds of `limits`. Writer: the worker.
    pub struct BoundStats, align 8, size BOUND_BYTES; {
        /// LOGINs that failed.
        pub logins_failed: Counter,
        /// Connections closed after too many of these.
        pub closed_guessing: Counter,
        /// Connections closed since they had not logged in in time.
        pub closed_without_login: Counter,
        /// LOGINs that wait for a thread now.
        pub logins_waiting: Counter,
        /// LOGINs answered ERR_BUSY since too many waited.
        pub logins_refused: Counter,
        /// HISTORYs and TOTALS that wait for a thread now.
        pub lookups_waiting: Counter,
        /// HISTORYs and TOTALS answered ERR_BUSY since too many waited.
        pub lookups_refused: Counter,
        /// Connections closed since they sent too much after they were told that nothing more comes, or into a stream of events.
        pub closed_flooding: Counter,
        /// Streams of events answered 503 since there were too many.
        pub streams_refused: Counter,
        /// Lines of the access log that were dropped.
        pub log_dropped: Counter,
        /// Bytes of lines that wait for room in the access log now, of connections that have ended.
        pub log_held_bytes: Counter,
        bound_spare: [Counter; 13],
    }
}

/// Bytes of [`KvStats`].
const KV_BYTES: usize = 8 * (KV_PROCEDURES + KV_STATUSES + 6 + BUCKETS + 1);

shared_struct! {
    /// What a worker counts of the key-value store. Writer: the worker.
    pub struct KvStats, align 8, size KV_BYTES; {
        /// Calls by procedure.
        pub calls: [Counter; KV_PROCEDURES],
        /// Results by status.
        pub results: [Counter; KV_STATUSES],
        /// Calls that were answered with an error of RPC: of another program, with senseless arguments, of a caller who may not call.
        pub faults: Counter,
        /// Records that are no call, and those that are too long, at which their connection was closed.
        pub bad_records: Counter,
        /// Scans that were refused because too many waited for a thread.
        pub scans_refused: Counter,
        /// Bytes received.
        pub bytes_in: Counter,
        /// Bytes sent.
        pub bytes_out: Counter,
        kv_spare: Counter,
        /// From when a call was there to be read to when its reply was free to be sent.
        pub answer_times: Histogram,
    }
}

/// Bytes of [`GetFileStats`].
const GETFILE_BYTES: usize = 8 * (GETFILE_RESPONSES + 11 + BUCKETS + 1);

shared_struct! {
    /// What a worker counts of GetFile. Writer: the worker.
    pub struct GetFileStats, align 8, size GETFILE_BYTES; {
        /// Bytes sent, heads included.
        pub bytes_out: Counter,
        /// Responses by status, in the order of `getfile::wire::response::Response::place`.
        pub answers: [Counter; GETFILE_RESPONSES],
        /// Requests that were refused because too many waited for a thread.
        pub overloaded: Counter,
        /// Times that a line had to wait for room in the access log.
        pub log_waits: Counter,
        /// Requests that found no free segment at once.
        pub segment_waits: Counter,
        /// Requests that found the queue to the cache process full.
        pub queue_full: Counter,
        /// Requests that were put to the cache process once more, since it had died or could not finish.
        pub asked_again: Counter,
        /// Requests that the cache process did not answer, or whose contents it did not go on with, in time.
        pub cache_timeouts: Counter,
        /// Clients that took nothing while others waited for a segment, and were closed.
        pub slow_closed: Counter,
        getfile_spare: [Counter; 3],
        /// From when a request was whole to when its answer was sent.
        pub answer_times: Histogram,
    }
}

/// Bytes of [`WebStats`].
const WEB_BYTES: usize = 8 * (HTTP_STATUSES + 14 + BUCKETS + 1);

shared_struct! {
    /// What a worker counts of HTTP. Writer: the worker.
    pub struct WebStats, align 8, size WEB_BYTES; {
        /// Bytes sent, heads included.
        pub bytes_out: Counter,
        /// Answers by status code.
        pub answers: [Counter; HTTP_STATUSES],
        /// Requests that the cache had the file for.
        pub cache_hits: Counter,
        /// Requests that it did not.
        pub cache_misses: Counter,
        /// Files that were put out of the cache for others.
        pub cache_evictions: Counter,
        /// Bytes that the cache holds now.
        pub cache_bytes: Counter,
        /// Files that the cache holds now.
        pub cache_entries: Counter,
        /// Files that are being read now, or wait for a thread.
        pub queued: Counter,
        /// Requests that were refused because too many waited for a thread.
        pub overloaded: Counter,
        /// Times that a line had to wait for room in the access log.
        pub log_waits: Counter,
        /// Streams of the dashboard that are open now.
        pub streams: Counter,
        web_spare: [Counter; 4],
        /// From when a request was whole to when its answer was sent.
        pub answer_times: Histogram,
    }
}
