//! The control segment: what the master and its children share, and what tools read.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::limits::MAX_SERVICES;
use crate::base::logging::LogLosses;
use crate::base::time::nanoseconds;
use crate::base::vocab::Lsn;
use crate::ipc::bytes::SharedBytes;
use crate::ipc::layout::{Counter, Word};
use crate::ipc::names::Generation;
use crate::shared_struct;
use crate::store::cache_channel::CacheRow;
use crate::store::cluster::ClusterRow;
use crate::store::connection::{PerService, RingBytes, ServiceId, SlotShape};
use crate::store::instance::control_requests::{ControlRequests, RequestWords};
use crate::store::instance::histogram::{BUCKETS, Histogram};
use crate::store::instance::life::Life;
use crate::store::instance::stats::WorkerStats;
use crate::store::ledger::{Shape, Shows, Visible};

/// What the key-value service is called in shared memory.
pub const KV_SERVICE: &str = "kv";

shared_struct! {
    /// What concerns all. Writer: the master.
    pub struct Control, align 64, size 64 + 512 + MAX_SERVICES * 128 + 192 + 8 * (BUCKETS + 8) + 384 + 576 + 448 + 64
        + size_of::<ClusterRow>(); {
        /// The master's process id.
        pub master_pid: Word,
        orders: AtomicU32,
        /// How connections reach workers, as `AcceptMode` is ordered.
        pub accept_mode: Word,
        /// 1 while no lane has room: workers that make room notify the master.
        accept_paused: AtomicU32,
        /// Tickets that a lane may hold.
        pub queue_depth: Word,
        spare_word: AtomicU32,
        /// When the instance started, nanoseconds of the monotonic clock.
        pub started_ns: Counter,
        /// Silence after which a client is dropped, nanoseconds; 0 for never.
        idle_timeout_ns: AtomicU64,
        /// Requests per second that one connection may make; 0 for no limit.
        rate_limit: AtomicU64,
        /// How often the settings were read again.
        reloads: AtomicU64,
        /// Blocks that keys of the key-value store may take; 0 where there is none.
        kv_blocks: AtomicU64,
        data: SharedBytes<512>,
        /// What it offers; a row without a name is not used.
        services: [ServiceRow; MAX_SERVICES],
        /// The journal process.
        pub journal: JournalRow,
        /// The cache process.
        pub cache: CacheRow,
        /// The replica process.
        pub replica: ReplicaRow,
        /// What tools ask of the master.
        pub requests: ControlRequests,
        /// Lines of the log that could not be written.
        pub log: LogLosses,
        /// The cluster that the instance is a member of.
        pub cluster: ClusterRow,
    }
}

shared_struct! {
    /// A service that the instance offers. Writer: the master, before the first worker.
    pub struct ServiceRow, align 4, size 128; {
        name: SharedBytes<32>,
        /// Where it listens; empty where it does not.
        address: SharedBytes<64>,
        /// Its connection slots; they follow those of the services before it.
        slots: AtomicU32,
        /// Bytes of the receive ring and of the transmit ring of each.
        ring_bytes: [AtomicU32; 2],
        service_spare: [AtomicU32; 5],
    }
}

shared_struct! {
    /// What concerns the journal process.
    pub struct JournalRow, align 64, size 192 + 8 * (BUCKETS + 8); {
        /// The process and its state.
        pub life: Life,
        /// Groups made durable. Writer: the process.
        pub groups: Counter,
        /// Records made durable. Writer: the process.
        pub records: Counter,
        /// The last operation that the newest snapshot covers. Writers: the master at the start, then the process.
        snapshot: AtomicU64,
        /// Snapshots that were asked for so far. Writers: all who ask.
        snapshots_wanted: AtomicU64,
        /// How many of these were taken, or could not be. Writer: the process.
        snapshots_done: AtomicU64,
        spare_line: [AtomicU64; 3],
        /// How long groups took to be written and synced. Writer: the process.
        pub sync_times: Histogram,
        spare_words: [AtomicU64; 7],
    }
}

shared_struct! {
    /// What concerns the replica process as a child of the master.
    pub struct ReplicaRow, align 64, size 128 + 64 + 384; {
        /// The process and its state.
        pub life: Life,
        /// How often leadership was to be handed over. Writer: the master.
        hand_overs_wanted: AtomicU64,
        /// How many of these are done. Writer: the process.
        hand_overs_done: AtomicU64,
        /// How often the books were remade. Writer: the master.
        pub remakes: Counter,
        /// 1 while they are being remade: what stands in the tables then means nothing. Writer: the master.
        remaking: AtomicU32,
        replica_word: AtomicU32,
        /// The first record that peers may still need from the journal; 0 for all. Writer: the process.
        trim_to: AtomicU64,
        replica_line: [AtomicU64; 3],
        /// What tools ask about the cluster. Writer of the requests: the master; of the answers: the process.
        pub requests: RequestWords,
    }
}

shared_struct! {
    /// What must be visible before a sleeping worker is woken.
    struct Awaited, align 8, size 16; {
        /// One more than the operation that must be committed; 0: it waits for none. Writers: the worker, and who commits, which clears it
        /// when it wakes the worker.
        operation: AtomicU64,
        /// The round of reads that must be confirmed as well. Writer: the worker, before `operation`.
        round: AtomicU64,
    }
}

shared_struct! {
    /// What concerns one worker.
    pub struct WorkerRow, align 64, size 128 + 128 + size_of::<WorkerStats>(); {
        /// The process and its state.
        pub life: Life,
        state: AtomicU32,
        /// How many connections the worker has. Writers: the worker, and the master before and after its life.
        pub connections: Word,
        /// Connections that the worker is to give back. Writers: the master adds, the worker takes them away.
        surplus: AtomicU32,
        spare_word: AtomicU32,
        /// What each service waits for while the worker sleeps.
        awaited: PerService<Awaited>,
        spare_line: [AtomicU64; 4],
        /// Counters. Writer: the worker.
        pub stats: WorkerStats,
    }
}

/// A service that an instance offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBlueprint {
    /// What it is called, in at most 31 bytes.
    pub name: &'static str,
    /// Slots for its connections, the `RESERVED_CONNECTIONS` among them, and their rings.
    pub slots: SlotShape,
}

/// What an instance is made for.
pub struct Blueprint<'a> {
    /// Its name and boot.
    pub generation: Generation,
    /// The accounts, and how their operations are kept.
    pub ledger: Shape,
    /// Blocks that keys of the key-value store may take; 0 where there is none.
    pub kv_blocks: u32,
    /// What it offers, at most `MAX_SERVICES`, in the order of the table.
    pub services: &'a [ServiceBlueprint],
    /// Tickets that a lane may hold.
    pub queue_depth: u32,
    /// How connections reach workers, as `AcceptMode` is ordered; for tools.
    pub accept_mode: u32,
    /// The data directory; for tools.
    pub data: &'a str,
}

/// What the master wants of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Orders {
    /// Go on.
    Serve = 0,
    /// Finish what is in flight, answer nothing new, leave.
    Stop = 1,
    /// Leave now.
    Hurry = 2,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WorkerState {
    /// No process.
    Absent = 0,
    /// Forked, not yet in its loop.
    Starting = 1,
    /// In its loop.
    Serving = 2,
    /// Takes no more connections, serves those it has to their end.
    Leaving = 3,
    /// Sends what is queued, then ends.
    Stopping = 4,
}

impl WorkerState {
    /// The word that tools show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Absent => "absent",
            WorkerState::Starting => "starting",
            WorkerState::Serving => "serving",
            WorkerState::Leaving => "leaving",
            WorkerState::Stopping => "stopping",
        }
    }
}

impl Control {
    /// Sets what does not change while the instance runs.
    pub(super) fn describe(&self, master_pid: u32, started_ns: u64, blueprint: &Blueprint<'_>) {
        self.master_pid.set(master_pid);
        self.started_ns.set(started_ns);
        self.accept_mode.set(blueprint.accept_mode);
        self.queue_depth.set(blueprint.queue_depth);
        self.kv_blocks.store(blueprint.kv_blocks.into(), Ordering::Relaxed);
        for (row, service) in self.services.iter().zip(blueprint.services) {
            row.name.store_text(service.name);
            row.slots.store(service.slots.count, Ordering::Relaxed);
            let bytes = row.ring_bytes.iter().zip(service.slots.rings.to_words());
            bytes.for_each(|(word, bytes)| word.store(bytes, Ordering::Relaxed));
        }
        self.data.store_text(blueprint.data);
    }

    /// The services that the instance offers, with their names.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, String)> {
        let named = ServiceId::all().map(|service| (service, self.services[service.index()].name.load_text()));
        named.filter(|(_, name)| !name.is_empty())
    }

    /// The connection slots that each service has. Other processes could have written here: the sizes of rings are to be checked.
    #[must_use]
    pub fn slots(&self) -> PerService<SlotShape> {
        std::array::from_fn(|service| {
            let row = &self.services[service];
            let rings = RingBytes::from_words(row.ring_bytes.each_ref().map(|word| word.load(Ordering::Relaxed)));
            SlotShape { count: row.slots.load(Ordering::Relaxed), rings }
        })
    }

    /// Whether the instance has a key-value table.
    #[must_use]
    pub fn has_key_values(&self) -> bool {
        self.kv_blocks.load(Ordering::Relaxed) > 0
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> String {
        self.data.load_text()
    }

    /// The address that the instance listens on for a service; empty where there is none.
    #[must_use]
    pub fn address(&self, service: ServiceId) -> String {
        self.services[service.index()].address.load_text()
    }

    /// The address that the instance listens on for its key-value service; empty where there is none.
    #[must_use]
    pub fn kv_address(&self) -> String {
        let kv = self.services().find(|(_, name)| name == KV_SERVICE);
        kv.map_or_else(String::new, |(service, _)| self.address(service))
    }

    /// Says which address the instance listens on for a service.
    pub fn set_address(&self, service: ServiceId, address: &str) {
        self.services[service.index()].address.store_text(address);
    }

    /// Sets what can change while the instance runs.
    pub fn tune(&self, idle_timeout: Option<Duration>, rate_limit: Option<NonZeroU32>) {
        let idle_ns = idle_timeout.map_or(0, nanoseconds);
        self.idle_timeout_ns.store(idle_ns, Ordering::Relaxed);
        self.rate_limit.store(rate_limit.map_or(0, NonZeroU32::get).into(), Ordering::Relaxed);
    }

    /// Says that settings and users are to be read again; wake the workers up afterwards.
    pub fn announce_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Release);
    }

    /// How often settings and users were to be read again.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Acquire)
    }

    /// Silence after which a client is dropped, nanoseconds; `None` is never.
    #[must_use]
    pub fn idle_timeout_ns(&self) -> Option<u64> {
        Some(self.idle_timeout_ns.load(Ordering::Relaxed)).filter(|&idle| idle > 0)
    }

    /// Requests per second that one connection may make; `None` is no limit.
    #[must_use]
    pub fn rate_limit(&self) -> Option<NonZeroU32> {
        u32::try_from(self.rate_limit.load(Ordering::Relaxed)).ok().and_then(NonZeroU32::new)
    }

    /// Gives orders to all workers; wake them up afterwards.
    pub fn order(&self, orders: Orders) {
        self.orders.store(orders as u32, Ordering::Release);
    }

    /// What the workers are to do.
    #[must_use]
    pub fn orders(&self) -> Orders {
        match self.orders.load(Ordering::Acquire) {
            0 => Orders::Serve,
            1 => Orders::Stop,
            _ => Orders::Hurry,
        }
    }

    /// Says whether the master waits for room in a lane.
    pub fn set_accept_paused(&self, paused: bool) {
        self.accept_paused.store(u32::from(paused), Ordering::SeqCst);
    }

    /// Whether the master waits for room in a lane.
    #[must_use]
    pub fn accept_paused(&self) -> bool {
        self.accept_paused.load(Ordering::SeqCst) != 0
    }
}

impl JournalRow {
    /// Counts a group of `records` records that became durable within `took_ns` nanoseconds.
    pub fn count_group(&self, records: u64, took_ns: u64) {
        self.groups.add(1);
        self.records.add(records);
        self.sync_times.record(took_ns, 1);
    }

    /// Asks for a snapshot; gives what [`JournalRow::snapshots_done`] must reach.
    pub fn want_snapshot(&self) -> u64 {
        self.snapshots_wanted.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Snapshots that were asked for so far.
    #[must_use]
    pub fn snapshots_wanted(&self) -> u64 {
        self.snapshots_wanted.load(Ordering::Acquire)
    }

    /// How many of these were taken, or could not be.
    #[must_use]
    pub fn snapshots_done(&self) -> u64 {
        self.snapshots_done.load(Ordering::Acquire)
    }

    /// Says how many of these were taken, or could not be.
    pub fn set_snapshots_done(&self, done: u64) {
        self.snapshots_done.store(done, Ordering::Release);
    }

    /// The last operation that the newest snapshot covers.
    #[must_use]
    pub fn snapshot(&self) -> Lsn {
        Lsn(self.snapshot.load(Ordering::Acquire))
    }

    /// Says which operation the newest snapshot covers.
    pub fn set_snapshot(&self, lsn: Lsn) {
        self.snapshot.store(lsn.0, Ordering::Release);
    }
}

impl ReplicaRow {
    /// Asks for leadership to be handed over, for the `number`th time; wake the process up afterwards.
    pub fn want_hand_over(&self, number: u64) {
        self.hand_overs_wanted.store(number, Ordering::Release);
    }

    /// The hand-over that is asked for and not done; `None` where there is none. The process that finds one hands leadership over, does not
    /// campaign by itself until then, and says so by [`ReplicaRow::set_handed_over`], also where another instance has leadership
    /// already, and where there is none that could take it.
    #[must_use]
    pub fn hand_over_wanted(&self) -> Option<u64> {
        let wanted = self.hand_overs_wanted.load(Ordering::Acquire);
        (wanted > self.hand_overs_done()).then_some(wanted)
    }

    /// Says that the hand-over of that number is done.
    pub fn set_handed_over(&self, number: u64) {
        self.hand_overs_done.store(number, Ordering::Release);
    }

    /// How many hand-overs are done.
    #[must_use]
    pub fn hand_overs_done(&self) -> u64 {
        self.hand_overs_done.load(Ordering::Acquire)
    }

    /// Says that peers do not need the records before `lsn` any more: they have them, or will get a snapshot. Each call replaces the one
    /// before. Only the replica process.
    pub fn set_trim_to(&self, lsn: Lsn) {
        self.trim_to.store(lsn.0, Ordering::Release);
    }

    /// The first record that peers may still need from the journal; 0 where it is not known, so that all must stay.
    #[must_use]
    pub fn trim_to(&self) -> Lsn {
        Lsn(self.trim_to.load(Ordering::Acquire))
    }

    /// Says whether the books are being remade.
    pub fn set_remaking(&self, remaking: bool) {
        self.remaking.store(u32::from(remaking), Ordering::SeqCst);
    }

    /// Whether the books are being remade, so that what stands in the tables means nothing.
    #[must_use]
    pub fn is_remaking(&self) -> bool {
        self.remaking.load(Ordering::SeqCst) != 0
    }
}

impl Awaited {
    /// Clears it if it may be shown; whether this caller did.
    fn is_taken(&self, visible: Visible) -> bool {
        // COMMITTED-OR-AWAITED.
        let operation = self.operation.load(Ordering::SeqCst);
        let shows = |lsn| Shows { lsn: Lsn(lsn), round: self.round.load(Ordering::Relaxed) };
        operation.checked_sub(1).is_some_and(|lsn| visible.includes(shows(lsn)))
            && self.operation.compare_exchange(operation, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl WorkerRow {
    /// Begins another life, before the fork. Only the master.
    pub fn begin_life(&self, now_ns: u64) {
        self.awaited.iter().for_each(|awaited| awaited.operation.store(0, Ordering::Relaxed));
        self.surplus.store(0, Ordering::Relaxed);
        self.connections.set(0);
        self.life.begin(now_ns);
        self.set_state(WorkerState::Starting);
    }

    /// Ends the life. Only the master.
    pub fn end_life(&self) {
        self.life.pid.set(0);
        self.connections.set(0);
        self.set_state(WorkerState::Absent);
    }

    /// Asks the worker to give back `connections`; wake it up afterwards.
    pub fn ask_for(&self, connections: u32) {
        self.surplus.store(connections, Ordering::Release);
    }

    /// How many connections the worker is to give back; they are not asked for again.
    #[must_use]
    pub fn take_surplus(&self) -> u32 {
        self.surplus.swap(0, Ordering::AcqRel)
    }

    /// Asks for `service` to be woken once what `shows` says may be shown, or for nothing; afterwards the worker must look once more
    /// whether it may.
    #[inline]
    pub fn await_visible(&self, service: ServiceId, shows: Option<Shows>) {
        let awaited = &self.awaited[service.index()];
        if let Some(Shows { round, .. }) = shows {
            awaited.round.store(round, Ordering::Relaxed);
        }
        // Saturating: a client may wait for any number.
        // COMMITTED-OR-AWAITED: either this worker sees that it may be shown, or who says so sees that it waits.
        awaited.operation.store(shows.map_or(0, |shows| shows.lsn.0.saturating_add(1)), Ordering::SeqCst);
    }

    /// Whether the worker sleeps until something may be shown that may be now, and this caller is the one to wake it. What its other
    /// services wait for stands as it was.
    #[must_use]
    pub fn must_be_woken(&self, visible: Visible) -> bool {
        // All are asked: what has come for several wakes the worker once.
        self.awaited.iter().fold(false, |woken, awaited| awaited.is_taken(visible) | woken)
    }

    /// Says where the worker is in its life.
    pub fn set_state(&self, state: WorkerState) {
        self.state.store(state as u32, Ordering::Relaxed);
    }

    /// Where the worker is in its life.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        match self.state.load(Ordering::Relaxed) {
            1 => WorkerState::Starting,
            2 => WorkerState::Serving,
            3 => WorkerState::Leaving,
            4 => WorkerState::Stopping,
            _ => WorkerState::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Committed;
    use crate::ipc::segment::{Segment, unlink};

    #[test]
    fn a_worker_is_woken_once_for_what_any_of_its_services_waits_for() {
        let name = format!("/vault-test.{}.awaited", std::process::id());
        let rows = Segment::<(), WorkerRow>::create(&name, 1, 1, 1, |(), _| Ok(())).unwrap();
        unlink(&name).unwrap();
        let row = &rows.elements()[0];
        let [one, other] = [0, MAX_SERVICES - 1].map(|index| ServiceId::new(index).unwrap());
        let shows = |lsn, round| Some(Shows { lsn: Lsn(lsn), round });
        let visible = |lsn, rounds| Visible { committed: Committed(Lsn(lsn)), rounds };
        assert!(!row.must_be_woken(visible(u64::MAX, u64::MAX)), "nothing is waited for");
        // The one that asks later waits for less, or for more: neither takes the other's place.
        row.await_visible(one, shows(7, 3));
        row.await_visible(other, shows(5, 0));
        assert!(!row.must_be_woken(visible(4, 9)));
        assert!(row.must_be_woken(visible(5, 0)));
        assert!(!row.must_be_woken(visible(6, 9)), "it was woken for that");
        row.await_visible(other, shows(9, 0));
        assert!(!row.must_be_woken(visible(8, 2)), "what was read is not confirmed");
        assert!(row.must_be_woken(visible(8, 3)));
        row.await_visible(one, shows(9, 0));
        assert!(row.must_be_woken(visible(9, 0)));
        assert!(!row.must_be_woken(visible(9, 0)), "once for both");
        row.await_visible(one, shows(1, 0));
        row.await_visible(one, None);
        assert!(!row.must_be_woken(visible(9, 9)), "it is awake");
        row.await_visible(one, shows(1, 0));
        row.begin_life(1);
        assert!(!row.must_be_woken(visible(9, 9)), "another process waits for nothing yet");
    }
}
