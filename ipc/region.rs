//! A run of bytes in shared memory whose length is known only at run time: copied from and to, sent to sockets, and looked at as a
//! structure where it is one.

use std::cell::UnsafeCell;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::ipc::layout::Shared;

/// One byte that other processes may write at any time.
#[repr(transparent)]
pub struct SharedByte(UnsafeCell<u8>);

// SAFETY: any byte is valid, and is inside the cell.
unsafe impl Shared for SharedByte {}
// SAFETY: bytes are only copied, through raw pointers, never borrowed: a racing writer can at worst make a copy that mixes old and new
// bytes, which the reader checks like any input. That only one side is at a run of bytes at a time is the protocol of those who share it.
unsafe impl Sync for SharedByte {}

#[cfg(test)]
impl SharedByte {
    /// One of private memory.
    pub(super) const fn new(byte: u8) -> Self {
        SharedByte(UnsafeCell::new(byte))
    }
}

/// Bytes of shared memory, one after the other.
#[derive(Clone, Copy)]
pub struct Region<'a>(&'a [SharedByte]);

impl<'a> Region<'a> {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &'a [SharedByte]) -> Self {
        Region(bytes)
    }

    /// How many they are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is as long as it is made")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A part of them.
    #[must_use]
    #[inline]
    pub fn part(&self, range: Range<usize>) -> Self {
        Region(&self.0[range])
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.0.as_ptr().cast::<UnsafeCell<u8>>())
    }

    /// Copies `from` to the beginning.
    #[inline]
    pub fn copy_in(&self, from: &[u8]) {
        let part = self.part(0..from.len());
        // SAFETY: `part` has as many bytes, or the line above has panicked; nobody borrows shared bytes, so they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), part.start(), from.len()) };
    }

    /// Copies as many bytes as `into` has from the beginning.
    #[inline]
    pub fn copy_out(&self, into: &mut [u8]) {
        let part = self.part(0..into.len());
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(part.start(), into.as_mut_ptr(), into.len()) };
    }

    /// Sends them; one `send(2)` call, never waiting, and no SIGPIPE. With `more`, the kernel waits for what follows before it sends a
    /// packet that is not full.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now, else what it gives.
    pub fn send(&self, socket: BorrowedFd<'_>, more: bool) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        // SAFETY: so many bytes of a mapping that outlives the borrow; the kernel only reads them.
        let sent = unsafe { libc::send(socket.as_raw_fd(), self.start().cast(), self.len(), flags) };
        usize::try_from(sent).map_err(|_| io::Error::from(Errno::last()))
    }

    /// Sends `head`, and then them; one `sendmsg(2)` call, as [`Region::send`] does. How many bytes of both.
    ///
    /// # Errors
    /// As of [`Region::send`].
    pub fn send_behind(&self, head: &[u8], socket: BorrowedFd<'_>, more: bool) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        let mut parts = [
            libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
            libc::iovec { iov_base: self.start().cast(), iov_len: self.len() },
        ];
        // SAFETY: a structure of numbers and pointers, of which zero is one, and is none.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len());
        // SAFETY: two parts, of memory that outlives the call; the kernel only reads it.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
        usize::try_from(sent).map_err(|_| io::Error::from(Errno::last()))
    }

    /// What stands at the beginning, as a structure.
    ///
    /// # Panics
    /// The bytes are too few, or are not aligned as it must be.
    #[must_use]
    #[inline]
    pub fn view<T: Shared>(&self) -> &'a T {
        let start = self.part(0..size_of::<T>()).start().cast::<T>();
        assert!(start.is_aligned(), "what is looked at is not aligned");
        // SAFETY: so many bytes, aligned, of a mapping that outlives 'a; T is Shared, so any bytes are one, and all of them are inside of
        // cells, as they are here.
        unsafe { &*start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn bytes(count: usize) -> Vec<SharedByte> {
        (0..count).map(|i| SharedByte::new(u8::try_from(i).unwrap())).collect()
    }

    #[test]
    fn parts_are_copied_sent_and_looked_at() {
        let bytes = bytes(64);
        let region = Region::new(&bytes);
        let mut read = [0; 3];
        region.part(10..20).copy_out(&mut read);
        assert_eq!(read, [10, 11, 12]);
        region.part(11..12).copy_in(b"x");
        let (near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(region.part(10..13).send(near.as_fd(), false).unwrap(), 3);
        far.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"\x0ax\x0c");
        assert_eq!(region.part(11..13).send_behind(b"y", near.as_fd(), true).unwrap(), 3);
        far.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"yx\x0c");
        let aligned = region.0.as_ptr().align_offset(align_of::<AtomicU64>());
        let word = region.part(aligned..64).view::<AtomicU64>();
        word.store(u64::from_le_bytes(*b"a word, "), Ordering::Relaxed);
        region.part(aligned + 2..aligned + 5).copy_out(&mut read);
        assert_eq!(&read, b"wor");
    }

    #[test]
    #[should_panic(expected = "range end index 9 out of range")]
    fn what_is_longer_is_not_copied() {
        let bytes = bytes(8);
        Region::new(&bytes).copy_in(&[0; 9]);
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn what_is_not_aligned_is_not_looked_at() {
        let bytes = bytes(32);
        let region = Region::new(&bytes);
        let odd = region.0.as_ptr().align_offset(8) + 1;
        let _: &AtomicU64 = region.part(odd..32).view();
    }
}
