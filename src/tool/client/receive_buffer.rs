//! The bytes that came from the server, and the replies in them.

use std::io::{self, Read};
use std::ops::Range;

use crate::base::limits::MAX_FRAME_BYTES;
use crate::base::vocab::Lsn;
use crate::service::bank::wire::{Decoder, Flags, Frame, Header, Response, Step, XorKey};
use crate::tool::client::error::ProtocolError;

/// Bytes between one connection's socket and what decodes them.
#[derive(Debug)]
pub struct RawBuffer {
    bytes: Box<[u8]>,
    /// What was read but not yet decoded is `bytes[start..end]`.
    start: usize,
    end: usize,
}

impl RawBuffer {
    /// An empty one of so many bytes.
    pub fn new(size: usize) -> RawBuffer {
        RawBuffer { bytes: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// What was read but not yet taken.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes the first `count` bytes of that.
    #[inline]
    pub fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Reads once. Returns the bytes read (0: the server closed) and whether they filled all the room there was, so
    /// that more may be waiting. An interrupted read is repeated.
    #[inline]
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<(usize, bool)> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            // Only the beginning of one reply is left here: callers take all whole ones before they read again.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            let room = &mut self.bytes[self.end..];
            let size = room.len();
            match source.read(room) {
                Ok(count) => {
                    self.end += count;
                    return Ok((count, count == size));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A buffer between one connection's socket and its decoder; replies are decoded in place.
#[derive(Debug)]
pub struct ReceiveBuffer {
    raw: RawBuffer,
    decoder: Decoder,
    /// The key of bodies whose flag says that they are XORed; known after the login.
    pub xor: Option<XorKey>,
    /// The highest LSN that a reply has carried; a new connection does not forget it.
    pub seen: Lsn,
}

impl ReceiveBuffer {
    /// A buffer with room for this many ordinary replies, and at least for the longest legal frame.
    pub fn for_replies(replies: usize) -> ReceiveBuffer {
        // The most common replies are 28 to 36 bytes long.
        let size = replies.saturating_mul(40).clamp(MAX_FRAME_BYTES, 1 << 18);
        ReceiveBuffer { raw: RawBuffer::new(size), decoder: Decoder::default(), xor: None, seen: Lsn(0) }
    }

    /// Forgets everything, for a new connection or its login.
    pub fn reset(&mut self, xor: Option<XorKey>) {
        self.raw.clear();
        self.decoder = Decoder::default();
        self.xor = xor;
    }

    /// Where the bytes are that were read.
    #[inline]
    pub fn raw(&mut self) -> &mut RawBuffer {
        &mut self.raw
    }

    /// The next whole reply of a bounded length, if there is one. After an error nothing more can be trusted.
    #[inline]
    pub fn next_reply(&mut self) -> Result<Option<(Header, Response)>, ProtocolError> {
        let Some((header, body)) = self.next_frame()? else { return Ok(None) };
        Ok(Some((header, Response::decode(&header, &self.raw.bytes[body])?)))
    }

    /// The next whole frame, if there is one, and where its decrypted body is, for [`ReceiveBuffer::body`].
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<(Header, Range<usize>)>, ProtocolError> {
        let (used, step) = self.decoder.step(&self.raw.bytes[self.raw.start..self.raw.end]);
        self.raw.start += used;
        match step {
            Step::NeedMore => Ok(None),
            Step::Frame(frame) => {
                let Frame { header, mut body, .. } = frame;
                if header.flags.contains(Flags::LSN) {
                    let lsn;
                    (lsn, body) = frame.reply();
                    self.seen = self.seen.max(lsn.unwrap_or_default());
                }
                // The step used the frame up to its end, and the body is the frame's last part.
                let body = self.raw.start - body.len()..self.raw.start;
                if header.flags.contains(Flags::XOR) {
                    self.xor.ok_or(ProtocolError::XorBeforeLogin)?.apply(&mut self.raw.bytes[body.clone()]);
                }
                Ok(Some((header, body)))
            }
            Step::Reject { status, .. } | Step::Fatal { status, .. } => Err(ProtocolError::Framing(status)),
        }
    }

    /// The bytes of a body that [`ReceiveBuffer::next_frame`] found; valid until the next read.
    pub fn body(&self, range: Range<usize>) -> &[u8] {
        &self.raw.bytes[range]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Cents;

    #[test]
    fn replies_are_found_whatever_the_pieces() {
        let xor = XorKey::from_bits(0xDEAD_BEEF);
        let mut stream = Vec::new();
        for seq in 0..500u32 {
            let key = seq.is_multiple_of(3).then_some(xor);
            Response::Balance { balance: Cents(i64::from(seq)) }.encode(seq, key, &mut stream);
        }
        for size in [1, 7, 28, 29, 4095, 5000] {
            let mut buffer = ReceiveBuffer::for_replies(1);
            buffer.reset(Some(xor));
            let mut seen = 0;
            for mut piece in stream.chunks(size) {
                while !piece.is_empty() {
                    buffer.raw().read_from(&mut piece).unwrap();
                    while let Some((header, response)) = buffer.next_reply().unwrap() {
                        assert_eq!(header.seq, seen);
                        assert_eq!(response, Response::Balance { balance: Cents(i64::from(seen)) });
                        seen += 1;
                    }
                }
            }
            assert_eq!(seen, 500);
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let mut buffer = ReceiveBuffer::for_replies(1);
        buffer.raw().read_from(&mut [0x55; 40].as_slice()).unwrap();
        assert!(matches!(buffer.next_reply(), Err(ProtocolError::Framing(_))));
        buffer.reset(None);
        let mut stream = Vec::new();
        Response::Ping { server_time_ms: 1 }.encode(1, Some(XorKey::from_bits(1)), &mut stream);
        buffer.raw().read_from(&mut stream.as_slice()).unwrap();
        assert_eq!(buffer.next_reply(), Err(ProtocolError::XorBeforeLogin));
    }
}
