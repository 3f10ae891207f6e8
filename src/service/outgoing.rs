//! Bytes on their way to a client: text from memory, then a part of a file, in calls that wait neither for the client nor for a disk.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use crate::ipc::{files, net};

/// How much of a file is asked after at once whether it is in memory, and is read if it is not.
const WINDOW: u64 = 1 << 20;

/// What a file holds.
pub enum Content {
    /// All of it.
    Bytes(Box<[u8]>),
    /// It is sent from the open file.
    Open(File),
}

/// What is to be sent, and how much of it was.
pub struct Outgoing {
    text: Vec<u8>,
    text_sent: usize,
    /// Which bytes of the content come behind the text.
    range: Range<u64>,
    sent: u64,
    /// Up to where the file was in the kernel's memory when it was last asked.
    in_memory_to: Cell<u64>,
    /// See [`Outgoing::before_end`].
    is_before_end: bool,
}

/// What came of sending some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes.
    Bytes(u64),
    /// The socket takes no more now.
    Full,
    /// This part of the file is to be read first: see [`Content::fetch`].
    Fetch(Range<u64>),
    /// The connection is broken, or the file shorter than was said.
    Broken,
}

impl Content {
    /// Reads a part once, so that it is in the kernel's memory for a moment at least; may wait for a disk.
    pub fn fetch(&self, range: Range<u64>) {
        let Content::Open(file) = self else { return };
        let mut scratch = [0; 16 << 10];
        let mut at = range.start;
        while at < range.end {
            match file.read_at(&mut scratch, at) {
                Ok(read @ 1..) => at += read as u64,
                // The sender meets the same end or error.
                Ok(0) | Err(_) => return,
            }
        }
    }
}

impl Outgoing {
    /// `text`, then `range` of the content.
    #[must_use]
    pub fn new(text: Vec<u8>, range: Range<u64>) -> Self {
        Outgoing { text, text_sent: 0, range, sent: 0, in_memory_to: Cell::new(0), is_before_end: false }
    }

    /// The end of the stream is sent right behind it: what does not fill a segment waits for that, and both go out together. Who cannot
    /// end the stream at once calls [`net::push`].
    #[must_use]
    pub fn before_end(self) -> Self {
        Outgoing { is_before_end: true, ..self }
    }

    /// Puts text behind what was sent.
    pub fn follow_with_text(&mut self, text: Vec<u8>) {
        (self.text, self.text_sent) = (text, 0);
    }

    /// Puts a part of the content behind what was sent.
    pub fn follow_with_range(&mut self, range: Range<u64>) {
        self.range = range;
        self.in_memory_to.set(0);
    }

    /// Whether all is sent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.text_sent == self.text.len() && self.range.is_empty()
    }

    /// Bytes that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The text that was given last, for another use of its memory.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The text that was given last.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Notes that a part of the file was read that [`Moved::Fetch`] asked for; it is sent now, even if that waits for the disk.
    pub fn fetched(&self, part: &Range<u64>) {
        self.in_memory_to.set(part.end);
    }

    /// Sends once, at most `budget` bytes of the content.
    pub fn send(&mut self, socket: BorrowedFd<'_>, content: Option<&Content>, budget: u64) -> Moved {
        let text = &self.text[self.text_sent..];
        let range = self.range.start..self.range.end.min(self.range.start + budget);
        let is_last = self.is_before_end && range.end == self.range.end;
        let send_parts = if is_last { files::send_parts_more } else { files::send_parts };
        let moved = match content {
            Some(Content::Open(_)) if !range.is_empty() && !text.is_empty() => {
                files::send_parts_more(socket, &[IoSlice::new(text)])
            }
            Some(Content::Open(file)) if !range.is_empty() => match self.in_memory(file, range) {
                Ok(Range { start, end }) => {
                    if self.is_before_end && end == self.range.end {
                        net::hold_back(socket);
                    }
                    files::send_file(socket, file, start, usize::try_from(end - start).unwrap_or(usize::MAX))
                }
                Err(part) => return Moved::Fetch(part),
            },
            Some(Content::Bytes(bytes)) => {
                let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let body = part.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
                send_parts(socket, &[IoSlice::new(text), IoSlice::new(body)])
            }
            _ => send_parts(socket, &[IoSlice::new(text)]),
        };
        match moved {
            Ok(0) => Moved::Broken,
            Ok(count) => {
                self.advance(count as u64);
                Moved::Bytes(count as u64)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Moved::Full,
            Err(_) => Moved::Broken,
        }
    }

    fn advance(&mut self, count: u64) {
        self.sent += count;
        let of_text = usize::try_from(count).unwrap_or(usize::MAX).min(self.text.len() - self.text_sent);
        self.text_sent += of_text;
        self.range.start += count - of_text as u64;
    }

    /// As much of `range` as can be sent without waiting for the disk; or what is to be read first.
    fn in_memory(&self, file: &File, range: Range<u64>) -> Result<Range<u64>, Range<u64>> {
        if range.start >= self.in_memory_to.get() {
            let window = range.start..self.range.end.min(range.start + WINDOW);
            if !files::is_in_memory(file, window.start) || !files::is_in_memory(file, window.end - 1) {
                return Err(window);
            }
            self.in_memory_to.set(window.end);
        }
        Ok(range.start..range.end.min(self.in_memory_to.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn receive(far: &mut UnixStream, count: usize) -> Vec<u8> {
        let mut got = vec![0; count];
        far.read_exact(&mut got).unwrap();
        got
    }

    #[test]
    fn text_and_content_go_out_one_behind_the_other() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        for content in [Content::Bytes(b"0123456789"[..].into()), Content::Open(File::open(&path).unwrap())] {
            let (near, mut far) = UnixStream::pair().unwrap();
            let mut outgoing = Outgoing::new(b"head ".to_vec(), 2..8);
            while !outgoing.is_over() {
                assert!(matches!(outgoing.send(near.as_fd(), Some(&content), 4), Moved::Bytes(_)));
            }
            outgoing.follow_with_text(b" mid ".to_vec());
            outgoing.follow_with_range(0..1);
            while !outgoing.is_over() {
                assert!(matches!(outgoing.send(near.as_fd(), Some(&content), 4), Moved::Bytes(_)));
            }
            assert_eq!((receive(&mut far, 17), outgoing.sent()), (b"head 234567 mid 0".to_vec(), 17));
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_breaks_the_connection() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "01234").unwrap();
        let content = Content::Open(File::open(&path).unwrap());
        let (near, _far) = UnixStream::pair().unwrap();
        let mut outgoing = Outgoing::new(Vec::new(), 0..10);
        outgoing.fetched(&(0..10));
        assert_eq!(outgoing.send(near.as_fd(), Some(&content), 100), Moved::Bytes(5));
        assert_eq!(outgoing.send(near.as_fd(), Some(&content), 100), Moved::Broken);
        assert!(!outgoing.is_over());
    }

    #[test]
    fn a_full_socket_is_told_from_a_broken_one() {
        let content = Content::Bytes(vec![7; 4 << 20].into());
        let (near, far) = UnixStream::pair().unwrap();
        let mut outgoing = Outgoing::new(Vec::new(), 0..4 << 20);
        while let Moved::Bytes(_) = outgoing.send(near.as_fd(), Some(&content), 1 << 20) {}
        assert_eq!(outgoing.send(near.as_fd(), Some(&content), 1 << 20), Moved::Full);
        drop(far);
        assert_eq!(outgoing.send(near.as_fd(), Some(&content), 1 << 20), Moved::Broken);
    }
}
