//! What a server takes from the machine, computed from its settings alone: so a start can be refused before it takes anything, and
//! settings that would fit can be computed as well.

use crate::base::config::{Durability, Settings};
use crate::base::limits::{
    ADDRESS_BYTES_PER_THREAD, FILES_BESIDE_CONNECTIONS, MAX_ENTRY_RECORDS, MAX_REPLICAS, MAX_WORKERS, PROCESS_BYTES,
    RESERVED_CONNECTIONS,
};
use crate::service::entry::{Entry, Needs};
use crate::store::access_log::{self, AccessLog};
use crate::store::connection::SlotShape;
use crate::store::instance::{self, ServiceBlueprint};
use crate::store::journal::segment::bytes_of_segment;
use crate::store::kv::KvTable;
use crate::store::ledger::Shape;
use crate::store::transfer::{self, Pool};

/// Places of the journal ring: 8 MiB, some 30 milliseconds of the highest load.
const RING: u32 = 1 << 16;
const _: () =
    assert!(RING as u64 == MAX_ENTRY_RECORDS, "the bounds of what is on the way to a follower are those of its ring");
/// Pages are what memory is handed out in; semaphores and small segments take a whole one.
const PAGE_BYTES: u64 = 4096;
/// Threads of the journal process at most: its loop, the one that prepares segments, the one that takes snapshots.
const JOURNAL_THREADS: u64 = 3;
/// Threads of the replica process: its loop, and one that syncs what raft must remember.
const REPLICA_THREADS: u64 = 2;
/// Bytes by which the replica process may grow, however far a peer is behind.
const REPLICA_GROWTH_BYTES: u64 = 60 << 20;
/// Descriptors of the replica process: two connections to each peer while one takes the place of the other, as many that have not greeted
/// yet, and of segments and snapshots that are read for them two each; the listener, `DATA/raft`, and some for itself.
const REPLICA_DESCRIPTORS: u64 = 6 * MAX_REPLICAS as u64 + 16;
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

/// What a server takes from the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Bytes in the folder of shared memory, by what they are for.
    pub shared: [(&'static str, u64); 5],
    /// Segments of shared memory and semaphores.
    pub names: u64,
    /// Bytes of private memory of all processes when they start.
    pub private: u64,
    /// Bytes by which this may grow: caches, and memory for hashing passwords.
    pub growth: u64,
    /// Descriptors of the process that has the most.
    pub descriptors: u64,
    /// Threads of all processes together.
    pub tasks: u64,
    /// Bytes of the largest file that is made.
    pub file: u64,
    /// Bytes of address space of the process that has the most.
    pub address_space: u64,
    /// Bytes on the volume of the data directory without which nothing can be served; 0 where they are allocated already.
    pub disk: u64,
}

impl Requirements {
    /// What a server with these settings needs on such a data directory.
    #[must_use]
    pub fn of(services: &[Entry], settings: &Settings, existing: Existing) -> Requirements {
        let services_slots = blueprints(services, settings);
        let slots: u64 = services_slots.iter().map(|service| u64::from(service.slots.count)).sum();
        let logs = writes_access_log(services, settings);
        let own = needs(services, settings);
        let transfers = transfers(services, settings);
        let segments = segments(settings, existing, &services_slots, logs, transfers);
        let total_of = |names: &[&str]| -> u64 {
            let wanted = segments.iter().filter(|(name, _)| names.contains(name));
            wanted.map(|(_, bytes)| bytes.next_multiple_of(PAGE_BYTES)).sum()
        };
        // Three for each lane.
        let semaphores = 3 * settings.workers as u64;
        let shared = [
            ("connections", total_of(&["connections", "rings"])),
            ("keys", total_of(&["keys", "key-index"])),
            ("accounts", total_of(&["accounts"])),
            ("transfers", total_of(&[transfer::SEGMENT])),
            (
                "the rest",
                total_of(&["control", "lanes", "intents", "journal", access_log::SEGMENT]) + semaphores * PAGE_BYTES,
            ),
        ];
        let worker_threads = 1 + own.threads;
        let workers = settings.workers as u64;
        let journaled = settings.durability != Durability::None;
        let journal_threads = if journaled { JOURNAL_THREADS } else { 0 };
        let replicated = settings.cluster.is_some();
        let replica_threads = if replicated { REPLICA_THREADS } else { 0 };
        let cached = transfers.is_some();
        let cache_threads = if cached { 1 + own.cache_threads } else { 0 };
        let all_shared: u64 = shared.iter().map(|(_, bytes)| bytes).sum();
        let records = existing.records_per_segment.unwrap_or(settings.segment_records);
        let segment = if journaled { bytes_of_segment(records.max(LEAST_SEGMENT_RECORDS)) } else { 0 };
        let largest = segments.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        Requirements {
            names: segments.len() as u64 + semaphores,
            shared,
            private: (workers + 1 + u64::from(journaled) + u64::from(cached) + u64::from(replicated)) * PROCESS_BYTES,
            growth: workers * own.growth + own.cache_growth + if replicated { REPLICA_GROWTH_BYTES } else { 0 },
            descriptors: FILES_BESIDE_CONNECTIONS
                + (slots + own.descriptors).max(own.cache_descriptors).max(if replicated {
                    REPLICA_DESCRIPTORS
                } else {
                    0
                }),
            tasks: 1 + journal_threads + cache_threads + replica_threads + workers * worker_threads,
            file: largest.max(segment).max(own.file),
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

/// The shape of a table of so many accounts.
#[must_use]
pub fn shape(settings: &Settings, accounts: u32) -> Shape {
    Shape {
        accounts,
        initial_balance: settings.initial_balance,
        ring: if settings.durability == Durability::None { 0 } else { RING },
        key_window: settings.key_window,
        replies_wait: settings.durability == Durability::Sync,
        replicated: settings.cluster.is_some(),
        key_values: settings.kv.is_on(),
    }
}

/// Blocks that keys of the key-value store may take; 0 where it is off.
#[must_use]
pub fn kv_blocks(settings: &Settings) -> u32 {
    if settings.kv.is_on() { KvTable::capacity_of(settings.kv.table_bytes) } else { 0 }
}

/// The services as shared memory has them, those that are off included.
#[must_use]
pub fn blueprints(services: &[Entry], settings: &Settings) -> Vec<ServiceBlueprint> {
    let count = |entry: &Entry| (entry.listen)(settings).map_or(0, |listen| listen.connections + RESERVED_CONNECTIONS);
    let slots = |entry: &Entry| SlotShape { count: count(entry), rings: entry.rings };
    services.iter().map(|entry| ServiceBlueprint { name: entry.name, slots: slots(entry) }).collect()
}

/// Whether a service is on that writes to the access log.
fn writes_access_log(services: &[Entry], settings: &Settings) -> bool {
    services.iter().any(|entry| entry.access_log.is_some() && (entry.listen)(settings).is_some())
}

/// What the services that are on need together in each worker; of files the largest.
#[must_use]
pub fn needs(services: &[Entry], settings: &Settings) -> Needs {
    let on = services.iter().filter(|entry| (entry.listen)(settings).is_some());
    on.map(|entry| (entry.needs)(settings)).fold(Needs::default(), |all, one| Needs {
        threads: all.threads + one.threads,
        growth: all.growth + one.growth,
        descriptors: all.descriptors + one.descriptors,
        cache_threads: all.cache_threads + one.cache_threads,
        cache_growth: all.cache_growth + one.cache_growth,
        cache_descriptors: all.cache_descriptors + one.cache_descriptors,
        file: all.file.max(one.file),
        folders: [all.folders, one.folders].concat(),
        logs: [all.logs, one.logs].concat(),
    })
}

/// The pool of segments for the services that are on; `None` where none of them needs the cache process.
#[must_use]
pub fn transfers(services: &[Entry], settings: &Settings) -> Option<transfer::Shape> {
    let mut on = services.iter().filter(|entry| (entry.listen)(settings).is_some());
    on.find_map(|entry| (entry.transfers)(settings))
}

/// Every segment that is made, by its object, with its bytes.
fn segments(
    settings: &Settings,
    existing: Existing,
    services: &[ServiceBlueprint],
    logs: bool,
    transfers: Option<transfer::Shape>,
) -> Vec<(&'static str, u64)> {
    let shape = shape(settings, settings.accounts.max(existing.accounts));
    let log = logs.then(|| (access_log::SEGMENT, AccessLog::bytes_for(MAX_WORKERS)));
    let pool = transfers.map(|shape| (transfer::SEGMENT, Pool::bytes_for(shape)));
    let all = instance::segment_bytes(&shape, kv_blocks(settings), services).into_iter().chain(log).chain(pool);
    all.map(|(name, bytes)| (name, bytes as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::{CacheChannelKind, ClusterSettings};
    use crate::base::limits::{CACHED_FILES, KV_RING_BYTES};
    use crate::base::vocab::ReplicaId;
    use crate::service::entry::Listen;
    use crate::service::table::SERVICES;
    use crate::service::{bank, http};
    use crate::store::connection::RingBytes;

    #[test]
    fn what_is_switched_off_takes_nothing() {
        let on = Settings { workers: 2, ..Settings::default() };
        let all = Requirements::of(SERVICES, &on, Existing::default());
        let mut settings = on.clone();
        settings.http.port = 0;
        settings.durability = Durability::None;
        let least = Requirements::of(SERVICES, &settings, Existing::default());
        assert_eq!((least.tasks, all.tasks), (1 + 2 * 4, 1 + 3 + 2 * 7));
        assert_eq!(least.disk, 0);
        assert_eq!(all.descriptors - least.descriptors, 512 + 64 + CACHED_FILES);
        assert!(least.shared_bytes() + (8 << 20) < all.shared_bytes(), "neither ring nor log nor HTTP's connections");
    }

    #[test]
    fn a_cache_process_counts_where_one_is_needed() {
        let mut settings = Settings { workers: 2, ..Settings::default() };
        (settings.getfile.port, settings.getfile.root) = (1, Some("files".into()));
        let root = Requirements::of(SERVICES, &settings, Existing::default());
        (settings.getfile.root, settings.getfile.map) = (None, Some("map".into()));
        let map = Requirements::of(SERVICES, &settings, Existing::default());
        let pool = Pool::bytes_for((SERVICES[2].transfers)(&settings).unwrap()).next_multiple_of(4096) as u64;
        assert!(pool > 16 * 65_536, "{pool}");
        assert_eq!((root.shared[3], map.shared[3]), (("transfers", 0), ("transfers", pool)));
        assert_eq!(map.shared_bytes() - root.shared_bytes(), pool);
        assert_eq!((map.names - root.names, map.tasks - root.tasks), (1, 2));
        assert_eq!(map.private - root.private, PROCESS_BYTES);
        assert_eq!(map.growth - root.growth, (64 << 20) + (16 << 20));
        assert_eq!(map.descriptors, root.descriptors);
        // Contents that are held as files count where the cache process has the most descriptors, or the largest file.
        settings.getfile.cache.channel = CacheChannelKind::Memfd;
        settings.getfile.cache.bytes = 1 << 40;
        let memfd = Requirements::of(SERVICES, &settings, Existing::default());
        assert_eq!((memfd.descriptors, memfd.file), (map.descriptors, 1 << 30));
        (settings.getfile.connections, settings.max_connections, settings.http.port) = (1, 1, 0);
        let few = Requirements::of(SERVICES, &settings, Existing::default());
        assert_eq!(few.descriptors, FILES_BESIDE_CONNECTIONS + 1024 + 64);
    }

    #[test]
    fn a_replica_process_counts_where_there_are_peers() {
        let alone = Settings { workers: 2, ..Settings::default() };
        let replica = ReplicaId::new(1).unwrap();
        let peers = vec![(replica, "127.0.0.1:7900".to_owned())];
        let member =
            Settings { cluster: Some(ClusterSettings { replica, peers, secret: "secret".into() }), ..alone.clone() };
        let [alone, member] =
            [alone, member].map(|settings| Requirements::of(SERVICES, &settings, Existing::default()));
        assert_eq!((member.tasks - alone.tasks, member.private - alone.private), (2, PROCESS_BYTES));
        assert_eq!(member.growth - alone.growth, 60 << 20);
        assert_eq!((member.descriptors, member.shared), (alone.descriptors, alone.shared));
    }

    #[test]
    fn a_service_of_another_table_counts() {
        const LARGE: RingBytes = RingBytes::new(KV_RING_BYTES, KV_RING_BYTES);
        const THIRD: Entry = Entry {
            name: "third",
            listen: |settings| {
                Some(Listen {
                    host: settings.host,
                    port: 0,
                    option: "--third-port",
                    optional: false,
                    defer_seconds: None,
                    connections: 100,
                })
            },
            url: str::to_owned,
            needs: |_| Needs { threads: 2, growth: 5, descriptors: 7, file: u64::MAX, ..Needs::default() },
            check: |_| Ok(()),
            tunables: &[],
            access_log: None,
            transfers: |_| None,
            rings: LARGE,
            open: |_| Err(std::io::ErrorKind::Unsupported.into()),
        };
        static THREE: &[Entry] = &[bank::entry::ENTRY, http::entry::ENTRY, THIRD];
        let settings = Settings { workers: 3, ..Settings::default() };
        let [two, three] = [SERVICES, THREE].map(|services| Requirements::of(services, &settings, Existing::default()));
        assert_eq!((three.tasks - two.tasks, three.growth - two.growth), (3 * 2, 3 * 5));
        assert_eq!((three.descriptors - two.descriptors, three.file), (100 + 64 + 7, u64::MAX));
        let shape = SlotShape { count: 164, rings: LARGE };
        assert_eq!(blueprints(THREE, &settings)[2], ServiceBlueprint { name: "third", slots: shape });
        // Of each connection 384 bytes of its slot, its rings, and the gap behind them.
        let connections = 164 * (384 + 2 * KV_RING_BYTES as u64 + 64);
        let more = three.shared[0].1 - two.shared[0].1;
        assert!(more.abs_diff(connections) < 2 * PAGE_BYTES, "{more} bytes for connections that take {connections}");
        assert_eq!(three.names, two.names);
    }

    #[test]
    fn what_the_data_directory_has_counts() {
        let settings = Settings::default();
        let fresh = Requirements::of(SERVICES, &settings, Existing::default());
        assert_eq!(fresh.disk, (64 << 20) + 4096);
        let grown = Existing { accounts: 1_000_000, records_per_segment: Some(4096), has_segments: true };
        let needs = Requirements::of(SERVICES, &settings, grown);
        assert_eq!(needs.disk, 0, "one segment is there");
        assert!(needs.shared_bytes() > fresh.shared_bytes() + 63_000_000, "990,000 accounts more, of 64 bytes");
    }
}
