//! The access log's segment: the plan, and each worker's lines that are not in the file yet.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::limits::ACCESS_LOG_RING_BYTES as RING_BYTES;
use crate::ipc::bytes::SharedBytes;
use crate::ipc::futex;
use crate::ipc::layout::Counter;
use crate::ipc::robust::{Held, RobustMutex};
use crate::shared_struct;

/// Version of the segment's layout.
pub const LAYOUT_VERSION: u32 = 2;

shared_struct! {
    /// What concerns all workers. Writer: the holder of `lock`.
    pub(super) struct Header, align 64, size 128; {
        /// Held while the file is written or rotated. A thread that dies with it leaves the plan to its heir.
        pub(super) lock: RobustMutex,
        /// The error number of the last flush that failed; 0 while they succeed.
        pub(super) errno: AtomicU32,
        reserved: AtomicU32,
        pub(super) failures: Counter,
        pub(super) rotations: Counter,
        /// When a failure was last written to the server's own log, nanoseconds of the monotonic clock; 0 for never.
        pub(super) reported_ns: AtomicU64,
        /// Locks inherited from dead holders.
        pub(super) inherited: Counter,
        /// Plans that were found and carried out.
        pub(super) replayed: Counter,
        pub(super) plan: WritePlan,
    }
}

shared_struct! {
    /// What is to be written where, stored before it is done. Writer: the lock's holder.
    pub struct WritePlan, align 8, size 40; {
        device: AtomicU64,
        inode: AtomicU64,
        offset: AtomicU64,
        position: AtomicU64,
        worker: AtomicU32,
        /// Bytes; 0 when there is no plan, so it is stored last.
        length: AtomicU32,
    }
}

/// The identity of a file, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A plan as a value: the lines of one worker that belong at one place of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedWrite {
    /// The file.
    pub file: FileId,
    /// Its length before: where the lines begin.
    pub offset: u64,
    /// The worker whose lines they are; another may write them.
    pub worker: u32,
    /// The first byte of them, counted from the beginning of that worker's ring.
    pub position: u64,
    /// Bytes, at least 1 and at most [`RING_BYTES`].
    pub length: u32,
}

impl WritePlan {
    /// The plan, if there is one; to be relied on only under the lock.
    #[must_use]
    pub fn load(&self) -> Option<PlannedWrite> {
        // PLAN: acquire; a reader that sees the length sees the rest.
        let length = self.length.load(Ordering::Acquire);
        (length != 0).then(|| PlannedWrite {
            file: FileId { device: self.device.load(Ordering::Relaxed), inode: self.inode.load(Ordering::Relaxed) },
            offset: self.offset.load(Ordering::Relaxed),
            worker: self.worker.load(Ordering::Relaxed),
            position: self.position.load(Ordering::Relaxed),
            length,
        })
    }

    /// Stores a plan where there is none.
    pub(super) fn store(&self, planned: &PlannedWrite, _held: &Held<'_>) {
        debug_assert!(self.load().is_none(), "a plan is carried out before the next is made");
        self.device.store(planned.file.device, Ordering::Relaxed);
        self.inode.store(planned.file.inode, Ordering::Relaxed);
        self.offset.store(planned.offset, Ordering::Relaxed);
        self.worker.store(planned.worker, Ordering::Relaxed);
        self.position.store(planned.position, Ordering::Relaxed);
        // PLAN: release; a death before this store leaves no plan, and nothing done.
        self.length.store(planned.length, Ordering::Release);
    }

    /// Clears the plan: it is carried out, or can never be.
    pub fn clear(&self, _held: &Held<'_>) {
        self.length.store(0, Ordering::Release);
    }
}

shared_struct! {
    /// The lines of one worker. A successor goes on where its predecessor stopped; a ring is never cleared.
    pub struct WorkerRing, align 64, size 192 + RING_BYTES; {
        /// Bytes ever appended. Writer: the worker's event loop.
        appended: AtomicU64,
        /// Lines ever appended; may lack one for each worker that was killed. Writer: as above.
        lines: Counter,
        appended_line: [AtomicU64; 6],
        /// Bytes that are in a file. Writer: the lock's holder.
        flushed: AtomicU64,
        flushed_line: [AtomicU64; 7],
        /// Counts how often a flush was asked for; the log thread sleeps on it. Writers: the event loop, the master.
        requests: AtomicU32,
        requests_line: [AtomicU32; 15],
        /// The bytes from `flushed` to `appended`, each at its position modulo the size. Writer: the worker's event loop.
        bytes: SharedBytes<RING_BYTES>,
    }
}

/// There is no room in the ring until lines of it are in the file. The line stays the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl WorkerRing {
    /// Bytes ever appended.
    #[must_use]
    pub fn appended(&self) -> u64 {
        // LINE-APPENDED: acquire; a reader that sees the number sees the bytes.
        self.appended.load(Ordering::Acquire)
    }

    /// Bytes that are in a file.
    #[must_use]
    pub fn flushed(&self) -> u64 {
        // LINE-FLUSHED: acquire; the event loop may overwrite the bytes before that number.
        self.flushed.load(Ordering::Acquire)
    }

    /// Lines ever appended; may lack one for each worker that was killed.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.get()
    }

    /// Bytes that are in memory only, at most [`RING_BYTES`].
    #[must_use]
    pub fn pending(&self) -> usize {
        // In this order: `flushed` never passes an `appended` that was loaded later.
        let flushed = self.flushed();
        usize::try_from(self.appended().saturating_sub(flushed)).map_or(RING_BYTES, |pending| pending.min(RING_BYTES))
    }

    /// Appends whole lines; called by the worker's event loop only. Returns the bytes ever appended.
    pub(super) fn append(&self, lines: &[u8]) -> Result<u64, Full> {
        if lines.len() > RING_BYTES - self.pending() {
            return Err(Full);
        }
        let from = self.appended.load(Ordering::Relaxed);
        self.bytes.copy_in(offset(from), lines);
        let appended = from + lines.len() as u64;
        // LINE-APPENDED: release. By this store the whole line is there at once.
        self.appended.store(appended, Ordering::Release);
        self.lines.add(1);
        Ok(appended)
    }

    /// Copies `into.len()` bytes from `position` on out of the ring.
    pub(super) fn copy_out(&self, position: u64, into: &mut [u8]) {
        self.bytes.copy_out(offset(position), into);
    }

    /// Says that all bytes before position `flushed` are in a file.
    pub(super) fn set_flushed(&self, flushed: u64, _held: &Held<'_>) {
        // LINE-FLUSHED: release; the bytes were copied out before.
        self.flushed.store(flushed, Ordering::Release);
    }

    /// How often a flush was asked for.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Asks the worker's log thread for a flush. A system call, but never a wait.
    pub(super) fn request_flush(&self) {
        self.requests.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.requests);
    }

    /// Sleeps until more than `seen` requests were made, or `patience` is over.
    pub(super) fn wait_for_request(&self, seen: u32, patience: Duration) {
        futex::wait_while(&self.requests, seen, patience);
    }
}

/// Offsets in the ring wrap at 2^32, which the ring's size divides.
#[allow(clippy::cast_possible_truncation, reason = "the remainder is what is meant")]
fn offset(position: u64) -> u32 {
    position as u32
}
