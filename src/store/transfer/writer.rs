//! The cache process's side of a transfer.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::region::Region;
use crate::store::transfer::handover::{Filling, Room};
use crate::store::transfer::header::{LetGo, SegmentId, TransferHeader};
use crate::store::transfer::pool::Pool;
use crate::store::transfer::shape::CHUNKS;
use crate::store::transfer::tickets::{Wake, pass_on};

/// The worker does not want the contents any more: its client has gone, or it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has given the transfer up")]
pub struct Gone;

/// One transfer, as the cache process sees it. Dropped before its end, it fails with the status 0.
pub struct Writer<'a> {
    pool: &'a Pool,
    wake: &'a dyn Wake,
    id: SegmentId,
    header: &'a TransferHeader,
    chunks: [Region<'a>; CHUNKS],
    filling: Filling<'a>,
    /// Bytes that were announced and are not written; `None` before.
    missing: Option<u64>,
    has_failed: bool,
}

impl<'a> Writer<'a> {
    /// Picks up the segment that a request names; `None` where that request is over: its worker has given it up, perhaps for a new one,
    /// or it was picked up already.
    #[must_use]
    pub fn pick_up(pool: &'a Pool, id: SegmentId, pid: u32, wake: &'a dyn Wake) -> Option<Self> {
        let (header, chunks) = pool.parts(id)?;
        let filling = Filling::pick_up(header, id.generation, pid)?;
        Some(Writer { pool, wake, id, header, chunks, filling, missing: None, has_failed: false })
    }

    /// The number of the worker.
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.header.claim().owner
    }

    /// Says how many bytes the contents have; `detail` goes with it. Once, and before the first of them.
    pub fn begin(&mut self, total: u64, detail: u32) {
        debug_assert!(self.missing.is_none(), "it has begun already");
        self.missing = Some(total);
        self.filling.announce(total, detail, self.wake);
    }

    /// Writes as much of `bytes` as there are empty chunks for, and not more than is missing; how much that was. When it was not all, the
    /// cache process is woken when there is room. Never waits.
    ///
    /// # Errors
    /// [`Gone`]: end the transfer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        let mut written = 0;
        loop {
            let missing = usize::try_from(self.missing.unwrap_or(0)).unwrap_or(usize::MAX);
            let rest = &bytes[written..];
            let rest = &rest[..rest.len().min(missing)];
            // A worker that has all it wants may have gone.
            if rest.is_empty() {
                return Ok(written);
            }
            let index = match self.filling.room() {
                Room::Gone => return Err(Gone),
                Room::None => return Ok(written),
                Room::Chunk(index) => index,
            };
            let length = rest.len().min(self.chunks[index].len());
            self.chunks[index].copy_in(&rest[..length]);
            let in_word = u32::try_from(length).unwrap_or(u32::MAX);
            self.filling.hand_over(in_word, self.wake);
            written += length;
            self.missing = self.missing.map(|missing| missing - u64::from(in_word));
        }
    }

    /// Whether the worker still wants the contents.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.header.is_wanted(self.id.generation)
    }

    /// Which use of which segment it is.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Bytes that are still to be written; `None` before [`Writer::begin`].
    #[must_use]
    pub fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// Ends the transfer with a status instead of contents, or instead of the rest of them.
    pub fn fail(mut self, status: u32) {
        self.fail_with(status);
    }

    /// Ends the transfer, all of whose bytes are written.
    pub fn finish(self) {
        debug_assert_eq!(self.missing, Some(0), "bytes are missing");
    }

    /// Ends the transfer by saying how many bytes the contents have, and that they come by another way: instead of [`Writer::begin`].
    pub fn finish_elsewhere(mut self, total: u64, detail: u32) {
        debug_assert!(self.missing.is_none(), "it has begun already");
        self.missing = Some(0);
        self.filling.announce_elsewhere(total, detail, self.wake);
    }

    fn fail_with(&mut self, status: u32) {
        self.has_failed = true;
        self.filling.fail(status, self.wake);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.missing != Some(0) && !self.has_failed {
            self.fail_with(0);
        }
        let let_go = self.header.end_writing(self.id.generation);
        crash_point(CrashPoint::TransferWritten);
        if let_go == LetGo::Freed {
            pass_on(self.pool, self.wake);
        }
    }
}
