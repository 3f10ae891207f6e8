//! What a server takes from the machine: computed from its settings alone, so that a start can be refused before it has taken
//! anything, and an answer to "what would fit?" is a computation as well.

use crate::base::config::{Durability, Settings};
use crate::base::limits::{
    ADDRESS_BYTES_PER_THREAD, CACHED_FILES, FILES_BESIDE_CONNECTIONS, LOGIN_THREADS, LOOKUP_THREADS, MAX_WORKERS,
    PASSWORD_HASH_BYTES, PROCESS_BYTES, RESERVED_CONNECTIONS,
};
use crate::store::access_log::{self, AccessLog};
use crate::store::connection::PerService;
use crate::store::instance;
use crate::store::journal::segment::bytes_of_segment;
use crate::store::ledger::Shape;

/// Places of the journal ring: 8 MiB, some 30 milliseconds of the highest load.
const RING: u32 = 1 << 16;
/// Pages are what memory is handed out in; semaphores and small segments take a whole one.
const PAGE_BYTES: u64 = 4096;
/// Threads of the journal process at most: its loop, the one that prepares segments, the one that takes snapshots.
const JOURNAL_THREADS: u64 = 3;
/// Records that a journal segment is written for anyway; see `--segment-records`.
pub(super) const LEAST_SEGMENT_RECORDS: u64 = 4096;

/// What the data directory says that the settings do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Accounts that there are; settings can only ask for more.
    pub accounts: u32,
    /// Records of a segment, if that is decided.
    pub records_per_segment: Option<u64>,
    /// Whether there is a segment, so that the server can serve on a full volume.
    pub has_segments: bool,
}

/// What a server with some settings takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Bytes in the folder of shared memory, by what they are for.
    pub shared: [(&'static str, u64); 4],
    /// Segments and semaphores.
    pub names: u64,
    /// Bytes of memory that belong to single processes, as they are just started.
    pub private: u64,
    /// Bytes that they may grow to have more: caches of files, and passwords that are being hashed.
    pub growth: u64,
    /// Descriptors of the process that has the most.
    pub descriptors: u64,
    /// Threads of all processes together.
    pub tasks: u64,
    /// Bytes of the largest file that is made.
    pub file: u64,
    /// Bytes of address space of the process that has the most.
    pub address_space: u64,
    /// Bytes on the volume of the data directory without which nothing can be served; 0 where they are there already.
    pub disk: u64,
}

impl Needs {
    /// What a server with these settings needs on such a data directory.
    #[must_use]
    pub fn of(settings: &Settings, existing: Existing) -> Needs {
        let http = settings.http.is_on();
        let connections = u64::from(connections_of(settings).iter().sum::<u32>());
        let segments = segments(settings, existing);
        let total_of = |names: &[&str]| -> u64 {
            let wanted = segments.iter().filter(|(name, _)| names.contains(name));
            wanted.map(|(_, bytes)| bytes.next_multiple_of(PAGE_BYTES)).sum()
        };
        // Three for each lane.
        let semaphores = 3 * settings.workers as u64;
        let shared = [
            ("connections", total_of(&["connections"])),
            ("keys", total_of(&["keys", "key-index"])),
            ("accounts", total_of(&["accounts"])),
            (
                "the rest",
                total_of(&["control", "lanes", "intents", "journal", access_log::SEGMENT]) + semaphores * PAGE_BYTES,
            ),
        ];
        let web_threads = if http { settings.http.threads as u64 + 1 } else { 0 };
        let worker_threads = 1 + (LOGIN_THREADS + LOOKUP_THREADS) as u64 + web_threads;
        let workers = settings.workers as u64;
        let journaled = settings.durability != Durability::None;
        let journal_threads = if journaled { JOURNAL_THREADS } else { 0 };
        let hashes = LOGIN_THREADS as u64 * PASSWORD_HASH_BYTES;
        let cache = if http { settings.http.cache_bytes } else { 0 };
        let all_shared: u64 = shared.iter().map(|(_, bytes)| bytes).sum();
        let records = existing.records_per_segment.unwrap_or(settings.segment_records);
        let segment = if journaled { bytes_of_segment(records.max(LEAST_SEGMENT_RECORDS)) } else { 0 };
        let largest = segments.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let log = if http { settings.http.log_rotate_bytes + access_log::RING_BYTES as u64 } else { 0 };
        Needs {
            names: segments.len() as u64 + semaphores,
            shared,
            private: (workers + 1 + u64::from(journaled)) * PROCESS_BYTES,
            growth: workers * (hashes + cache),
            descriptors: connections + FILES_BESIDE_CONNECTIONS + if http { CACHED_FILES } else { 0 },
            tasks: 1 + journal_threads + workers * worker_threads,
            file: largest.max(segment).max(log),
            address_space: all_shared + ADDRESS_BYTES_PER_THREAD * (worker_threads + 1),
            disk: if existing.has_segments { 0 } else { segment },
        }
    }

    /// All bytes in the folder of shared memory.
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        self.shared.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What the table of so many accounts is made for.
#[must_use]
pub fn shape(settings: &Settings, accounts: u32) -> Shape {
    Shape {
        accounts,
        initial_balance: settings.initial_balance,
        ring: if settings.durability == Durability::None { 0 } else { RING },
        key_window: settings.key_window,
        replies_wait: settings.durability == Durability::Sync,
    }
}

/// Slots for connections, for each service: those that there may be at a time, and the reserved ones.
#[must_use]
pub fn connections_of(settings: &Settings) -> PerService<u32> {
    let http = settings.http.is_on().then_some(settings.http.connections);
    [Some(settings.max_connections), http].map(|allowed| allowed.map_or(0, |allowed| allowed + RESERVED_CONNECTIONS))
}

/// Every segment that is made, by its object, with its bytes.
fn segments(settings: &Settings, existing: Existing) -> Vec<(&'static str, u64)> {
    let shape = shape(settings, settings.accounts.max(existing.accounts));
    let slots = connections_of(settings).iter().sum::<u32>() as usize;
    let log = settings.http.is_on().then(|| (access_log::SEGMENT, AccessLog::bytes_for(MAX_WORKERS)));
    let all = instance::segment_bytes(&shape, slots).into_iter().chain(log);
    all.map(|(name, bytes)| (name, bytes as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_off_takes_nothing() {
        let on = Settings { workers: 2, ..Settings::default() };
        let all = Needs::of(&on, Existing::default());
        let mut settings = on.clone();
        settings.http.port = 0;
        settings.durability = Durability::None;
        let least = Needs::of(&settings, Existing::default());
        assert_eq!((least.tasks, all.tasks), (1 + 2 * 4, 1 + 3 + 2 * 7));
        assert_eq!(least.disk, 0);
        assert_eq!(all.descriptors - least.descriptors, 512 + 64 + CACHED_FILES);
        assert!(least.shared_bytes() + (8 << 20) < all.shared_bytes(), "neither ring nor log nor HTTP's connections");
    }

    #[test]
    fn what_the_data_directory_has_counts() {
        let settings = Settings::default();
        let fresh = Needs::of(&settings, Existing::default());
        assert_eq!(fresh.disk, (64 << 20) + 4096);
        let grown = Existing { accounts: 1_000_000, records_per_segment: Some(4096), has_segments: true };
        let needs = Needs::of(&settings, grown);
        assert_eq!(needs.disk, 0, "one segment is there");
        assert!(needs.shared_bytes() > fresh.shared_bytes() + 63_000_000, "990,000 accounts more, of 64 bytes");
    }
}
