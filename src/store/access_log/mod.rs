//! The access log: one file that all worker processes write, in which no line is lost, torn or doubled by any death.
//!
//! A line lies in shared memory until it is in the file. The event loop of a worker puts it into the ring of the worker's row
//! ([`Handle::append`]): a copy and one store, no system call, no waiting. The worker's log thread ([`Writer`]) moves what
//! waits to the file, under a [guard](crate::ipc::guard) that all workers share, as a [`Plan`](Planned): "these bytes of this row belong
//! at this place of this file" is written down before it is done. Whoever finds a plan under the guard carries it out: its
//! maker was killed, or the disk was full. How far that one's write had got is told by the file, which nobody else has written:
//! its length less the plan's offset. So a torn line is always completed before the next line is written.
//!
//! - `shared` is the layout in memory, `sink` the one way from there into the file, `rotation` the renaming of files.
//! - `writer` is the log thread and the event loop's end, `line` the text of a line.
//!
//! The file is opened by its name for each flush, which costs little beside writing half a ring: so it may be renamed or
//! removed by others at any time, and no process holds on to a file that was rotated away.

mod line;
mod rotation;
mod shared;
mod sink;
mod writer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::base::limits::{ACCESS_LOG_RING_BYTES as RING_BYTES, MAX_ACCESS_LOG_LINE_BYTES as LONGEST_LINE};
pub use line::{Entry, Stamp};
pub use shared::{FileId, Full, Plan, Planned, Row};
pub use sink::Sink;
pub use writer::{Handle, Writer};

use crate::ipc::guard::Guard;
use crate::ipc::segment::{self, Access, Segment};
use crate::ipc::semaphore::{self, NamedSemaphore};
use crate::ipc::{IpcError, names::Generation};
use shared::Head;

/// Version of the segment's layout.
pub const LAYOUT_VERSION: u32 = 1;
/// The segment's object.
pub const SEGMENT: &str = "access-log";
/// The guard's semaphore.
pub const SEMAPHORE: &str = "log";
/// How long a line waits in memory, unless the ring is half full before.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Where lines go, and when files are rotated.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file. Rotated ones have `.1`, `.2` … behind its name.
    pub path: PathBuf,
    /// A file that has at least so many bytes is rotated; it may have [`RING_BYTES`] more by then.
    pub rotate_bytes: u64,
    /// Rotated files that are kept; none counts as one.
    pub keep: u32,
    /// How long a line waits in memory at most: [`INTERVAL`].
    pub interval: Duration,
}

/// What does not work on the files. It is tried again with the next flush.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A call on a file failed.
    #[error(
        "cannot {step} {path}: {source}; lines wait in memory as long as there is room, then they are dropped and counted"
    )]
    Io {
        /// What was being done, as a verb.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the call gave.
        source: io::Error,
    },
    /// All lines are written, into a file that is longer than it should be.
    #[error("cannot rotate {path}: {source}; it grows until that works")]
    Rotate {
        /// The file.
        path: PathBuf,
        /// What renaming it, or one before it, gave.
        source: io::Error,
    },
    /// The path leads to a folder, a pipe or a device.
    #[error("{0} is not a regular file, so it cannot be told what of a line is written: name another")]
    NotRegular(PathBuf),
}

impl LogError {
    fn io(step: &'static str, path: &Path, source: io::Error) -> Self {
        LogError::Io { step, path: path.to_owned(), source }
    }

    fn errno(&self) -> i32 {
        match self {
            LogError::Io { source, .. } | LogError::Rotate { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            LogError::NotRegular(_) => libc::EINVAL,
        }
    }
}

/// The access log of an instance, as every process of it sees it.
pub struct AccessLog {
    segment: Segment<Head, Row>,
    semaphore: NamedSemaphore,
    target: Target,
}

impl AccessLog {
    /// Makes the segment, with a row for each of `workers`, and the semaphore.
    ///
    /// # Errors
    /// One of the two cannot be made; then neither is left.
    pub fn create(generation: &Generation, workers: usize, target: Target) -> Result<Self, IpcError> {
        let (name, guard) = (generation.name(SEGMENT), generation.name(SEMAPHORE));
        let segment = Segment::create(&name, LAYOUT_VERSION, generation.boot, workers, |_, _| Ok(()))?;
        match NamedSemaphore::create(&guard, 1) {
            Ok(semaphore) => Ok(AccessLog { segment, semaphore, target }),
            Err(error) => segment::unlink(&name).and(Err(error)),
        }
    }

    /// Bytes of the segment with a row for each of `workers`.
    #[must_use]
    pub fn bytes_for(workers: usize) -> usize {
        Segment::<Head, Row>::bytes_for(workers)
    }

    /// Opens the log of a running instance: to look at it, or to go on with it in another program of the same process.
    ///
    /// # Errors
    /// There is none, or it is of another layout.
    pub fn open(generation: &Generation, access: Access, target: Target) -> Result<Self, IpcError> {
        let segment = Segment::open(&generation.name(SEGMENT), LAYOUT_VERSION, access)?;
        Ok(AccessLog { segment, semaphore: NamedSemaphore::open(&generation.name(SEMAPHORE))?, target })
    }

    /// Opens the log of a running instance to look at its memory; where its lines go is not known then.
    ///
    /// # Errors
    /// There is none, or it is of another layout.
    pub fn look(generation: &Generation) -> Result<Self, IpcError> {
        let nowhere = Target { path: PathBuf::new(), rotate_bytes: u64::MAX, keep: 0, interval: INTERVAL };
        Self::open(generation, Access::Read, nowhere)
    }

    /// Removes both names; the master's, at the end.
    ///
    /// # Errors
    /// What the calls give, but for names that are gone already.
    pub fn unlink(generation: &Generation) -> Result<(), IpcError> {
        segment::unlink(&generation.name(SEGMENT)).and(semaphore::unlink(&generation.name(SEMAPHORE)))
    }

    /// Makes the file if there is none, so that a path that cannot be is an error at the start.
    ///
    /// # Errors
    /// It cannot be opened for writing, or is not a regular file.
    pub fn check_target(&self) -> Result<(), LogError> {
        sink::open(&self.target.path).map(drop)
    }

    /// Has all log threads write what they have, into the file that has the log's name now. The master's, when files were
    /// renamed (SIGUSR1); never waits.
    pub fn announce_reopen(&self) {
        self.rows().iter().for_each(Row::request);
    }

    /// Ends a dead worker's hold of the guard, if it had one; whether it had. The master's, once it has collected that worker
    /// and before it starts a successor.
    pub fn relinquish(&self, worker: u32) -> bool {
        self.guard().relinquish(worker)
    }

    /// Writes what any worker has left in memory. The master's, when no worker lives any more and the hold of each is
    /// [ended](AccessLog::relinquish); else it would wait.
    ///
    /// # Errors
    /// The file cannot be written; the lines stay where they are.
    pub fn drain(&self) -> Result<(), LogError> {
        // No worker has this number.
        let mut sink = Sink::new(self, u32::try_from(self.rows().len()).unwrap_or(u32::MAX - 1));
        (0..self.rows().len()).filter(|&row| self.rows()[row].pending() > 0).try_for_each(|row| sink.flush(row))
    }

    /// The guard around writing and rotation.
    #[must_use]
    pub fn guard(&self) -> Guard<'_> {
        Guard::new(&self.head().owner, &self.semaphore)
    }

    /// What is being written.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.head().plan
    }

    /// The rows, by the numbers of their workers.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
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
        self.head().rotations.get()
    }

    /// Flushes that failed since the start, and the error number of the last one while they still do; 0 else.
    #[must_use]
    pub fn failures(&self) -> (u64, u32) {
        (self.head().failures.get(), self.head().errno.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// The segment's name and bytes, as tools show it.
    #[must_use]
    pub fn segment(&self) -> (&str, usize) {
        (self.segment.name(), self.segment.bytes())
    }

    fn head(&self) -> &Head {
        self.segment.root()
    }
}

/// Which file this is.
fn id_of(metadata: &fs::Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    FileId { device: metadata.dev(), inode: metadata.ino() }
}

/// An open file, which one it is, and its length.
struct Opened {
    file: File,
    id: FileId,
    length: u64,
}
