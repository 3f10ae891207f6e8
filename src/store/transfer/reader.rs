//! A worker's side of a transfer.

use std::io;
use std::os::fd::BorrowedFd;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::region::Region;
use crate::store::transfer::handover::{Begun, Next, Taking};
use crate::store::transfer::header::{LetGo, SegmentId, State, TransferHeader};
use crate::store::transfer::pool::Pool;
use crate::store::transfer::shape::CHUNKS;
use crate::store::transfer::tickets::{Wake, pass_on};

/// One transfer, as its worker sees it. Dropped, it gives the segment back, whether the transfer is at its end or not.
pub struct Reader<'a> {
    pool: &'a Pool,
    wake: &'a dyn Wake,
    id: SegmentId,
    worker: u16,
    header: &'a TransferHeader,
    chunks: [Region<'a>; CHUNKS],
    taking: Taking<'a>,
    /// Bytes of the chunk that is held which were sent.
    sent: usize,
}

impl<'a> Reader<'a> {
    /// The transfer into a segment that worker `worker` has just claimed. `None` where it has not.
    #[must_use]
    pub fn new(pool: &'a Pool, id: SegmentId, worker: u16, wake: &'a dyn Wake) -> Option<Self> {
        let (header, chunks) = pool.parts(id)?;
        let claim = header.claim();
        if (claim.generation, claim.owner) != (id.generation, worker) || claim.state == State::Free {
            return None;
        }
        let taking = Taking::new(header, pool.shape().chunk_bytes());
        Some(Reader { pool, wake, id, worker, header, chunks, taking, sent: 0 })
    }

    /// Looks what there is. After [`Next::Pending`] the worker is woken when there is something; it never waits here.
    pub fn poll(&mut self) -> Next {
        self.taking.poll()
    }

    /// What is known of the contents; known when [`Reader::poll`] gives a chunk or the end.
    #[must_use]
    pub fn begun(&self) -> Option<Begun> {
        self.taking.begun()
    }

    /// Bytes that were sent, or copied.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.taking.bytes() + self.sent as u64
    }

    /// Whether the cache process has picked the segment up. If not, and it is another one than was asked, it is to be asked again.
    #[must_use]
    pub fn is_picked_up(&self) -> bool {
        self.header.claim().state != State::Offered
    }

    /// Which use of which segment it is.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// The part of the chunk that is held which was not sent yet.
    fn rest(&self) -> Option<Region<'a>> {
        let held = self.taking.held()?;
        Some(self.chunks[held.index].part(self.sent..held.length))
    }

    /// Whether `rest` ends with the last of all bytes.
    fn is_last(&self, rest: &Region<'_>) -> bool {
        self.begun().is_some_and(|begun| begun.total == self.bytes() + rest.len() as u64)
    }

    /// Sends from the chunk that is held, straight from the segment, what the socket takes in one call; a chunk that is sent is given
    /// back. Sends nothing where no chunk is held. The end of the contents waits for the end of the stream, which is to be sent right
    /// behind it, or for [`net::push`](crate::ipc::net::push).
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, else what it gives.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.send_behind(&[], socket)
    }

    /// Sends `head`, and from the chunk that is held as [`Reader::send`] does, in one call; how many bytes of both.
    ///
    /// # Errors
    /// As of [`Reader::send`].
    pub fn send_behind(&mut self, head: &[u8], socket: BorrowedFd<'_>) -> io::Result<usize> {
        let Some(rest) = self.rest() else { return Ok(0) };
        // What is there already goes out in full packets; what is yet to come does not hold it up.
        let more = self.header.full.value() > 0 || self.is_last(&rest);
        let sent = if head.is_empty() { rest.send(socket, more)? } else { rest.send_behind(head, socket, more)? };
        self.advance(sent.saturating_sub(head.len()));
        Ok(sent)
    }

    /// Copies from the chunk that is held, as [`Reader::send`] sends; how many bytes.
    pub fn copy_out(&mut self, into: &mut [u8]) -> usize {
        let Some(rest) = self.rest() else { return 0 };
        let length = rest.len().min(into.len());
        rest.copy_out(&mut into[..length]);
        self.advance(length);
        length
    }

    fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.taking.held().is_some_and(|held| held.length == self.sent) {
            self.sent = 0;
            self.taking.give_back(self.wake);
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let let_go = self.header.end_reading(self.id.generation, self.worker);
        crash_point(CrashPoint::TransferFreed);
        match let_go {
            LetGo::Freed => pass_on(self.pool, self.wake),
            // It may sleep for want of an empty chunk.
            LetGo::OtherSide => self.wake.cache(),
            LetGo::NotHeld => {}
        }
    }
}
