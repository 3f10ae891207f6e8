//! A client's connection as its worker sees it: a socket, and a slot in shared memory whose rings all bytes go through.
//!
//! Bytes are received straight into the receive ring and sent straight from the transmit ring. The worker keeps its
//! own copy of the positions: it is their only writer, so it never has to read back what it wrote.

pub mod service;
pub mod slot;
pub mod slots;
#[cfg(test)]
mod test_support;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{Shutdown, shutdown};

use crate::base::limits::RECEIVE_BYTES;
use crate::ipc::net;
pub use service::{PerService, ServiceId};
use slot::{ConnectionSlot, Framing, Progress};
pub use slots::{RingBytes, Rings, SlotMemory, SlotShape, Slots};

/// What came of asking the socket for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many, and there may be more.
    Bytes(usize),
    /// This many or none, and there are no more now.
    Drained(usize),
    /// The client has sent its last byte.
    End,
    /// The connection is broken.
    Broken,
}

/// What came of offering the socket bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All that was queued, this many.
    All(usize),
    /// This many; the socket takes no more now.
    Part(usize),
    /// The connection is broken.
    Broken,
}

/// A connection that this process serves.
pub struct Connection<'a> {
    socket: OwnedFd,
    slot: &'a ConnectionSlot,
    rings: Rings<'a>,
    index: u32,
    received: u32,
    sent: u32,
    progress: Progress,
}

impl<'a> Connection<'a> {
    /// Serves `socket` (non-blocking) through a slot that belongs to the caller.
    #[must_use]
    pub fn new(socket: OwnedFd, memory: SlotMemory<'a>) -> Self {
        let SlotMemory { index, slot, rings } = memory;
        let (received, sent) = slot.moved();
        Connection { socket, slot, rings, index, received, sent, progress: slot.progress() }
    }

    /// Goes on with a connection that another process served, at the very byte where that stopped: it may have died between
    /// moving bytes and writing that down, but the kernel has counted them.
    ///
    /// # Errors
    /// The connection is broken; or `InvalidData` when the counts cannot be those of this slot. The socket comes back, to
    /// be closed.
    pub fn resume(socket: OwnedFd, memory: SlotMemory<'a>) -> Result<Self, (Self, io::Error)> {
        let SlotMemory { index, slot, rings } = memory;
        let mut connection = Connection::new(socket, memory);
        let moved = match net::moved(connection.socket.as_fd()) {
            Ok(moved) => moved,
            Err(error) => return Err((connection, error)),
        };
        #[allow(clippy::cast_possible_truncation, reason = "all positions are modulo 2^32")]
        let (received, sent) = (moved.consumed as u32, moved.handed_over as u32);
        let unwritten_in = received.wrapping_sub(connection.received) as usize;
        let unwritten_out = sent.wrapping_sub(connection.sent) as usize;
        if unwritten_in > rings.receive.size() - connection.unread() || unwritten_out > connection.unsent() {
            let text = format!("slot {index}: the kernel moved {moved:?}, the slot says {:?}", slot.moved());
            return Err((connection, io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        (connection.received, connection.sent) = (received, sent);
        slot.set_received(received);
        slot.set_sent(sent);
        Ok(connection)
    }

    /// Its slot.
    #[must_use]
    pub fn slot(&self) -> &'a ConnectionSlot {
        self.slot
    }

    /// Its slot's number.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Bytes that were received and not consumed.
    #[inline]
    #[must_use]
    pub fn unread(&self) -> usize {
        self.received.wrapping_sub(self.progress.consumed) as usize
    }

    /// Bytes that were queued and not sent.
    #[inline]
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.progress.queued.wrapping_sub(self.sent) as usize
    }

    /// Whether a reply of so many bytes fits behind what is queued.
    #[inline]
    #[must_use]
    pub fn has_room_for_reply(&self, bytes: usize) -> bool {
        self.unsent() + bytes <= self.rings.transmit.size()
    }

    /// Whether the receive ring has room.
    #[inline]
    #[must_use]
    pub fn has_room_for_bytes(&self) -> bool {
        self.unread() < self.rings.receive.size()
    }

    /// Receives what fits, in one call.
    #[inline]
    pub fn receive(&mut self) -> Received {
        let room = self.rings.receive.size() - self.unread();
        match self.rings.receive.receive(self.socket.as_fd(), self.received, room) {
            Ok(0) => Received::End,
            Ok(count) => {
                #[allow(clippy::cast_possible_truncation, reason = "at most the ring's size")]
                let moved = count as u32;
                self.received = self.received.wrapping_add(moved);
                self.slot.set_received(self.received);
                // epoll(7): on a stream socket a short read means that it was drained.
                if count < room { Received::Drained(count) } else { Received::Bytes(count) }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Received::Drained(0),
                io::ErrorKind::Interrupted => Received::Bytes(0),
                _ => Received::Broken,
            },
        }
    }

    /// Copies the unread bytes out to the beginning of `into`: all of them, where the ring is of [`RingBytes::STANDARD`]. They are
    /// checked and used there: shared memory is input.
    #[inline]
    pub fn copy_unread<'b>(&self, into: &'b mut [u8; RECEIVE_BYTES]) -> &'b [u8] {
        let unread = &mut into[..self.unread().min(RECEIVE_BYTES)];
        self.rings.receive.copy_out(self.progress.consumed, unread);
        unread
    }

    /// Copies unread bytes out to the beginning of `into`, without the first `from` of them, and at most as many as `into` has; how
    /// many. For rings that are too large to be copied whole in every turn.
    #[inline]
    pub fn copy_unread_at(&self, from: usize, into: &mut [u8]) -> usize {
        let count = self.unread().saturating_sub(from).min(into.len());
        #[allow(clippy::cast_possible_truncation, reason = "at most the ring's size, where anything is copied")]
        let position = self.progress.consumed.wrapping_add(from as u32);
        self.rings.receive.copy_out(position, &mut into[..count]);
        count
    }

    /// Puts `reply` behind what is queued, where it does not count yet, and gives the progress that makes it count, together
    /// with the consumption of `consumed` bytes of requests.
    #[inline]
    pub fn stage(&self, consumed: usize, reply: &[u8]) -> Progress {
        debug_assert!(self.unsent() + reply.len() <= self.rings.transmit.size() && consumed <= self.unread());
        self.rings.transmit.copy_in(self.progress.queued, reply);
        #[allow(clippy::cast_possible_truncation, reason = "both are at most a ring's size")]
        let (consumed, queued) = (consumed as u32, reply.len() as u32);
        Progress {
            consumed: self.progress.consumed.wrapping_add(consumed),
            queued: self.progress.queued.wrapping_add(queued),
        }
    }

    /// Takes over a progress that is in the slot already.
    #[inline]
    pub fn staged(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// Consumes `consumed` bytes of requests and queues `reply`, in one store.
    #[inline]
    pub fn advance(&mut self, consumed: usize, reply: &[u8]) {
        self.progress = self.stage(consumed, reply);
        // MOVE-PROGRESS: release.
        self.slot.progress_word().store(self.progress.to_word(), std::sync::atomic::Ordering::Release);
    }

    /// Consumes `consumed` bytes of requests of which the answer, `sent` bytes, was sent by the caller, past the ring.
    pub fn advance_past(&mut self, consumed: usize, sent: u64) {
        #[allow(clippy::cast_possible_truncation, reason = "all positions are modulo 2^32")]
        let (consumed, moved) = (consumed as u32, sent as u32);
        self.progress.consumed = self.progress.consumed.wrapping_add(consumed);
        self.progress.queued = self.progress.queued.wrapping_add(moved);
        // Progress first: a successor after a death in between finds that all that is queued has been sent. While an answer is
        // on its way, more was sent than is queued, and nobody can go on.
        // MOVE-PROGRESS: release.
        self.slot.progress_word().store(self.progress.to_word(), std::sync::atomic::Ordering::Release);
        self.sent = self.sent.wrapping_add(moved);
        self.slot.set_sent(self.sent);
    }

    /// Drops every unread byte.
    pub fn discard_unread(&mut self) {
        self.advance(self.unread(), &[]);
    }

    /// Keeps the state of framing that holds once the next `consumed` bytes are consumed; [`Connection::advance`] follows.
    pub fn keep_framing(&self, consumed: usize, framing: Framing) {
        #[allow(clippy::cast_possible_truncation, reason = "at most the ring's size")]
        let from = self.progress.consumed.wrapping_add(consumed as u32);
        self.slot.set_framing(from, framing);
    }

    /// Where the queued bytes end, modulo 2^32.
    #[inline]
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.progress.queued
    }

    /// Up to where bytes were sent, modulo 2^32.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Sends what is queued before position `end`, as far as the socket takes it.
    #[inline]
    pub fn send(&mut self, end: u32) -> Sent {
        let mut total = 0;
        loop {
            let ready = end.wrapping_sub(self.sent) as usize;
            debug_assert!(ready <= self.unsent());
            if ready == 0 {
                break;
            }
            match self.rings.transmit.send(self.socket.as_fd(), self.sent, ready) {
                Ok(count) => {
                    crate::base::crash_point::crash_point(crate::base::crash_point::CrashPoint::ReplySent);
                    total += count;
                    #[allow(clippy::cast_possible_truncation, reason = "at most the ring's size")]
                    let moved = count as u32;
                    self.sent = self.sent.wrapping_add(moved);
                    self.slot.set_sent(self.sent);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Sent::Part(total),
                    io::ErrorKind::Interrupted => {}
                    _ => return Sent::Broken,
                },
            }
        }
        Sent::All(total)
    }

    /// Tells the client that nothing more comes. Needed although the socket is closed afterwards: as long as the master has
    /// its duplicate, closing sends nothing.
    pub fn finish_sending(&self) {
        // ENOTCONN: the client is gone already.
        let _ = shutdown_socket(self.socket.as_fd(), Shutdown::Write);
    }

    /// Ends the connection in both directions, also for those who have a duplicate of the socket.
    pub fn shut_down(&self) {
        let _ = shutdown_socket(self.socket.as_fd(), Shutdown::Both);
    }
}

fn shutdown_socket(socket: BorrowedFd<'_>, how: Shutdown) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    shutdown(socket.as_raw_fd(), how)
}

impl AsFd for Connection<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
