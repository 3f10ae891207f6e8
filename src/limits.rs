//! Every bound of the system in one place, with the relations between them checked at compile time.

/// Bytes of a frame header on the wire.
pub const HEADER_BYTES: usize = 18;
/// Bytes of an idempotency key, which stands between header and body when flag bit 2 is set.
pub const KEY_BYTES: usize = 16;
/// The longest frame either side may send, header included; a longer length closes the connection.
pub const MAX_FRAME_BYTES: usize = 4096;
/// The longest answer to one request but HISTORY: TOTALS, a header and 38 bytes, with room to grow; back-pressure keeps this
/// free. A page of a statement may be as long as a frame, and its request waits until there is room for that.
pub const MAX_REPLY_BYTES: usize = 128;
/// Bytes of one entry of a statement: lsn, time, kind, amount, counterparty, balance.
pub const STATEMENT_ENTRY_BYTES: usize = 8 + 8 + 1 + 8 + 4 + 8;
/// The entries that one page of a statement can carry: as many as fit a frame beside status, count and `next`.
pub const MAX_STATEMENT_ENTRIES: usize = (MAX_FRAME_BYTES - HEADER_BYTES - 2 - 2 - 8) / STATEMENT_ENTRY_BYTES;
/// The longest user name and the longest password of a LOGIN, bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 255;
/// Bad frames after which a connection is closed.
pub const MAX_STRIKES: u8 = 3;

/// Bytes of a connection's receive ring in shared memory; a power of two.
pub const RECEIVE_BYTES: usize = 16 * 1024;
/// Bytes of a connection's transmit ring in shared memory; a power of two.
pub const TRANSMIT_BYTES: usize = 16 * 1024;

/// Bytes of the head of an HTTP request, request line and empty line included; a longer one is answered 431.
pub const MAX_HEAD_BYTES: usize = 12 * 1024;
/// Bytes of the method in a request line; a longer one is answered 501, as every unknown method is. The longest that is
/// registered has 17.
pub const MAX_METHOD_BYTES: usize = 32;
/// Bytes of the target in a request line; a longer one is answered 414. RFC 9112 (section 3) wants request lines of 8,000 bytes
/// at least.
pub const MAX_TARGET_BYTES: usize = 8_000;
/// Header lines of an HTTP request.
pub const MAX_HEADERS: usize = 64;
/// Bytes of a request's body, which are read and thrown away: no resource of the file service takes any.
pub const MAX_BODY_BYTES: u64 = 64 * 1024;
/// Ranges that one request may ask for; with more it gets the whole.
pub const MAX_RANGES: usize = 16;

/// Workers that one instance can have at a time.
pub const MAX_WORKERS: usize = 64;
/// Accounts that one instance can have: the ids fit in 32 bits, the table in 64 GiB.
pub const MAX_ACCOUNTS: u32 = 1 << 30;
/// Connections that one instance can have at a time.
pub const MAX_CONNECTIONS: u32 = 65_536;
/// Tickets that a lane can hold; the socketpair beside it queues about 278 messages before it is full.
pub const MAX_QUEUE_DEPTH: u32 = 256;

/// Descriptors that the master has beside those of connections: standard ones, listeners, locks, and some per worker.
pub const FILES_BESIDE_CONNECTIONS: u64 = 64 + 4 * MAX_WORKERS as u64;
/// Files that a worker may keep open to send them again over HTTP.
pub const CACHED_FILES: u64 = 1024;
/// Threads of each worker for what may block in the bank's service: password hashing, TOTALS, HISTORY.
pub const BANK_THREADS: usize = 2;
/// Bytes of memory that a process takes when it has just started, beside what it shares; a start is refused without them.
pub const PROCESS_BYTES: u64 = 4 << 20;
/// Bytes of memory that hashing one password takes (Argon2id with its default parameters).
pub const PASSWORD_HASH_BYTES: u64 = 19 << 20;
/// Bytes of address space that a process needs for its program and for each thread: stack, guard pages, heap.
pub const ADDRESS_BYTES_PER_THREAD: u64 = 16 << 20;

/// Bytes of a line of the log, its end included; what is longer is cut, and ends with a mark. It is PIPE_BUF: so many bytes are
/// written to a pipe whole or not at all (`pipe(7)`), so lines of several processes never mix.
pub const MAX_LOG_LINE_BYTES: usize = 4096;

/// Seconds that a begun frame may stay incomplete before its sender counts as slow and is dropped.
pub const PARTIAL_FRAME_SECONDS: u64 = 10;
/// Seconds that a start waits for the dying processes of a killed server to give back its locks; then it is refused.
pub const DYING_SECONDS: u64 = 10;
/// Seconds that an orderly stop may take before the remaining workers are killed.
pub const STOP_DEADLINE_SECONDS: u64 = 10;

/// Milliseconds between two starts of one child process in the long run, so that one that ends again and again cannot keep the
/// master busy.
pub const RESPAWN_SPACING_MS: u64 = 100;
/// Starts of one child process that may follow each other at once: several ends in a row can be chance.
pub const RESPAWN_BURST: u32 = 5;
/// Milliseconds of the wait after a start that failed, and after a process that ended before it did anything. It doubles with each …
pub const RESPAWN_BACKOFF_FIRST_MS: u64 = 10;
/// … and is never longer than so many milliseconds.
pub const RESPAWN_BACKOFF_LONGEST_MS: u64 = 2000;
/// Milliseconds until accepting is tried again when the master has no descriptor or no memory for a connection.
pub const ACCEPT_BACKOFF_MS: u64 = 100;
/// Seconds within which a new program must say whether it fits; after that the upgrade is refused, and the server goes on as it is.
pub const UPGRADE_ANSWER_SECONDS: u64 = 10;
/// Bytes that a new program may say when it is asked whether it fits; what is beyond them is not read.
pub const UPGRADE_ANSWER_BYTES: usize = 16 * 1024;

/// The number of the last operation that there can be: what the order word has bits for. At 3 million a second that is 47 years; what
/// is said on disk to be of a later one is damaged, or no file of ours.
pub const MAX_LSN: u64 = (1 << 52) - 1;
/// Records of a segment, a gibibyte; `--segment-records` beyond is refused, and `DATA/format` is damaged that says more.
pub const MAX_RECORDS_PER_SEGMENT: u64 = 1 << 23;

/// Torn tails of the journal that are kept, one file for each segment that a tail was in; the oldest go.
pub const MAX_TORN_TAILS: usize = 16;
/// Bytes that are kept of one torn tail; what is more is named and not kept. The journal's ring, out of which a tail comes, has 8 MiB.
pub const MAX_TORN_TAIL_BYTES: u64 = 64 << 20;

const _: () = {
    assert!(RECEIVE_BYTES.is_power_of_two() && TRANSMIT_BYTES.is_power_of_two());
    assert!(RECEIVE_BYTES >= 2 * MAX_FRAME_BYTES, "a whole frame must fit behind a partly read one");
    assert!(TRANSMIT_BYTES >= 2 * MAX_FRAME_BYTES, "a reply must fit while another is being sent");
    assert!(MAX_FRAME_BYTES >= HEADER_BYTES + 2 + 2 * MAX_CREDENTIAL_BYTES, "the longest LOGIN must be a legal frame");
    assert!(MAX_REPLY_BYTES >= HEADER_BYTES + 38, "TOTALS must fit");
    assert!(
        MAX_METHOD_BYTES + MAX_TARGET_BYTES + 4096 <= MAX_HEAD_BYTES,
        "the longest target must leave room for fields"
    );
    assert!(MAX_HEAD_BYTES + 2 <= RECEIVE_BYTES, "a whole request head must fit, and an empty line before it");
    assert!(MAX_STATEMENT_ENTRIES == 109, "docs/PROTOCOL.md names this number");
};
