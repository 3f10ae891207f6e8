//! What `vaultctl inspect` found, as numbers; this is also the schema of `--json`.
//!
//! Money is in cents, times are in the unit that the field's name ends with, counters count since the instance began. Every
//! number is that of some moment during the gathering, not all of the same one.

use serde::Serialize;

use super::cache::CacheReport;
use super::process::Process;
use crate::status::cluster::Cluster;
use crate::status::kv::KvTable;
use crate::status::sample::{Journal, Summary, Worker};

/// A running instance.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub instance: InstanceReport,
    pub segments: Vec<SegmentReport>,
    pub lanes: Vec<LaneReport>,
    pub workers: Vec<Worker>,
    pub journal: JournalReport,
    /// `None`: no service needs it.
    pub cache: Option<CacheReport>,
    /// `None`: the instance has no peers.
    pub cluster: Option<Cluster>,
    /// `None`: there is no key-value store.
    pub kv: Option<KvTable>,
    /// `None`: there is no HTTP.
    pub access_log: Option<AccessLogReport>,
    pub intents: Vec<IntentReport>,
    pub locks: LocksReport,
    pub connections: ConnectionsReport,
    pub totals: TotalsReport,
}

/// What concerns the instance as a whole.
#[derive(Debug, Serialize)]
pub(super) struct InstanceReport {
    #[serde(flatten)]
    pub summary: Summary,
    pub master: Process,
}

#[derive(Debug, Serialize)]
pub(super) struct SegmentReport {
    pub name: String,
    /// Header included.
    pub bytes: u64,
    pub layout_version: u32,
    /// How many of whatever it holds: accounts, connection slots, rows of workers.
    pub elements: u64,
}

/// The lines of HTTP requests on their way into the access log.
#[derive(Debug, Serialize)]
pub(super) struct AccessLogReport {
    /// Who holds the lock around writing and rotation; `None`: it is free.
    pub lock: Option<HolderReport>,
    /// How often it was inherited from a dead holder.
    pub inherited: u64,
    /// Plans that were completed after their maker had died, or the disk had refused.
    pub replayed: u64,
    /// Lines that were ever logged.
    pub lines: u64,
    /// Bytes of them that are in memory and not in the file yet.
    pub waiting_bytes: u64,
    /// Bytes that are just being written; a dead worker's are completed by the next process that takes the lock.
    pub planned_bytes: u32,
    /// Files that were rotated away.
    pub rotations: u64,
    /// Flushes that failed.
    pub failures: u64,
    /// The error number of the last of them while they still do; 0 else.
    pub errno: u32,
}

/// Who holds a lock.
#[derive(Debug, Serialize)]
pub(super) struct HolderReport {
    pub thread: u32,
    /// The process of that thread; `None`: it ended meanwhile.
    pub process: Option<Process>,
}

/// The ring through which the master hands connections to one worker.
#[derive(Debug, Serialize)]
pub(super) struct LaneReport {
    pub worker: usize,
    /// Tickets that wait.
    pub depth: u32,
    /// Tickets that may.
    pub capacity: u32,
    pub slots: SemaphoreReport,
    pub items: SemaphoreReport,
    pub lock: SemaphoreReport,
}

#[derive(Debug, Serialize)]
pub(super) struct SemaphoreReport {
    pub name: String,
    pub value: u32,
}

/// What keeps operations on disk, and what is remembered of their keys.
#[derive(Debug, Serialize)]
pub(super) struct JournalReport {
    #[serde(flatten)]
    pub journal: Journal,
    /// `None`: there is no journal process now.
    pub process: Option<Process>,
    pub records_per_group: f64,
}

/// An operation in flight.
#[derive(Debug, Serialize)]
pub(super) struct IntentReport {
    pub worker: usize,
    /// `prepared`: written down, not happened. `committed`: happened, maybe not applied yet.
    pub phase: &'static str,
    /// The operation's number, once it has happened.
    pub lsn: Option<u64>,
    pub accounts: Vec<PlannedBalance>,
    /// The slot of the connection that waits for the answer.
    pub connection: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct PlannedBalance {
    pub account: u32,
    pub balance_cents: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct LocksReport {
    pub held: Vec<LockReport>,
    /// Accounts whose lock's holder died and that nobody has locked since; the next one to lock them repairs them first.
    pub orphaned: Vec<u32>,
    /// Locks that were inherited from dead holders so far.
    pub inherited: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct LockReport {
    pub account: u32,
    #[serde(flatten)]
    pub holder: HolderReport,
}

#[derive(Debug, Serialize)]
pub(super) struct ConnectionsReport {
    pub capacity: usize,
    /// On their way to a worker.
    pub handed: usize,
    pub served: usize,
    /// Closed by their worker; the master has not closed its duplicate yet.
    pub closed: usize,
    /// Only when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<SlotReport>>,
}

#[derive(Debug, Serialize)]
pub(super) struct SlotReport {
    pub slot: usize,
    pub state: &'static str,
    /// `None`: the master has not found a worker with room yet.
    pub worker: Option<u16>,
    /// Empty before LOGIN.
    pub user: String,
    /// Bytes received and not yet consumed as requests.
    pub unread: u32,
    /// Bytes of replies queued and not yet sent.
    pub unsent: u32,
    pub age_ms: u64,
}

/// Sums that were read without any lock: while money moves they need not fit together.
#[derive(Debug, Serialize)]
pub(super) struct TotalsReport {
    /// Always false: these are not the numbers of TOTALS.
    pub consistent_cut: bool,
    pub accounts: u32,
    pub opening_cents: i64,
    pub sum_cents: i64,
    pub deposited_cents: i64,
    pub withdrawn_cents: i64,
    /// Sum − deposited + withdrawn − opening: 0 in an instance at rest.
    pub difference_cents: i64,
    /// The last operation.
    pub lsn: u64,
    /// The last operation that is on disk for good, as of a moment before the sums were read; those behind it may yet be lost, and
    /// no client was told of them. Without a journal, and where replies do not wait, the last operation.
    pub committed_lsn: u64,
}
