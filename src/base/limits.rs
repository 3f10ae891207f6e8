//! Every bound of the system in one place, with the relations between them checked at compile time.
//!
//! `docs/LIMITS.md` has a row for each public bound: its value, what happens there, and which counter shows it; `tests/limits.rs`
//! holds the two against each other. Whatever a peer or a broken neighbour can make grow, wait or loop is to have its bound here.

/// Bytes of a frame header on the wire.
pub const HEADER_BYTES: usize = 18;
/// Bytes of an idempotency key, which stands between header and body when flag bit 2 is set.
pub const KEY_BYTES: usize = 16;
/// Bytes of an LSN on the wire, before the body: of a request with flag bit 3, of a reply with flag bit 4.
pub const LSN_BYTES: usize = 8;
/// The longest frame either side may send, header included; a longer length closes the connection.
pub const MAX_FRAME_BYTES: usize = 4096;
/// The longest answer to one request but HISTORY: TOTALS, a header and 38 bytes, with room to grow; back-pressure keeps this
/// free. A page of a statement may be as long as a frame, and its request waits until there is room for that.
pub const MAX_REPLY_BYTES: usize = 128;
/// Bytes of one entry of a statement: lsn, time, kind, amount, counterparty, balance.
pub const STATEMENT_ENTRY_BYTES: usize = 8 + 8 + 1 + 8 + 4 + 8;
/// The entries that one page of a statement can carry: as many as fit a frame beside status, count and `next`.
pub const MAX_STATEMENT_ENTRIES: usize = (MAX_FRAME_BYTES - HEADER_BYTES - 2 - 2 - 8) / STATEMENT_ENTRY_BYTES;
/// The longest answer to CLUSTER: header, LSN, status, what the server says of itself, its primary's address, and [`MAX_REPLICAS`]
/// members with two addresses each. Its request waits until there is room for that.
pub const MAX_CLUSTER_REPLY_BYTES: usize = 915;
/// Milliseconds that a request waits until this server has applied the operation that it names as the last one seen; then it is
/// answered ERR_BEHIND. One request of a connection waits at a time, as with any other wait.
pub const AFTER_WAIT_MILLISECONDS: u64 = 500;
/// Milliseconds that a write to the key-value store waits until a primary is known, which is no longer than an election takes; then it is
/// answered KV_NO_QUORUM, and was not executed. One call of a connection waits at a time.
pub const KV_QUORUM_WAIT_MILLISECONDS: u64 = 3000;
/// The longest user name and the longest password of a LOGIN, bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 255;
/// The longest key of the key-value store, bytes (`KV_MAX_KEY` of `docs/kv.x`); a longer one is no argument.
pub const MAX_KV_KEY_BYTES: usize = 255;
/// The longest value of the key-value store, bytes (`KV_MAX_VALUE` of `docs/kv.x`); a longer one is no argument.
pub const MAX_KV_VALUE_BYTES: usize = 65_536;
/// Bad frames after which a connection is closed.
pub const MAX_STRIKES: u8 = 3;

/// Bytes of a connection's receive ring in shared memory, but for those of the key-value service; a power of two.
pub const RECEIVE_BYTES: usize = 16 * 1024;
/// Bytes of a connection's transmit ring in shared memory, but for those of the key-value service; a power of two.
pub const TRANSMIT_BYTES: usize = 16 * 1024;
/// Bytes of the receive ring and of the transmit ring, each, of a connection of the key-value service; a power of two.
pub const KV_RING_BYTES: usize = 128 * 1024;

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

/// Bytes of the path in a request of GetFile; a longer one is answered INVALID.
pub const MAX_GETFILE_PATH_BYTES: usize = 4096;
/// Bytes of a file that GetFile reads into memory, to send it together with its head; a larger one is sent from the open file.
pub const SMALL_GETFILE_BYTES: usize = 16 * 1024;
/// Steps of one connection of GetFile before the others have their turn.
pub const GETFILE_STEPS_PER_TURN: usize = 8;
/// Bytes of the smallest segment through which contents come from the cache process, its header included: what the course's tools take.
pub const MIN_TRANSFER_SEGMENT_BYTES: usize = 824;
/// Bytes of the largest one.
pub const MAX_TRANSFER_SEGMENT_BYTES: usize = 64 << 20;
/// Segments that one instance can have; who finds none free waits in the order of coming.
pub const MAX_TRANSFER_SEGMENTS: usize = 1024;

/// Threads in each worker that walk over the keys for scans of the key-value store.
pub const KV_SCAN_THREADS: usize = 1;
/// Calls of one connection of the key-value service that are answered in one turn of a worker's loop; then the others have theirs.
pub const KV_CALLS_PER_TURN: usize = 256;
/// Scans that may wait for such a thread in each worker; more are answered KV_BUSY, those first of whoever has most.
pub const MAX_WAITING_KV_SCANS: usize = 256;
/// Bytes of a record of ONC RPC, its marks included; with a longer one the connection is closed.
pub const MAX_RPC_RECORD_BYTES: usize = 128 * 1024;
/// Fragments of a record of ONC RPC, empty ones included; with more the connection is closed. Each is looked at again when more bytes come.
pub const MAX_RPC_FRAGMENTS: usize = 1024;
/// Bytes of the credentials of a call, and of its verifier (RFC 5531, section 8.2); with more it is refused with AUTH_ERROR.
pub const MAX_RPC_AUTH_BYTES: usize = 400;
/// Bytes of the machine's name in credentials of AUTH_SYS (RFC 5531, appendix A); with more the call is refused with AUTH_ERROR.
pub const MAX_RPC_MACHINE_NAME_BYTES: usize = 255;
/// Groups in credentials of AUTH_SYS (RFC 5531, appendix A); with more the call is refused with AUTH_ERROR.
pub const MAX_RPC_GIDS: usize = 16;

/// Milliseconds that rpcbind has for one answer; then it counts as not there.
pub const RPCBIND_MILLISECONDS: u64 = 1000;
/// Bytes of an answer of rpcbind's, its marks included: room for all that is registered on a machine. A longer one is none.
pub const MAX_RPCBIND_REPLY_BYTES: usize = 256 * 1024;
/// Keys of one page of a scan; the page ends, and says that there are more.
pub const MAX_KV_PAGE: usize = 256;
/// Bytes of the address of the primary, `HOST:PORT`, in an answer to KV_STATUS.
pub const MAX_KV_HOST_BYTES: usize = 255;

/// Fetches of the cache process from its upstream at a time, but for those that pass through; others wait for their turn.
pub const MAX_CACHE_FETCHES: usize = 16;
/// Fetches at a time of what is too large for the cache and passes through; requests for one more are answered ERROR.
pub const MAX_CACHE_PASS_THROUGH: usize = 16;
/// Fetches that nobody waits for, and that wait for their turn; for one more the entry stays as it is until it is asked for again.
pub const MAX_CACHE_REVALIDATIONS: usize = 256;
/// Requests that wait for one path; one more is answered ERROR.
pub const MAX_CACHE_WAITING_PER_PATH: usize = 2048;
/// Requests that wait for the cache process in all; one more is answered ERROR.
pub const MAX_CACHE_WAITING: usize = 8192;
/// Requests that are being given content; one more is answered ERROR.
pub const MAX_CACHE_READERS: usize = 65_536;
/// Paths of which the cache remembers that there is no such object; the one that ends first is forgotten.
pub const MAX_CACHE_NEGATIVE: usize = 4096;
/// Bytes of one content that passes through the cache process which are held at a time; then the upstream waits for the slowest reader.
pub const CACHE_WINDOW_BYTES: u64 = 1024 * 1024;
/// Contents of the greatest size, `--getfile-object-mb`, that there is room for in spools: those of unknown length while they come, and
/// those that memory has no room for while they come or are read, which leave room for one of the others. One more of the former is
/// answered ERROR, one more of the latter passes through.
pub const MAX_CACHE_SPOOLED_OBJECTS: u64 = 4;
/// Seconds that a content stays in its spool when nobody reads it any more, so that who waits for a segment finds it; sixteen at a time.
pub const CACHE_SPOOL_IDLE_SECONDS: u64 = 2;
/// Seconds that an entry of the cache which is not fresh is answered with at once, while the upstream is asked about it; but no longer
/// than it was fresh. Then requests wait for the upstream.
pub const CACHE_STALE_WHILE_REVALIDATE_SECONDS: u64 = 60;
/// Seconds that an entry of the cache which is not fresh is answered with when the upstream is in error; then it is ERROR.
pub const CACHE_STALE_IF_ERROR_SECONDS: u64 = 3600;
/// Milliseconds that the upstream is not asked about an entry after that failed.
pub const CACHE_RETRY_MILLISECONDS: u64 = 1000;
/// Bytes of a content in a spool that are held in memory, and sixteen times as many of all together; what is more goes to a file without a
/// name.
pub const CACHE_SPOOL_MEMORY_BYTES: usize = 1024 * 1024;
/// Bytes that are moved from such a file to memory before others have their turn, when what it holds is kept.
pub const CACHE_KEPT_BYTES_PER_TURN: usize = 4 * 1024 * 1024;
/// Contents that the cache process holds as a memfd, with `--cache-channel memfd`; others are held as without it, and go through chunks.
pub const MAX_CACHE_MEMFDS: usize = 1024;
/// Commands that the cache process takes from its queue before fetches and readers have their turn.
pub const CACHE_COMMANDS_PER_TURN: usize = 32;
/// Chunks of one fetch that the cache process takes before others have their turn.
pub const CACHE_CHUNKS_PER_TURN: usize = 4;
/// Bytes that the cache process puts into segments before others have their turn.
pub const CACHE_FILLED_BYTES_PER_TURN: usize = 4 * 1024 * 1024;
/// Bytes that the cache process puts into segments before it wakes the workers that they are for.
pub const CACHE_UNTOLD_BYTES: usize = 128 * 1024;
/// Bytes of content that the upstream's threads hand over at once.
pub const UPSTREAM_CHUNK_BYTES: usize = 64 * 1024;
/// Chunks of one fetch that wait for the cache process; then the upstream waits.
pub const UPSTREAM_CHUNKS: usize = 4;
/// Fetches that were begun and have no thread yet, since those of cancelled ones have not noticed; one more fails.
pub const MAX_UPSTREAM_QUEUED: usize = 256;
/// Bytes of the head of an upstream's answer; a longer one is a failure.
pub const MAX_UPSTREAM_HEAD_BYTES: usize = 16 * 1024;
/// Times that an upstream may lead elsewhere; one more is a failure.
pub const MAX_UPSTREAM_REDIRECTS: u32 = 5;
/// Seconds that a connection to the upstream is kept for the next fetch.
pub const UPSTREAM_IDLE_SECONDS: u64 = 15;
/// Bytes of an ETag, and of a Last-Modified, that are remembered; a longer one is ignored.
pub const MAX_VALIDATOR_BYTES: usize = 1024;

/// Seconds without a heartbeat of the cache process after which requests that have no answer are answered ERROR.
pub const CACHE_SILENCE_SECONDS: u64 = 2;
/// Seconds in which a client takes nothing after which its segment is given to another, where one waits for it.
pub const CACHE_SLOW_CLIENT_SECONDS: u64 = 2;
/// Times that a request is put to cache processes that then die or cannot finish; then it is answered ERROR.
pub const MAX_CACHE_ASKS: u32 = 4;

/// Bytes that are still read, and thrown away, of a closing connection. Beyond it the connection is closed, and the kernel
/// resets it.
pub const LINGER_BYTES: usize = 1024 * 1024;
/// Milliseconds that such a client has to close. Then the connection is closed.
pub const LINGER_MILLISECONDS: u64 = 500;
/// Receives of one connection before the others have their turn; each takes at most what its ring has room for.
pub const READS_PER_TURN: usize = 4;
/// The same of a connection that has not logged in.
pub const READS_PER_TURN_BEFORE_LOGIN: usize = 1;
/// Steps of one connection of HTTP before the others have their turn, some two to a request.
pub const HTTP_STEPS_PER_TURN: usize = 16;
/// Bytes of one answer of HTTP that are sent before the others have their turn.
pub const SENT_BYTES_PER_TURN: u64 = 512 * 1024;
/// Connections that a worker takes in before those that are there have their turn.
pub const ACCEPTS_PER_TURN: usize = 32;
/// Records that wait for the journal process before it is woken in the middle of a turn. It is woken at the end of a turn otherwise, since
/// the sessions that are still to be served in it may append to the same group.
pub const ENOUGH_FOR_A_GROUP: u64 = 256;
/// Results of jobs of the threads that are delivered before others have their turn.
pub const JOB_RESULTS_PER_TURN: usize = 128;
/// Bytes that the reader of a stream of events may send; a stream has no use for them. Beyond it the connection is closed.
pub const STREAM_INPUT_BYTES: usize = 64 * 1024;
/// Bytes of events that wait for one reader. Who has more to fetch does not look, and is closed.
pub const STREAM_UNSENT_BYTES: usize = 256 * 1024;
/// Streams of events may take one in so many of the places that HTTP has; one more is answered 503. They never end by themselves.
pub const STREAM_SHARE: u64 = 4;

/// Seconds from accept until a connection of the bank must have logged in, unless `--login-timeout` says otherwise; PING does not
/// prolong them. Then it is closed.
pub const LOGIN_SECONDS: u64 = 30;
/// LOGINs of one connection that may fail; with the last of these it is answered and closed.
pub const MAX_FAILED_LOGINS: u8 = 3;
/// Threads of each worker that check passwords, and do nothing else.
pub const LOGIN_THREADS: usize = 1;
/// LOGINs that wait for these threads, of each worker. When there are more, the peer with most of them has its last one answered
/// ERR_BUSY.
pub const MAX_WAITING_LOGINS: usize = 256;
/// Threads of each worker that read statements and sum up all accounts.
pub const LOOKUP_THREADS: usize = 2;
/// HISTORYs and TOTALS that wait for these threads, of each worker. When there are more, the user with most of them has the last
/// one answered ERR_BUSY.
pub const MAX_WAITING_LOOKUPS: usize = 1024;
/// Records of the journal that are looked at, one by one, for where a page of a statement begins. Beyond it the page has no entries
/// and says where to go on.
pub const MAX_SEARCHED_RECORDS: u64 = 4096;
/// Files that wait for a thread, of each worker; a request for one more is answered 503.
pub const MAX_WAITING_FILES: usize = 256;

/// Bytes of a file that is kept in memory and in the cache; a larger one is sent from the open file.
pub const MAX_CACHED_FILE_BYTES: u64 = 256 * 1024;

/// Services that one server can offer.
pub const MAX_SERVICES: usize = 5;
/// Slots beside those for the connections that `--max-connections` and `--http-connections` allow, for each of the two. Who comes when
/// all places are taken has one of these, and has a silent connection closed; where there is none, it is told that there is no
/// room, but HTTP's `health` and `ready` are answered. When all slots are taken, connections wait in the kernel's queue.
pub const RESERVED_CONNECTIONS: u32 = 64;
/// Seconds that the kernel keeps a connection of HTTP to itself, unless its client has sent something: one that speaks at once is
/// never taken for a silent one.
pub const HTTP_DEFER_SECONDS: i32 = 1;
/// The same for GetFile.
pub const GETFILE_DEFER_SECONDS: i32 = 1;
/// Milliseconds of silence before a connection is closed to make room; 0 once three quarters of the reserved slots are taken.
pub const SILENT_MILLISECONDS: u64 = 250;

/// Bytes of lines for the access log that one worker has in shared memory. When they are full, requests wait until some are in
/// the file.
pub const ACCESS_LOG_RING_BYTES: usize = 64 * 1024;
/// Bytes of lines that one worker keeps beside these, of connections that have ended meanwhile. What comes then is dropped.
pub const ACCESS_LOG_HELD_BYTES: usize = 64 * 1024;
/// Milliseconds that anybody waits for the access log. When it has taken no line for so long, or its file cannot be written, lines
/// are dropped and nobody waits.
pub const ACCESS_LOG_WAIT_MILLISECONDS: u64 = 1000;
/// Bytes of one line of the access log, its newline included; longer fields are cut.
pub const MAX_ACCESS_LOG_LINE_BYTES: usize = 2048;

/// Workers that one instance can have at a time.
pub const MAX_WORKERS: usize = 64;
/// Members that a cluster can have; raft's answer to more machines is not more voters.
pub const MAX_REPLICAS: u8 = 7;
/// Bytes of the address of a peer, `HOST:PORT`, as it stands in the settings and in the record of a change of membership.
pub const MAX_PEER_ADDRESS_BYTES: usize = 46;
/// Records of one entry of raft, which ends with an operation, so that an entry has its place in one message.
pub const ENTRY_RECORDS: u64 = 4000;
/// Records of one message between nodes, half a MiB, unless its only entry has more.
pub const MESSAGE_RECORDS: u64 = 4096;
/// Messages with entries to one peer that it has not answered. When there are more, the next entries wait. Their records must fit its
/// ring, else it cannot take them.
pub const MESSAGES_IN_FLIGHT: usize = 15;
/// Records that a leader has proposed and that are not committed. When there are more, what is executed waits in the ring.
pub const RECORDS_AHEAD: u64 = 1 << 20;
/// Entries of raft's log that a replica process knows, at 32 bytes each. A peer that needs earlier ones gets a snapshot.
pub const ENTRIES_KEPT: usize = 1 << 19;
/// Records that are committed and that a follower has not applied. With more it says that it is not ready: it would take a while to become
/// the primary, some tenths of a second for so many.
pub const READY_LAG_RECORDS: u64 = 100_000;
/// Hex digits of a cluster's secret, at most; a longer one is refused.
pub const MAX_SECRET_DIGITS: usize = 1024;

/// Bytes of the frame by which a peer greets, its header not included; a longer one is refused.
pub const MAX_GREETING_BYTES: usize = 256;
/// Connections of peers that have not proved yet that they belong here. For one more, the oldest one of
/// the address that has most of them is closed.
pub const MAX_PEERS_GREETING: usize = 64;
/// Milliseconds from connecting until a peer must have proved that; then the connection is closed.
pub const PEER_GREETING_MILLISECONDS: u64 = 2000;
/// Peers that are connected at a time, twice [`MAX_REPLICAS`], since a node that was replaced may still run; one more is refused.
pub const MAX_PEERS_CONNECTED: usize = 14;
/// Milliseconds that a connection is young: of two young ones between the same peers the one is kept that the lower node has made, else
/// the younger one.
pub const PEER_YOUNG_MILLISECONDS: u64 = 3000;
/// Milliseconds until a peer that could not be reached is tried again, doubled with each failure …
pub const PEER_RETRY_FIRST_MILLISECONDS: u64 = 50;
/// … and never more than so many.
pub const PEER_RETRY_LONGEST_MILLISECONDS: u64 = 1000;
/// Names of peers that are looked up at a time, each by a thread; one more counts as not found, and is looked up later.
pub const PEER_LOOKUPS: usize = 14;
/// Seconds that the kernel waits for a sign of a peer's kernel (TCP_USER_TIMEOUT and keep-alive, tcp(7)); then the connection is closed.
pub const PEER_SILENCE_SECONDS: u32 = 4;
/// Connections of peers that are accepted before others have their turn.
pub const PEER_ACCEPTS_PER_TURN: usize = 32;
/// Bytes that are read of one peer before others have their turn; 4 KiB of one that has not proved anything.
pub const PEER_READ_BYTES_PER_TURN: usize = 2 * 1024 * 1024;
/// Frames that are taken of one peer before others have their turn.
pub const PEER_FRAMES_PER_TURN: usize = 64;
/// Bytes that are written to one peer before others have their turn.
pub const PEER_WRITTEN_BYTES_PER_TURN: usize = 2 * 1024 * 1024;
/// Messages that wait for one peer; one more is dropped.
pub const PEER_QUEUE_MESSAGES: usize = 256;
/// Bytes that those messages take, without the records that are to be read for them when the socket can take them; what would be beyond is
/// dropped.
pub const PEER_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Records of one entry of raft, and so of one message between peers at most: as many as the ring has places. Only the first entry of a term
/// that goes on after its replica process died can have more than [`ENTRY_RECORDS`].
pub const MAX_ENTRY_RECORDS: u64 = 65_536;
/// Entries of one message between peers. A message with more is sent as several.
pub const MAX_MESSAGE_ENTRIES: usize = 1024;
/// Bytes of a message between peers beside its records; a longer one closes the connection.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Bytes of a snapshot that one frame carries.
pub const MAX_SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of one block of keys and values in a snapshot, as a file and on its way to another member: those that fill one but for a byte, and
/// the longest pair. What says that it has more is damaged, and the snapshot is not used.
pub const MAX_PAIR_BLOCK_BYTES: usize = 131_339;
/// Seconds in which nothing of a snapshot can be sent to a member, or it does not say that it has all of it; then the snapshot is given up.
pub const SNAPSHOT_PATIENCE_SECONDS: u64 = 60;
/// Milliseconds until a member that could not take a snapshot is sent one again, doubled with each failure …
pub const SNAPSHOT_RETRY_FIRST_MILLISECONDS: u64 = 100;
/// … and never more than so many.
pub const SNAPSHOT_RETRY_LONGEST_MILLISECONDS: u64 = 10_000;

/// Accounts that one instance can have: the ids fit in 32 bits, the table in 64 GiB.
pub const MAX_ACCOUNTS: u32 = 1 << 30;
/// Bytes of a line of an account file, its end not counted; a longer one is a bad line.
pub const MAX_ACCOUNT_LINE_BYTES: u64 = 1024;
/// Bad lines of an account file that are named, and kept in memory until then; the others are only counted.
pub const MAX_BAD_LINES: usize = 1000;
/// Connections that one instance can have at a time.
pub const MAX_CONNECTIONS: u32 = 65_536;
/// Tickets that a lane can hold; the socketpair beside it queues about 278 messages before it is full.
pub const MAX_QUEUE_DEPTH: u32 = 256;

/// Descriptors that the master has beside those of connections: standard ones, listeners, locks, and some per worker.
pub const FILES_BESIDE_CONNECTIONS: u64 = 4 * MAX_WORKERS as u64 + 64;
/// Files that a worker may keep open to send them again over HTTP.
pub const CACHED_FILES: u64 = 1024;
/// Bytes of memory that a process takes when it has just started, beside what it shares; a start is refused without them.
pub const PROCESS_BYTES: u64 = 4 << 20;
/// Bytes of memory that hashing one password takes (Argon2id with its default parameters).
pub const PASSWORD_HASH_BYTES: u64 = 19 << 20;
/// Bytes of address space that a process needs for its program and for each thread: stack, guard pages, heap.
pub const ADDRESS_BYTES_PER_THREAD: u64 = 16 << 20;

/// Bytes of a line of the log, its end included; what is longer is cut, and ends with a mark. It is PIPE_BUF: so many bytes are
/// written to a pipe whole or not at all (`pipe(7)`), so lines of several processes never mix.
pub const MAX_LOG_LINE_BYTES: usize = 4096;

/// Workers that die while the same request of a connection waits; then the connection is closed, and named in the log: handed on, it
/// would kill one worker after the other.
pub const MAX_DEATHS_BY_ONE_REQUEST: u32 = 8;
/// Seconds that a begun frame may stay incomplete before its sender counts as slow and is dropped.
pub const PARTIAL_FRAME_SECONDS: u64 = 10;
/// Seconds that a start waits for the dying processes of a killed server to give back its locks; then it is refused.
pub const DYING_SECONDS: u64 = 10;
/// Seconds that an orderly stop or an upgrade waits until leadership of the cluster is another instance's. Then it goes on without, and the
/// others elect a primary.
pub const HAND_OVER_SECONDS: u64 = 3;
/// Seconds after which the replica process answers what an operator's tool asks about the cluster with why it is not done yet, and does
/// nothing more about it. The master waits five seconds longer, and the tool longer than both.
pub const CLUSTER_REQUEST_SECONDS: u64 = 20;
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
    assert!(RECEIVE_BYTES.is_power_of_two() && TRANSMIT_BYTES.is_power_of_two() && KV_RING_BYTES.is_power_of_two());
    assert!(RECEIVE_BYTES >= 2 * MAX_FRAME_BYTES, "a whole frame must fit behind a partly read one");
    assert!(TRANSMIT_BYTES >= 2 * MAX_FRAME_BYTES, "a reply must fit while another is being sent");
    assert!(MAX_FRAME_BYTES >= HEADER_BYTES + 2 + 2 * MAX_CREDENTIAL_BYTES, "the longest LOGIN must be a legal frame");
    assert!(MAX_REPLY_BYTES >= HEADER_BYTES + LSN_BYTES + 38, "TOTALS must fit");
    let cluster = 29 + 1 + MAX_PEER_ADDRESS_BYTES + 1 + MAX_REPLICAS as usize * (22 + 2 * (1 + MAX_PEER_ADDRESS_BYTES));
    assert!(
        MAX_CLUSTER_REPLY_BYTES == HEADER_BYTES + LSN_BYTES + cluster && MAX_CLUSTER_REPLY_BYTES <= MAX_FRAME_BYTES
    );
    assert!(
        HEADER_BYTES + LSN_BYTES + 2 + 2 + MAX_STATEMENT_ENTRIES * STATEMENT_ENTRY_BYTES + 8 <= MAX_FRAME_BYTES,
        "a full page must fit behind an LSN"
    );
    assert!(
        MAX_METHOD_BYTES + MAX_TARGET_BYTES + 4096 <= MAX_HEAD_BYTES,
        "the longest target must leave room for fields"
    );
    assert!(MAX_HEAD_BYTES + 2 <= RECEIVE_BYTES, "a whole request head must fit, and an empty line before it");
    assert!(LINGER_BYTES >= RECEIVE_BYTES && STREAM_INPUT_BYTES >= RECEIVE_BYTES, "what one receive takes");
    assert!(
        ACCESS_LOG_RING_BYTES >= 2 * MAX_ACCESS_LOG_LINE_BYTES && ACCESS_LOG_HELD_BYTES >= MAX_ACCESS_LOG_LINE_BYTES,
        "lines must fit"
    );
    assert!(CACHE_WINDOW_BYTES >= 2 * UPSTREAM_CHUNK_BYTES as u64, "a window must be able to move");
    let longest = if MESSAGE_RECORDS > ENTRY_RECORDS { MESSAGE_RECORDS } else { ENTRY_RECORDS };
    assert!(
        MESSAGES_IN_FLIGHT as u64 * longest + ENTRY_RECORDS <= MAX_ENTRY_RECORDS,
        "a follower's ring has places for what is on the way to it, and for records of the log itself"
    );
    assert!(MAX_STATEMENT_ENTRIES == 109, "docs/PROTOCOL.md names this number");
};
