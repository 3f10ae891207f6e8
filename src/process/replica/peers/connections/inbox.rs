//! The frame that is coming: bytes in, checked frames out.

use crate::process::replica::peers::wire::{Frame, FrameKind, HEADER_BYTES, Header, WireError};

/// Bytes of a buffer that is kept for the next frame. Few frames have more, since few entries do.
pub(super) const KEPT_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// What has been read of a connection and not been taken. It holds one frame at most, and what one read has brought behind it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How many of them have been taken.
    taken: usize,
    /// The header of the next frame, once it has come.
    header: Option<Header>,
}

/// A frame, and how it was spelled.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) frame: Frame,
    pub(super) bytes: &'a [u8],
}

impl Inbox {
    /// Adds what has been read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            if self.bytes.capacity() > KEPT_BUFFER_BYTES {
                self.bytes.shrink_to(KEPT_BUFFER_BYTES);
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has come. A header of a kind that is not `expected` is an error as soon as it is there, so that nothing
    /// is held for it.
    ///
    /// # Errors
    /// What comes is no frame.
    pub(super) fn next(&mut self, expected: impl Fn(FrameKind) -> bool) -> Result<Option<Received<'_>>, WireError> {
        let coming = &self.bytes[self.taken..];
        let header = match self.header {
            Some(header) => header,
            None => match coming.first_chunk::<HEADER_BYTES>() {
                None => return Ok(None),
                Some(bytes) => *self.header.insert(Header::decode(bytes)?),
            },
        };
        if !expected(header.kind) {
            return Err(WireError::Unexpected(header.kind));
        }
        let Some(bytes) = coming.get(..header.frame_bytes()) else { return Ok(None) };
        let frame = Frame::decode(&header, bytes)?;
        self.header = None;
        self.taken += bytes.len();
        Ok(Some(Received { frame, bytes }))
    }

    /// Whether a frame has begun and has not been taken.
    pub(super) fn has_begun(&self) -> bool {
        self.taken < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::replica::peers::wire::samples;

    #[test]
    fn frames_come_out_whole_however_they_came_in() {
        let frames = samples::frames();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().unwrap()).collect();
        for piece in [1, 7, 24, 100, stream.len()] {
            let mut inbox = Inbox::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                inbox.push(bytes);
                while let Some(received) = inbox.next(|_| true).unwrap() {
                    assert_eq!(received.frame.encode().unwrap(), received.bytes);
                    found.push(received.frame);
                }
            }
            assert_eq!(found, frames, "in pieces of {piece}");
            assert!(!inbox.has_begun());
        }
    }

    #[test]
    fn what_is_not_expected_is_refused_before_it_is_held() {
        let message = samples::append(3);
        let mut inbox = Inbox::default();
        inbox.push(&message.encode().unwrap()[..HEADER_BYTES]);
        let refused = inbox.next(|kind| kind == FrameKind::Greeting);
        assert_eq!(refused.unwrap_err(), WireError::Unexpected(FrameKind::Message));
        let mut inbox = Inbox::default();
        inbox.push(&[b'G'; HEADER_BYTES - 1]);
        assert!(inbox.next(|_| true).unwrap().is_none() && inbox.has_begun());
        inbox.push(b"E");
        assert_eq!(inbox.next(|_| true).unwrap_err(), WireError::Magic);
    }
}
