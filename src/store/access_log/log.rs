//! The access log of an instance: its segment, and where its lines go.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::config::Settings;
use crate::ipc::IpcError;
use crate::ipc::names::Generation;
use crate::ipc::robust::{Acquired, Held};
use crate::ipc::segment::{self, Access, Segment};
use crate::store::access_log::file::{LogError, LogFile};
use crate::store::access_log::layout::{Header, LAYOUT_VERSION, WorkerRing, WritePlan};

/// The segment's object.
pub const SEGMENT: &str = "access-log";
/// How long a line waits in memory, unless the ring is half full before.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How often a thread that waits for the lock wakes up; it has nothing else to do then.
const LOCK_SLICE: Duration = Duration::from_secs(1);

/// Where lines go, and when files are rotated.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file. Rotated ones have `.1`, `.2` … behind its name.
    pub path: PathBuf,
    /// A file of at least this size is rotated; by then it may have [`RING_BYTES`](super::RING_BYTES) more.
    pub rotate_bytes: u64,
    /// Rotated files that are kept; none counts as one.
    pub keep: u32,
    /// How long a line waits in memory at most: [`INTERVAL`].
    pub interval: Duration,
}

impl Target {
    /// As the settings have it.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Target {
            path: settings.http.access_log.clone().unwrap_or_else(|| settings.data.join("access.log")),
            rotate_bytes: settings.http.log_rotate_bytes,
            keep: settings.http.log_keep,
            interval: INTERVAL,
        }
    }
}

/// The access log of an instance, as every process of it sees it.
pub struct AccessLog {
    segment: Segment<Header, WorkerRing>,
    target: Target,
}

impl AccessLog {
    /// Makes the segment, with a ring for each of `workers`.
    pub fn create(generation: &Generation, workers: usize, target: Target) -> Result<Self, IpcError> {
        let name = generation.name(SEGMENT);
        let segment = Segment::create(&name, LAYOUT_VERSION, generation.boot, workers, |header: &Header, _| {
            header.lock.init(&name)
        })?;
        Ok(AccessLog { segment, target })
    }

    /// Bytes of the segment with a ring for each of `workers`.
    #[must_use]
    pub fn bytes_for(workers: usize) -> usize {
        Segment::<Header, WorkerRing>::bytes_for(workers)
    }

    /// Opens the log of a running instance: to look at it, or to go on with it in another program of the same process.
    pub fn open(generation: &Generation, access: Access, target: Target) -> Result<Self, IpcError> {
        Ok(AccessLog { segment: Segment::open(&generation.name(SEGMENT), LAYOUT_VERSION, access)?, target })
    }

    /// Opens the log of a running instance to look at its memory; where its lines go is not known then.
    pub fn look(generation: &Generation) -> Result<Self, IpcError> {
        let nowhere = Target { path: PathBuf::new(), rotate_bytes: u64::MAX, keep: 0, interval: INTERVAL };
        Self::open(generation, Access::Read, nowhere)
    }

    /// Removes the segment's name; the master's, at the end.
    ///
    /// # Errors
    /// What the call gives, but for a name that is gone already.
    pub fn unlink(generation: &Generation) -> Result<(), IpcError> {
        segment::unlink(&generation.name(SEGMENT))
    }

    /// Makes the file if there is none, so that a path that cannot be used is an error at the start.
    pub fn check_target(&self) -> Result<(), LogError> {
        LogFile::open_or_create(&self.target.path).map(drop)
    }

    /// Has all log threads write what they have, into the file that has the log's name now. The master's, when files were
    /// renamed (SIGUSR1); never waits.
    pub fn announce_reopen(&self) {
        self.rings().iter().for_each(WorkerRing::request_flush);
    }

    /// Takes the lock around writing and rotation, and waits as long as a living thread holds it. Not for event loops.
    ///
    /// The plan tells what a dead holder left half done, and it stays until it is carried out. So an inherited lock is declared
    /// consistent at once, even if the disk then refuses to complete the plan.
    pub fn lock(&self) -> Held<'_> {
        match self.header().lock.lock(LOCK_SLICE, || ()) {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                let held = inherited.into_consistent();
                self.header().inherited.add(1);
                held
            }
        }
    }

    /// The kernel's id of the thread that holds the lock, at some moment of the call. For tools that look.
    #[must_use]
    pub fn lock_holder(&self) -> Option<u32> {
        self.header().lock.holder()
    }

    /// How often the lock was inherited from a holder that died.
    #[must_use]
    pub fn inherited(&self) -> u64 {
        self.header().inherited.get()
    }

    /// How often a plan was completed by a later flush than the one that had made it.
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.header().replayed.get()
    }

    /// What is being written.
    #[must_use]
    pub fn plan(&self) -> &WritePlan {
        &self.header().plan
    }

    /// The rings, by the numbers of their workers.
    #[must_use]
    pub fn rings(&self) -> &[WorkerRing] {
        self.segment.elements()
    }

    /// Where lines go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Files that were rotated away since the start.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.header().rotations.get()
    }

    /// Flushes that failed since the start, and the error number of the last one while they still do; 0 else.
    #[must_use]
    pub fn failures(&self) -> (u64, u32) {
        (self.header().failures.get(), self.header().errno.load(Ordering::Relaxed))
    }

    /// The segment's name and bytes, as tools show it.
    #[must_use]
    pub fn segment(&self) -> (&str, usize) {
        (self.segment.name(), self.segment.bytes())
    }

    pub(super) fn header(&self) -> &Header {
        self.segment.root()
    }
}
