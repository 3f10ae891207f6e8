//! A ring of bytes in shared memory, read from and written to sockets without a copy in between.
//!
//! Positions are counters that only grow and wrap at 2^32; a position's place is its remainder by the ring's size. The
//! ring knows no positions itself: those who own it keep them, so that "consumed this, produced that" can be one store
//! of theirs. One process owns a connection's rings at a time, so nobody writes what another copies; should it happen all the
//! same, the copy mixes old and new bytes, which its reader checks like any input.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::ipc::layout::Shared;
use crate::ipc::region::SharedByte;

/// A ring over bytes of shared memory, as many as a power of two.
#[derive(Clone, Copy)]
pub struct ByteRing<'a>(&'a [SharedByte]);

impl<'a> ByteRing<'a> {
    /// The most bytes that a ring may have: a difference of positions must tell how many bytes are between them.
    pub const MAX_BYTES: usize = 1 << 31;

    /// A ring of these bytes.
    ///
    /// # Panics
    /// They are not as many as a power of two, or more than [`ByteRing::MAX_BYTES`].
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [SharedByte]) -> Self {
        assert!(bytes.len().is_power_of_two() && bytes.len() <= Self::MAX_BYTES, "no size of a ring");
        ByteRing(bytes)
    }

    /// How many bytes it has.
    #[must_use]
    #[inline]
    pub const fn size(self) -> usize {
        self.0.len()
    }

    /// Where its first byte is in this process.
    #[cfg(test)]
    pub(crate) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The parts of the ring that the `length` bytes from `position` on stand in: as (offset, length), the second one
    /// empty unless they run over the end.
    #[inline]
    fn parts(self, position: u32, length: usize) -> [(usize, usize); 2] {
        let size = self.size();
        assert!(length <= size, "a span longer than the ring");
        let start = position as usize & (size - 1);
        let first = length.min(size - start);
        [(start, first), (0, length - first)]
    }

    #[inline]
    fn at(self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.size());
        UnsafeCell::raw_get(self.0.as_ptr().cast::<UnsafeCell<u8>>()).wrapping_add(offset)
    }

    /// Copies `from` into the ring at `position`.
    #[inline]
    pub fn copy_in(self, position: u32, from: &[u8]) {
        let [(start, first), (_, second)] = self.parts(position, from.len());
        // SAFETY: `parts` keeps start + first within the ring; source and ring cannot overlap, since nobody borrows the ring.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.at(start), first) };
        if second > 0 {
            let rest = &from[first..];
            // SAFETY: `parts` keeps the second part, at the ring's beginning, within the ring.
            unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), self.at(0), second) };
        }
    }

    /// Copies the `into.len()` bytes at `position` out of the ring.
    #[inline]
    pub fn copy_out(self, position: u32, into: &mut [u8]) {
        let [(start, first), (_, second)] = self.parts(position, into.len());
        // SAFETY: `parts` keeps start + first within the ring; destination and ring cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.at(start), into.as_mut_ptr(), first) };
        if second > 0 {
            let rest = &mut into[first..];
            // SAFETY: as above, for the part at the ring's beginning.
            unsafe { std::ptr::copy_nonoverlapping(self.at(0), rest.as_mut_ptr(), second) };
        }
    }

    /// Receives what the socket has, up to `room` bytes, straight into the ring at `position`; one call, never waiting. Zero
    /// is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, else what the socket gives.
    #[inline]
    pub fn receive(self, socket: BorrowedFd<'_>, position: u32, room: usize) -> io::Result<usize> {
        let [(start, first), (_, second)] = self.parts(position, room);
        if second == 0 {
            // SAFETY: `first` bytes from `start` lie in the ring, which is never unmapped.
            let got = unsafe { libc::recv(socket.as_raw_fd(), self.at(start).cast(), first, libc::MSG_DONTWAIT) };
            return transferred(got);
        }
        let mut parts = self.io_vectors(start, first, second);
        let mut message = message_of(&mut parts);
        // SAFETY: a message of two valid parts that outlive the call.
        transferred(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })
    }

    /// Sends the `length` bytes at `position` straight from the ring; one `sendmsg(2)` call, never waiting, and no SIGPIPE.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, else what it gives.
    #[inline]
    pub fn send(self, socket: BorrowedFd<'_>, position: u32, length: usize) -> io::Result<usize> {
        let [(start, first), (_, second)] = self.parts(position, length);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        if second == 0 {
            // SAFETY: `first` bytes from `start` lie in the ring, which is never unmapped.
            return transferred(unsafe { libc::send(socket.as_raw_fd(), self.at(start).cast(), first, flags) });
        }
        let mut parts = self.io_vectors(start, first, second);
        let message = message_of(&mut parts);
        // SAFETY: a message of two valid parts that outlive the call.
        transferred(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) })
    }

    fn io_vectors(self, start: usize, first: usize, second: usize) -> [libc::iovec; 2] {
        [
            libc::iovec { iov_base: self.at(start).cast(), iov_len: first },
            libc::iovec { iov_base: self.at(0).cast(), iov_len: second },
        ]
    }
}

/// `N` bytes of a structure in shared memory, `N` a power of two: a ring, or a text.
#[repr(transparent)]
pub struct SharedBytes<const N: usize>([SharedByte; N]);

// SAFETY: an array of what is Shared, and nothing else.
unsafe impl<const N: usize> Shared for SharedBytes<N> {}

impl<const N: usize> SharedBytes<N> {
    const IS_A_RING: () = assert!(N.is_power_of_two() && N <= ByteRing::MAX_BYTES);

    /// They as a ring.
    #[must_use]
    #[inline]
    pub fn ring(&self) -> ByteRing<'_> {
        let () = Self::IS_A_RING;
        ByteRing::new(&self.0)
    }

    /// Copies `from` into the ring at `position`.
    #[inline]
    pub fn copy_in(&self, position: u32, from: &[u8]) {
        self.ring().copy_in(position, from);
    }

    /// Copies the `into.len()` bytes at `position` out of the ring.
    #[inline]
    pub fn copy_out(&self, position: u32, into: &mut [u8]) {
        self.ring().copy_out(position, into);
    }

    /// Keeps a text, with its length in the first byte; what does not fit is cut at a character's end.
    pub fn store_text(&self, text: &str) {
        let room = (N - 1).min(usize::from(u8::MAX));
        let end = (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.copy_in(1, &text.as_bytes()[..end]);
        self.copy_in(0, &[u8::try_from(end).unwrap_or(u8::MAX)]);
    }

    /// The text that [`SharedBytes::store_text`] kept.
    #[must_use]
    pub fn load_text(&self) -> String {
        let mut length = [0];
        self.copy_out(0, &mut length);
        let mut text = vec![0; usize::from(length[0]).min(N - 1)];
        self.copy_out(1, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn message_of(parts: &mut [libc::iovec; 2]) -> libc::msghdr {
    // SAFETY: msghdr is a C structure of pointers and numbers, for which zero means "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message
}

#[inline]
fn transferred(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from(Errno::last()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn ring() -> Box<SharedBytes<16>> {
        Box::new(SharedBytes(std::array::from_fn(|_| SharedByte::new(0))))
    }

    #[test]
    fn a_ring_is_of_any_power_of_two() {
        let bytes: Vec<_> = (0..1 << 17).map(|_| SharedByte::new(0)).collect();
        for size in [1, 64, 1 << 17] {
            let ring = ByteRing::new(&bytes[..size]);
            assert_eq!(ring.size(), size);
            for position in [0, 1, 100_000, u32::MAX - 5] {
                let data: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
                ring.copy_in(position, &data);
                let mut back = vec![0; size];
                ring.copy_out(position, &mut back);
                assert!(back == data, "{size} at {position}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no size of a ring")]
    fn no_other_number_of_bytes_is_a_ring() {
        let bytes: Vec<_> = (0..48).map(|_| SharedByte::new(0)).collect();
        let _ = ByteRing::new(&bytes);
    }

    #[test]
    #[should_panic(expected = "longer than the ring")]
    fn no_more_than_the_ring_is_copied() {
        ring().copy_in(3, &[0; 17]);
    }

    #[test]
    fn copies_run_over_the_end_at_every_position() {
        let ring = ring();
        for position in (0..40).chain(u32::MAX - 20..=u32::MAX) {
            for length in 0..=16 {
                let data: Vec<u8> = (0..length).map(|i| i + 1).collect();
                ring.copy_in(position, &data);
                let mut back = vec![0; data.len()];
                ring.copy_out(position, &mut back);
                assert_eq!(back, data, "at {position}");
            }
        }
    }

    #[test]
    fn a_text_is_kept_and_cut_between_characters() {
        let ring = ring();
        for (text, kept) in [("", ""), ("vault", "vault"), ("fourteen chars\u{e9}", "fourteen chars")] {
            ring.store_text(text);
            assert_eq!(ring.load_text(), kept);
        }
    }

    #[test]
    fn sockets_are_read_and_written_over_the_end() {
        let bytes = ring();
        let ring = bytes.ring();
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"0123456789").unwrap();
        assert_eq!(ring.receive(far.as_fd(), 12, 16).unwrap(), 10);
        assert_eq!(ring.receive(far.as_fd(), 22, 6).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ring.send(far.as_fd(), 12, 10).unwrap(), 10);
        let mut back = [0; 10];
        near.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"0123456789");
        drop(near);
        assert_eq!(ring.receive(far.as_fd(), 0, 16).unwrap(), 0, "the end of the stream");
        assert_eq!(ring.send(far.as_fd(), 12, 10).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
