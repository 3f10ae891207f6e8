//! What of the access log lies in shared memory: the plan, and each worker's lines that are not in the file yet.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::limits::ACCESS_LOG_RING_BYTES as RING_BYTES;
use crate::ipc::bytes::SharedBytes;
use crate::ipc::futex;
use crate::ipc::guard::Held;
use crate::ipc::layout::Counter;
use crate::shared_struct;

shared_struct! {
    /// What concerns all. Writers: `owner` whoever takes or ends the guard; all else its holder.
    pub(super) struct Head, align 64, size 128; {
        pub(super) owner: AtomicU32,
        /// The error number of the last flush that failed; 0 while they succeed.
        pub(super) errno: AtomicU32,
        pub(super) failures: Counter,
        pub(super) rotations: Counter,
        /// When a failure was last written to the server's own log, nanoseconds of the monotonic clock; 0 for never.
        pub(super) complained_ns: AtomicU64,
        owner_line: [AtomicU64; 4],
        pub(super) plan: Plan,
        plan_line: [AtomicU64; 3],
    }
}

shared_struct! {
    /// What is to be written where, written down before it is done. Writer: the guard's holder.
    pub struct Plan, align 8, size 40; {
        device: AtomicU64,
        inode: AtomicU64,
        offset: AtomicU64,
        position: AtomicU64,
        writer: AtomicU32,
        /// Bytes; 0 when there is no plan, so it is stored last.
        length: AtomicU32,
    }
}

/// A file, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A plan as a value: the lines of one worker that belong at one place of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The file.
    pub file: FileId,
    /// Its length before: where the lines begin.
    pub offset: u64,
    /// The worker whose lines they are, which need not be who writes them.
    pub writer: u32,
    /// The first byte of them, counted from the beginning of that worker's row.
    pub position: u64,
    /// Bytes, at least 1 and at most [`RING_BYTES`].
    pub length: u32,
}

impl Plan {
    /// The plan that stands; meaningful under the guard, else for tools that look.
    #[must_use]
    pub fn load(&self) -> Option<Planned> {
        // PLAN: acquire; who sees the length sees the rest.
        let length = self.length.load(Ordering::Acquire);
        (length != 0).then(|| Planned {
            file: FileId { device: self.device.load(Ordering::Relaxed), inode: self.inode.load(Ordering::Relaxed) },
            offset: self.offset.load(Ordering::Relaxed),
            writer: self.writer.load(Ordering::Relaxed),
            position: self.position.load(Ordering::Relaxed),
            length,
        })
    }

    /// Writes a plan down; none may stand.
    pub(super) fn publish(&self, planned: &Planned, _held: &Held<'_>) {
        debug_assert!(self.load().is_none(), "a plan is carried out before the next is made");
        self.device.store(planned.file.device, Ordering::Relaxed);
        self.inode.store(planned.file.inode, Ordering::Relaxed);
        self.offset.store(planned.offset, Ordering::Relaxed);
        self.writer.store(planned.writer, Ordering::Relaxed);
        self.position.store(planned.position, Ordering::Relaxed);
        // PLAN: release; a death before this store leaves no plan, and nothing done.
        self.length.store(planned.length, Ordering::Release);
    }

    /// Takes the plan away: it is carried out, or nothing of it ever can be.
    pub fn clear(&self, _held: &Held<'_>) {
        self.length.store(0, Ordering::Release);
    }
}

shared_struct! {
    /// The lines of one worker. A successor goes on where its predecessor stopped; a row is never cleared.
    pub struct Row, align 64, size 192 + RING_BYTES; {
        /// Bytes ever appended. Writer: the worker's event loop.
        appended: AtomicU64,
        /// Lines ever appended; may lack one for each worker that was killed. Writer: as above.
        lines: Counter,
        appended_line: [AtomicU64; 6],
        /// Bytes that are in a file. Writer: the guard's holder.
        flushed: AtomicU64,
        flushed_line: [AtomicU64; 7],
        /// Counts how often a flush was asked for; the log thread sleeps on it. Writers: the event loop, the master.
        requests: AtomicU32,
        requests_line: [AtomicU32; 15],
        /// The bytes from `flushed` to `appended`, each at its number modulo the size. Writer: the worker's event loop.
        ring: SharedBytes<RING_BYTES>,
    }
}

/// There is no room in the ring until lines of it are in the file. The line is the caller's still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Row {
    /// Bytes ever appended.
    #[must_use]
    pub fn appended(&self) -> u64 {
        // LINE-APPENDED: acquire; who sees the number sees the bytes.
        self.appended.load(Ordering::Acquire)
    }

    /// Bytes that are in a file.
    #[must_use]
    pub fn flushed(&self) -> u64 {
        // LINE-FLUSHED: acquire; who sees the number may write over what was read before it was stored.
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

    /// Puts whole lines behind those that are there; the row's one event loop only. Returns the bytes ever appended.
    pub(super) fn append(&self, lines: &[u8]) -> Result<u64, Full> {
        if lines.len() > RING_BYTES - self.pending() {
            return Err(Full);
        }
        let from = self.appended.load(Ordering::Relaxed);
        self.ring.copy_in(place(from), lines);
        let appended = from + lines.len() as u64;
        // LINE-APPENDED: release. This store makes the line count: before it there is none, after it there is a whole one.
        self.appended.store(appended, Ordering::Release);
        self.lines.add(1);
        Ok(appended)
    }

    /// Copies the `into.len()` bytes from number `position` on out of the ring.
    pub(super) fn copy_out(&self, position: u64, into: &mut [u8]) {
        self.ring.copy_out(place(position), into);
    }

    /// Says that all bytes before number `flushed` are in a file.
    pub(super) fn set_flushed(&self, flushed: u64, _held: &Held<'_>) {
        // LINE-FLUSHED: release; the bytes were copied out before.
        self.flushed.store(flushed, Ordering::Release);
    }

    /// How often a flush was asked for.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Asks the row's log thread for a flush. A system call, but never a wait.
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.requests);
    }

    /// Sleeps until more than `seen` requests were made, or `patience` is over.
    pub(super) fn wait_for_request(&self, seen: u32, patience: Duration) {
        futex::wait_while(&self.requests, seen, patience);
    }
}

/// Positions in the ring wrap at 2^32, which the ring's size divides.
#[allow(clippy::cast_possible_truncation, reason = "the remainder is what is meant")]
fn place(position: u64) -> u32 {
    position as u32
}
