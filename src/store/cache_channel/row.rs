//! What is known of the cache process in shared memory: its life, and what it counts.

use crate::ipc::layout::Counter;
use crate::shared_struct;
use crate::store::instance::life::Life;

shared_struct! {
    /// What concerns the cache process; a successor counts on. Writer of the counters: the process.
    pub struct CacheRow, align 64, size 128 + 8 * 32; {
        /// The process and its state.
        pub life: Life,
        /// Answers out of what was there and fresh, negative ones too.
        pub hits: Counter,
        /// Answers to requests for which a fetch was begun.
        pub misses: Counter,
        /// Answers out of what was not fresh.
        pub stale: Counter,
        /// Answers that waited for the upstream to say that an entry is still right.
        pub revalidated: Counter,
        /// Answers to requests that joined another's fetch.
        pub coalesced: Counter,
        /// Answers that there is no such object, which are counted above too.
        pub not_found: Counter,
        /// Answers that the upstream is in error.
        pub errors: Counter,
        /// Answers that there is no room.
        pub refused: Counter,
        /// Times that the upstream has said that an entry is still right.
        pub renewed: Counter,
        /// Entries that had to go for others.
        pub evicted: Counter,
        /// Entries that were purged.
        pub purged: Counter,
        /// Fetches that were begun.
        pub fetches: Counter,
        /// Fetches that failed.
        pub failed_fetches: Counter,
        /// Contents that were too large to be kept.
        pub passed_through: Counter,
        /// Requests whose segment had another owner, or none, when they were taken from the queue.
        pub late_requests: Counter,
        /// Messages that were no commands.
        pub malformed: Counter,
        /// Bytes of contents that were put into segments, or whose descriptors were passed.
        pub bytes_out: Counter,
        /// Bytes of memory that are reserved now.
        pub bytes: Counter,
        /// Bytes in spools now.
        pub spooled_bytes: Counter,
        /// Entries that have content, now.
        pub entries: Counter,
        /// Entries that have none, now.
        pub negative_entries: Counter,
        /// Fetches under way now.
        pub fetching: Counter,
        /// Fetches that wait for their turn now.
        pub queued: Counter,
        /// Requests that wait now.
        pub waiting: Counter,
        /// Requests that read now.
        pub reading: Counter,
        /// Contents whose descriptor was passed.
        pub descriptors_passed: Counter,
        cache_spare: [Counter; 6],
    }
}
