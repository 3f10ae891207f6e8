//! Everything that is counted, at one moment.

use clap::ValueEnum;
use serde::Serialize;

use super::cache::Cache;
use super::cluster::Cluster;
use super::kv::{KvCalls, KvTable};
use super::numbers::{self, ByCode, ByOpcode, ByStatus, ByWord, milliseconds};
use super::services::{BANK, Bounds, HTTP, ServiceAddress, ServiceCounts};
use crate::base::config::AcceptMode;
use crate::base::vocab::{Committed, OnDisk};
use crate::ipc::layout::Counter;
use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::instance::control::{Orders, WorkerRow};
use crate::store::instance::histogram::Times;
use crate::store::instance::stats::{GetFileStats, WebStats};

/// An instance at one moment; also the schema of `/_vault/stats.json`.
///
/// Counters count since the instance began, over all lives of a worker; times are in the unit that a field's name ends with. The
/// numbers are loaded one after the other while everything goes on: each is that of some moment during the call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// When it was taken, nanoseconds of the monotonic clock.
    #[serde(skip)]
    pub taken_ns: u64,
    /// What does not change.
    pub instance: Summary,
    /// Whether the master waits for room in a lane.
    pub accept_paused: bool,
    /// Whether the instance is on its way out.
    pub stopping: bool,
    /// Each worker that there ever was.
    pub workers: Vec<Worker>,
    /// What keeps operations on disk.
    pub journal: Journal,
    /// GetFile's cache process; `None` where there is none.
    pub cache: Option<Cache>,
    /// The cluster; `None` where the instance is alone.
    pub cluster: Option<Cluster>,
    /// The table of keys and values; `None` where there is none.
    pub kv: Option<KvTable>,
}

/// What concerns an instance as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// The random number of this start, as it stands in the objects' names.
    pub boot: String,
    /// The version of the program that looked.
    pub version: &'static str,
    /// The master's process id.
    pub master_pid: u32,
    /// Where the bank listens.
    pub address: String,
    /// Where HTTP is served; `None` where it is not.
    pub http_address: Option<String>,
    /// Where each service listens, those two included.
    pub services: Vec<ServiceAddress>,
    /// How connections reach workers.
    pub accept_mode: String,
    /// The data directory.
    pub data: String,
    /// Time since the start.
    pub uptime_ms: u64,
    /// Lines of the log that could not be written.
    pub log_lines_dropped: u64,
}

/// What a worker is now; samples and views show it alike.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WorkerNow {
    /// Its number.
    pub worker: usize,
    /// 0: there is no process now.
    pub pid: u32,
    /// `absent`, `starting`, `serving`, `leaving` or `stopping`.
    pub state: &'static str,
    /// How often a process was started in its place.
    pub lives: u32,
    /// How many of these ended without having been asked to.
    pub deaths: u32,
    /// Operations that dead processes of its place had begun, and that were finished or dropped.
    pub repairs: u32,
    /// Time since its last heartbeat.
    pub heartbeat_age_ms: u64,
    /// Connections that it has now, of all services.
    pub connections: u32,
    /// Tickets that wait in its lane.
    pub lane_depth: u32,
    /// Tickets that may.
    pub lane_capacity: u32,
}

/// One worker, and all that it and those before it in its place have counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Worker {
    /// What it is now.
    #[serde(flatten)]
    pub now: WorkerNow,
    /// Whether it was asked to leave.
    pub leaving: bool,
    /// How often none could be started in its place.
    pub failed_starts: u32,
    /// Connections of each service.
    pub services: Vec<ServiceCounts>,
    /// Connections of the bank that it was given.
    pub accepted: u64,
    /// Connections of the bank that ended.
    pub closed: u64,
    /// Connections of the bank turned away because there was no room.
    pub refused: u64,
    /// Connections taken over from other workers.
    pub resumed: u64,
    /// Connections dropped for being idle.
    pub idle_dropped: u64,
    /// Connections dropped for a frame that did not end.
    pub slow_dropped: u64,
    /// Frames that were none.
    pub bad_frames: u64,
    /// Requests of all opcodes.
    pub requests_total: u64,
    /// Requests by opcode.
    #[serde(serialize_with = "numbers::by_opcode")]
    pub requests: ByOpcode<u64>,
    /// Answers by status.
    #[serde(serialize_with = "numbers::by_status")]
    pub answers: ByStatus<u64>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Turns of its event loop.
    pub turns: u64,
    /// Time that connections waited between the master's accept and the worker, summed.
    pub dispatch_wait_sum_us: u64,
    /// The longest of these waits.
    pub dispatch_wait_max_us: u64,
    /// Times that it found its lane in use by the master.
    pub lane_contended: u64,
    /// From when a request was there to be read to when its reply was free to be sent.
    #[serde(serialize_with = "numbers::times")]
    pub answer_times: Times,
    /// What it did for HTTP.
    pub web: Web,
    /// What it did for GetFile.
    pub getfile: GetFile,
    /// What it answered of the key-value store.
    pub kv: KvCalls,
    /// What happened at its bounds.
    pub bounds: Bounds,
}

/// What one worker has counted of HTTP.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Web {
    /// Connections that it has now.
    pub connections: u64,
    /// Connections that it was given.
    pub accepted: u64,
    /// Connections turned away because there was no slot.
    pub refused: u64,
    /// Bytes sent, heads included.
    pub bytes_out: u64,
    /// Answers of all statuses.
    pub answers_total: u64,
    /// Answers by status.
    #[serde(serialize_with = "numbers::by_code")]
    pub answers: ByCode<u64>,
    /// Requests that the cache had the file for.
    pub cache_hits: u64,
    /// Requests that it did not.
    pub cache_misses: u64,
    /// Files that were put out of the cache for others.
    pub cache_evictions: u64,
    /// Bytes that the cache holds now.
    pub cache_bytes: u64,
    /// Files that the cache holds now.
    pub cache_entries: u64,
    /// Files that are being read now, or wait for a thread.
    pub queued: u64,
    /// Requests refused because too many waited for a thread.
    pub overloaded: u64,
    /// Times that a line had to wait for room in the access log.
    pub log_waits: u64,
    /// Streams of events that are open now.
    pub streams: u64,
    /// From when a request was whole to when its answer was sent.
    #[serde(serialize_with = "numbers::times")]
    pub answer_times: Times,
}

/// What one worker has counted of GetFile.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GetFile {
    /// Bytes sent, heads included.
    pub bytes_out: u64,
    /// Responses of all statuses.
    pub answers_total: u64,
    /// Responses by status.
    #[serde(serialize_with = "numbers::by_word")]
    pub answers: ByWord<u64>,
    /// Requests refused because too many waited for a thread.
    pub overloaded: u64,
    /// Times that a line had to wait for room in the access log.
    pub log_waits: u64,
    /// Requests that found no free segment at once.
    pub segment_waits: u64,
    /// Requests that found the queue to the cache process full.
    pub queue_full: u64,
    /// Requests that were put to a cache process again.
    pub asked_again: u64,
    /// Requests that the cache process did not answer, or go on with, in time.
    pub cache_timeouts: u64,
    /// Connections closed since their client was slow and others waited for a segment.
    pub slow_closed: u64,
    /// From when a request was whole to when its answer was sent.
    #[serde(serialize_with = "numbers::times")]
    pub answer_times: Times,
}

/// The journal as it is now; samples and views show it alike.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JournalNow {
    /// `open`, `no space` or `failed`; `absent`: the ledger is in memory only.
    pub state: &'static str,
    /// 0: there is no journal process now.
    pub pid: u32,
    /// How often a process was started for it.
    pub lives: u32,
    /// How many of these ended without having been asked to.
    pub deaths: u32,
    /// Time since its last heartbeat; 0 without a journal.
    pub heartbeat_age_ms: u64,
    /// Whether replies wait until what they show is committed.
    pub replies_wait: bool,
    /// The last operation.
    pub last_lsn: u64,
    /// The last operation that is on this instance's disk.
    pub on_disk_lsn: u64,
    /// The last operation that no loss can take back: what may be shown.
    pub committed_lsn: u64,
    /// The name that `committed_lsn` had; it goes with the next version.
    pub durable_lsn: u64,
    /// Records in the ring that are not on disk.
    pub waiting: u64,
    /// Places of the ring; 0 without a journal.
    pub capacity: u64,
    /// The last operation that the newest snapshot covers; 0 for none.
    pub snapshot_lsn: u64,
    /// Idempotency keys that are remembered.
    pub keys: u64,
    /// As many as are remembered at most.
    pub key_window: u64,
}

/// The journal, and what its processes have counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Journal {
    /// What it is now.
    #[serde(flatten)]
    pub now: JournalNow,
    /// How often no process could be started.
    pub failed_starts: u32,
    /// Whether its process was asked to write what is left, and end.
    pub leaving: bool,
    /// Groups that were synced, each by one call.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// How long groups took to be written and synced.
    #[serde(serialize_with = "numbers::times")]
    pub sync_times: Times,
}

impl Sample {
    /// Loads all of it.
    pub fn take(instance: &Instance) -> Sample {
        let now = monotonic_ns();
        Sample {
            taken_ns: now,
            instance: Summary::of(instance, now),
            accept_paused: instance.control().accept_paused(),
            stopping: instance.control().orders() != Orders::Serve,
            workers: Worker::all(instance, now),
            journal: Journal::of(instance, now),
            cache: Cache::of(instance, now),
            cluster: Cluster::of(instance, now),
            kv: KvTable::of(instance),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Summary {
    /// Reads what concerns `instance` as a whole, at `now_ns`.
    pub fn of(instance: &Instance, now_ns: u64) -> Summary {
        let control = instance.control();
        let mode = AcceptMode::value_variants().get(control.accept_mode.get() as usize);
        let mode = mode.and_then(AcceptMode::to_possible_value);
        let services = ServiceAddress::all(control);
        let address =
            |name: &str| services.iter().find(|service| service.name == name).map(|service| service.address.clone());
        Summary {
            name: instance.generation().instance.clone(),
            boot: format!("{:08x}", instance.generation().boot),
            version: env!("CARGO_PKG_VERSION"),
            master_pid: control.master_pid.get(),
            address: address(BANK).unwrap_or_default(),
            http_address: address(HTTP),
            services,
            accept_mode: mode.map_or_else(|| control.accept_mode.get().to_string(), |mode| mode.get_name().to_owned()),
            data: control.data(),
            uptime_ms: milliseconds(now_ns, control.started_ns.get()),
            log_lines_dropped: control.log.dropped(),
        }
    }
}

impl Worker {
    /// Its open connections of the service of that name.
    pub fn connections_of(&self, service: &str) -> u64 {
        self.count_of(service, |service| service.connections)
    }

    /// What it has counted of the connections of the service of that name.
    pub fn count_of(&self, service: &str, count: fn(&ServiceCounts) -> u64) -> u64 {
        ServiceCounts::find(&self.services, service).map_or(0, count)
    }

    /// Reads the row of each worker that there ever was, at `now_ns`.
    pub fn all(instance: &Instance, now_ns: u64) -> Vec<Worker> {
        let rows = instance.workers().iter().enumerate();
        rows.filter(|(_, row)| row.life.lives.get() > 0)
            .map(|(worker, row)| Worker::of(instance, worker, row, now_ns))
            .collect()
    }

    fn of(instance: &Instance, worker: usize, row: &WorkerRow, now_ns: u64) -> Worker {
        let stats = &row.stats;
        let requests: ByOpcode<u64> = counts(&stats.requests);
        let services = ServiceCounts::all(instance, row);
        let [bank, http] = [BANK, HTTP].map(|name| ServiceCounts::find(&services, name).cloned().unwrap_or_default());
        Worker {
            now: WorkerNow {
                worker,
                pid: row.life.pid.get(),
                state: row.state().name(),
                lives: row.life.lives.get(),
                deaths: row.life.deaths.get(),
                repairs: row.life.repairs.get(),
                heartbeat_age_ms: milliseconds(now_ns, row.life.heartbeat_ns.get()),
                connections: row.connections.get(),
                lane_depth: instance.lane_ring(worker).depth(),
                lane_capacity: instance.control().queue_depth.get(),
            },
            leaving: row.life.is_to_leave(),
            failed_starts: row.life.failed_starts.get(),
            accepted: bank.accepted,
            closed: bank.closed,
            refused: bank.refused,
            resumed: stats.resumed.get(),
            idle_dropped: stats.idle_dropped.get(),
            slow_dropped: stats.slow_dropped.get(),
            bad_frames: stats.strikes.get(),
            requests_total: requests.iter().sum(),
            requests,
            answers: counts(&stats.answers),
            bytes_in: stats.bytes_in.get(),
            bytes_out: stats.bytes_out.get(),
            turns: stats.turns.get(),
            dispatch_wait_sum_us: stats.dispatch_wait_ns.get() / 1000,
            dispatch_wait_max_us: stats.dispatch_wait_most_ns.get() / 1000,
            lane_contended: stats.lane_contended.get(),
            answer_times: stats.answer_times.read(),
            web: Web::of(&stats.web, &http),
            getfile: GetFile::of(&stats.getfile),
            kv: KvCalls::of(&stats.kv),
            bounds: Bounds::of(&stats.bounds, &services),
            services,
        }
    }
}

impl Web {
    fn of(stats: &WebStats, service: &ServiceCounts) -> Web {
        let answers: ByCode<u64> = counts(&stats.answers);
        Web {
            connections: service.connections,
            accepted: service.accepted,
            refused: service.refused,
            bytes_out: stats.bytes_out.get(),
            answers_total: answers.iter().sum(),
            answers,
            cache_hits: stats.cache_hits.get(),
            cache_misses: stats.cache_misses.get(),
            cache_evictions: stats.cache_evictions.get(),
            cache_bytes: stats.cache_bytes.get(),
            cache_entries: stats.cache_entries.get(),
            queued: stats.queued.get(),
            overloaded: stats.overloaded.get(),
            log_waits: stats.log_waits.get(),
            streams: stats.streams.get(),
            answer_times: stats.answer_times.read(),
        }
    }
}

impl GetFile {
    fn of(stats: &GetFileStats) -> GetFile {
        let answers: ByWord<u64> = counts(&stats.answers);
        GetFile {
            bytes_out: stats.bytes_out.get(),
            answers_total: answers.iter().sum(),
            answers,
            overloaded: stats.overloaded.get(),
            log_waits: stats.log_waits.get(),
            segment_waits: stats.segment_waits.get(),
            queue_full: stats.queue_full.get(),
            asked_again: stats.asked_again.get(),
            cache_timeouts: stats.cache_timeouts.get(),
            slow_closed: stats.slow_closed.get(),
            answer_times: stats.answer_times.read(),
        }
    }
}

impl Journal {
    /// Reads the state of the journal, at `now_ns`.
    pub fn of(instance: &Instance, now_ns: u64) -> Journal {
        let (row, sequencer) = (instance.journal_row(), instance.table().sequencer());
        // Before the last: none goes back, so no difference can be negative.
        let (OnDisk(on_disk), Committed(committed)) = (sequencer.on_disk(), sequencer.committed());
        let last = instance.table().order().now().lsn;
        let journaled = sequencer.is_journaled();
        let now = JournalNow {
            state: sequencer.state().name(),
            pid: row.life.pid.get(),
            lives: row.life.lives.get(),
            deaths: row.life.deaths.get(),
            heartbeat_age_ms: if journaled { milliseconds(now_ns, row.life.heartbeat_ns.get()) } else { 0 },
            replies_wait: sequencer.replies_wait(),
            last_lsn: last.0,
            on_disk_lsn: on_disk.0,
            committed_lsn: committed.0,
            durable_lsn: committed.0,
            waiting: if journaled { last.0.saturating_sub(on_disk.0) } else { 0 },
            capacity: sequencer.capacity(),
            snapshot_lsn: row.snapshot().0,
            keys: sequencer.keys().known().min(sequencer.keys().window()),
            key_window: sequencer.keys().window(),
        };
        Journal {
            now,
            failed_starts: row.life.failed_starts.get(),
            leaving: row.life.is_to_leave(),
            groups: row.groups.get(),
            records: row.records.get(),
            sync_times: row.sync_times.read(),
        }
    }
}

/// The first `N` of a row's counters; the row has places for more.
fn counts<const N: usize>(counters: &[Counter]) -> [u64; N] {
    std::array::from_fn(|place| counters.get(place).map_or(0, Counter::get))
}
