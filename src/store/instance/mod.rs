//! A running instance: all of its shared memory and semaphores, made together and unlinked together.
//!
//! The master makes it; its children have it by fork; `vaultctl` opens it for reading. The control segment is made first
//! and unlinked last, and its file is locked ([`crate::ipc::filelock`]) for as long as any process of the instance lives:
//! that lock, not a pid, tells a running instance from what a dead one left ([`stale`]).

pub mod control;
pub mod control_requests;
pub mod histogram;
pub mod life;
pub mod lock_file;
pub mod lock_holders;
pub mod stale;
pub mod stats;

use std::fs::File;
use std::ops::Range;

use crate::base::limits::{MAX_WORKERS, RESERVED_CONNECTIONS};
use crate::ipc::lane::{self, LaneRing, LaneSemaphores};
use crate::ipc::names::Generation;
use crate::ipc::segment::{Access, Segment};
use crate::ipc::{IpcError, filelock, process, segment, semaphore};
use crate::store::cache_channel::CacheRow;
use crate::store::connection::slot::ConnectionSlot;
use crate::store::connection::{ServiceId, Slots};
use crate::store::kv::KvTable;
use crate::store::ledger::{Shape, Table};
pub use control::{Blueprint, ServiceBlueprint};
use control::{Control, JournalRow, ReplicaRow, WorkerRow};

/// Version of the layout of the control, lanes, connections and rings segments.
pub const LAYOUT_VERSION: u32 = 15;

/// The versions of all layouts, in words that two programs can compare.
#[must_use]
pub fn layout() -> String {
    let [accounts, ring, keys] = crate::store::ledger::LAYOUT_VERSIONS;
    let log = crate::store::access_log::LAYOUT_VERSION;
    let transfers = crate::store::transfer::LAYOUT_VERSION;
    let kv = crate::store::kv::LAYOUT_VERSION;
    format!(
        "control {LAYOUT_VERSION} accounts {accounts} ring {ring} keys {keys} kv {kv} access-log {log} \
         transfers {transfers}"
    )
}

/// The segments' objects, in the order in which they are made.
const SEGMENTS: [&str; 9] =
    ["control", "lanes", "accounts", "intents", "journal", "keys", "key-index", "connections", "rings"];

/// Those of an instance that has a key-value table.
const KV_SEGMENTS: [&str; 3] = ["kv-index", "kv-blocks", "kv-rows"];

/// The memory of a running instance.
pub struct Instance {
    generation: Generation,
    control: Segment<Control, WorkerRow>,
    lanes: Segment<(), LaneRing>,
    table: Table,
    kv: Option<KvTable>,
    slots: Slots,
    /// Locked while any process of the instance lives; `None` in tools.
    alive: Option<File>,
}

/// The segments of an instance, each with its bytes, for accounts as `ledger` says, a key-value table of so many blocks (0: none), and the
/// connection slots of `services`.
#[must_use]
pub fn segment_bytes(ledger: &Shape, kv_blocks: u32, services: &[ServiceBlueprint]) -> Vec<(&'static str, usize)> {
    let control = Segment::<Control, WorkerRow>::bytes_for(MAX_WORKERS);
    let lanes = Segment::<(), LaneRing>::bytes_for(MAX_WORKERS);
    let [accounts, intents, journal, keys, index] = Table::bytes_for(ledger);
    let [connections, rings] = Slots::bytes_for(services.iter().map(|service| service.slots));
    let bytes = [control, lanes, accounts, intents, journal, keys, index, connections, rings];
    let kv = (kv_blocks > 0).then(|| KV_SEGMENTS.into_iter().zip(KvTable::bytes_for(kv_blocks)));
    SEGMENTS.into_iter().zip(bytes).chain(kv.into_iter().flatten()).collect()
}

/// Whether a version of this program makes objects of that name: the last part of a full one.
#[must_use]
pub fn makes_object(object: &str, semaphore: bool) -> bool {
    if semaphore {
        let lane = |worker: usize| lane::semaphore_names(worker).iter().any(|name| name == object);
        // `log` guarded the access log up to layout 7, and a server of that layout may have been killed.
        return object == "log" || (0..MAX_WORKERS).any(lane);
    }
    let others = [crate::store::access_log::SEGMENT, crate::store::transfer::SEGMENT];
    others.contains(&object) || SEGMENTS.contains(&object) || KV_SEGMENTS.contains(&object)
}

/// How many connections of a service there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Open connections.
    pub open: u64,
    /// Connections that are closing; they hold a slot, too.
    pub closing: u64,
    /// As many as may be open.
    pub allowed: u64,
}

impl Occupancy {
    /// How many are open beyond those that may be.
    #[must_use]
    pub fn excess(self) -> u64 {
        self.open.saturating_sub(self.allowed)
    }

    /// How many slots are taken beyond three quarters of the reserved ones: soon there will be none.
    #[must_use]
    pub fn shortage(self) -> u64 {
        (self.open + self.closing).saturating_sub(self.allowed + u64::from(RESERVED_CONNECTIONS) * 3 / 4)
    }
}

impl Instance {
    /// Makes all segments. Semaphores are made with each worker's lane ([`Instance::make_lane`]).
    ///
    /// # Errors
    /// One of them cannot be made; those made before it are unlinked again.
    pub fn create(blueprint: &Blueprint<'_>) -> Result<Self, IpcError> {
        let made = Self::make_segments(blueprint);
        if made.is_err() {
            unlink_segments(&blueprint.generation)?;
        }
        made
    }

    fn make_segments(blueprint: &Blueprint<'_>) -> Result<Self, IpcError> {
        let generation = blueprint.generation.clone();
        let boot = generation.boot;
        let [control, lanes, accounts, intents, journal, keys, index, connections, rings] =
            SEGMENTS.map(|object| generation.name(object));
        let maker = std::process::id();
        let mut alive = None;
        let control_segment =
            Segment::create(&control, LAYOUT_VERSION, boot, MAX_WORKERS, |root: &Control, _: &[WorkerRow]| {
                // Before the segment is published, so that it is never found finished and unlocked.
                let file = segment::open_file(&control)?;
                filelock::lock(&file, &control)?;
                alive = Some(file);
                root.requests.init(&control)?;
                root.describe(maker, process::monotonic_ns(), blueprint);
                Ok(())
            })?;
        let lanes = Segment::create(&lanes, LAYOUT_VERSION, boot, MAX_WORKERS, |(), _| Ok(()))?;
        let table = Table::create([&accounts, &intents, &journal, &keys, &index], boot, &blueprint.ledger)?;
        let kv = KV_SEGMENTS.map(|object| generation.name(object));
        let kv = match blueprint.kv_blocks {
            0 => None,
            blocks => Some(KvTable::create(kv.each_ref().map(String::as_str), boot, blocks)?),
        };
        let shapes = control_segment.root().slots();
        let slots = Slots::create([&connections, &rings], LAYOUT_VERSION, boot, &shapes)?;
        Ok(Instance { generation, control: control_segment, lanes, table, kv, slots, alive })
    }

    /// Opens a running instance: for a tool, or for a master that goes on with it after an upgrade.
    ///
    /// # Errors
    /// One of its segments is missing or of another layout.
    pub fn open(generation: Generation, access: Access) -> Result<Self, IpcError> {
        let [control, lanes, accounts, intents, journal, keys, index, connections, rings] =
            SEGMENTS.map(|object| generation.name(object));
        let control: Segment<Control, WorkerRow> = Segment::open(&control, LAYOUT_VERSION, access)?;
        let shapes = control.root().slots();
        let kv = KV_SEGMENTS.map(|object| generation.name(object));
        let kv = control.root().has_key_values().then(|| KvTable::open(kv.each_ref().map(String::as_str), access));
        Ok(Instance {
            control,
            kv: kv.transpose()?,
            lanes: Segment::open(&lanes, LAYOUT_VERSION, access)?,
            table: Table::open([&accounts, &intents, &journal, &keys, &index], access)?,
            slots: Slots::open([&connections, &rings], LAYOUT_VERSION, &shapes, access)?,
            generation,
            alive: None,
        })
    }

    /// The same instance, with the locked file that the previous program has handed over.
    #[must_use]
    pub fn with_alive(self, alive: File) -> Self {
        Instance { alive: Some(alive), ..self }
    }

    /// Opens the control segment of a running instance for writing, to ask something of its master.
    ///
    /// # Errors
    /// There is none, or it is of another layout.
    pub fn open_control(generation: &Generation) -> Result<Segment<Control, WorkerRow>, IpcError> {
        Segment::open(&generation.name(SEGMENTS[0]), LAYOUT_VERSION, Access::Write)
    }

    /// Makes the semaphores of worker `worker`'s lane.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub fn make_lane(&self, worker: usize) -> Result<LaneSemaphores, IpcError> {
        LaneSemaphores::create(&self.lane_semaphore_names(worker), self.control().queue_depth.get())
    }

    /// Removes the names of the semaphores of worker `worker`'s lane, when it has left for good.
    ///
    /// # Errors
    /// What `sem_unlink(3)` gives.
    pub fn unmake_lane(&self, worker: usize) -> Result<(), IpcError> {
        self.lane_semaphore_names(worker).iter().try_for_each(|name| semaphore::unlink(name))
    }

    /// The full names of the semaphores of worker `worker`'s lane.
    #[must_use]
    pub fn lane_semaphore_names(&self, worker: usize) -> [String; 3] {
        lane::semaphore_names(worker).map(|object| self.generation.name(&object))
    }

    /// Removes every name, semaphores too; who has the memory mapped keeps it. Only for the master: see
    /// `master::UnlinkOnDrop`.
    ///
    /// # Errors
    /// The first name that could not be removed; the others are removed nevertheless.
    pub fn unlink(&self) -> Result<(), IpcError> {
        let lanes = (0..MAX_WORKERS).map(|worker| self.unmake_lane(worker)).fold(Ok(()), Result::and);
        lanes.and(unlink_segments(&self.generation))
    }

    /// Name and boot.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What concerns all.
    #[must_use]
    pub fn control(&self) -> &Control {
        self.control.root()
    }

    /// What concerns the journal process.
    #[must_use]
    pub fn journal_row(&self) -> &JournalRow {
        &self.control().journal
    }

    /// What concerns the cache process.
    #[must_use]
    pub fn cache_row(&self) -> &CacheRow {
        &self.control().cache
    }

    /// What concerns the replica process as a child of the master.
    #[must_use]
    pub fn replica_row(&self) -> &ReplicaRow {
        &self.control().replica
    }

    /// What concerns one worker, for each.
    #[must_use]
    pub fn workers(&self) -> &[WorkerRow] {
        self.control.elements()
    }

    /// The ring of worker `worker`'s lane.
    #[must_use]
    pub fn lane_ring(&self, worker: usize) -> &LaneRing {
        &self.lanes.elements()[worker]
    }

    /// The accounts.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The key-value table, if there is one.
    #[must_use]
    pub fn kv(&self) -> Option<&KvTable> {
        self.kv.as_ref()
    }

    /// The connection slots.
    #[must_use]
    pub fn connections(&self) -> &[ConnectionSlot] {
        self.slots.all()
    }

    /// The connection slots with their rings.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The slots that are for connections of `service`.
    #[must_use]
    pub fn slots_of(&self, service: ServiceId) -> Range<usize> {
        self.slots.of(service)
    }

    /// How many connections of `service` there are, and how many there may be. Costs some loads for each worker that there ever was:
    /// a new one gets the first row that is free.
    #[must_use]
    pub fn occupancy(&self, service: ServiceId) -> Occupancy {
        let allowed = (self.slots_of(service).len() as u64).saturating_sub(RESERVED_CONNECTIONS.into());
        let mut occupancy = Occupancy { allowed, ..Occupancy::default() };
        for row in
            self.workers().iter().take_while(|row| row.life.lives.get() > 0).filter(|row| row.life.pid.get() != 0)
        {
            let stats = &row.stats.services[service.index()];
            let closing = stats.closing.get();
            occupancy.closing += closing;
            occupancy.open += stats.connections.get().saturating_sub(closing);
        }
        occupancy
    }

    /// The file whose lock says that the instance lives; children keep it open.
    #[must_use]
    pub fn alive(&self) -> Option<&File> {
        self.alive.as_ref()
    }

    /// The full names of all segments.
    pub fn segment_names(&self) -> impl Iterator<Item = &str> {
        let own = [self.control.name(), self.lanes.name()].into_iter().chain(self.slots.names());
        let kv = self.kv.iter().flat_map(|kv| kv.segments());
        own.chain(self.table.segments().into_iter().chain(kv).map(|(name, _)| name))
    }
}

/// Unlinks the segments, the control segment last: as long as anything is left, it is there to say whose it is.
fn unlink_segments(generation: &Generation) -> Result<(), IpcError> {
    let objects = KV_SEGMENTS.iter().chain(SEGMENTS.iter().rev());
    objects.map(|object| segment::unlink(&generation.name(object))).fold(Ok(()), Result::and)
}
