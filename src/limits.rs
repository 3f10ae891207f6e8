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

/// Seconds that a begun frame may stay incomplete before its sender counts as slow and is dropped.
pub const PARTIAL_FRAME_SECONDS: u64 = 10;
/// Seconds that an orderly stop may take before the remaining workers are killed.
pub const STOP_DEADLINE_SECONDS: u64 = 10;

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
