//! Framing: where a frame begins and ends in a stream of bytes, and how to find the next one after a bad one.
//!
//! A decision about a header is made only when all of its 18 bytes are there, and a decision about a skipped byte
//! depends on the bytes alone. So the steps are the same however the stream was split on its way.

use byteorder::{BigEndian, ByteOrder};

use super::frame::{
    AT_CRC, AT_FLAGS, AT_LENGTH, AT_MAGIC, AT_OPCODE, AT_SEQ, AT_VERSION, Flags, Frame, Header, MAGIC, MAX_LENGTH,
    VERSION, checksum, least_length,
};
use super::status::Status;
use crate::base::limits::HEADER_BYTES;

/// What the next bytes of a stream turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Everything that could be judged was judged: read more bytes first.
    NeedMore,
    /// A whole frame with a right checksum.
    Frame(Frame<'a>),
    /// Answer this error; it is one strike.
    Reject {
        /// [`Status::BadFrame`] or [`Status::BadCrc`].
        status: Status,
        /// The frame's opcode, or 0 where it could not be read.
        opcode: u16,
        /// The frame's sequence number, or 0 where it could not be read.
        seq: u32,
    },
    /// Answer this error, then close: the announced length is beyond the limit, so the rest cannot be trusted.
    Fatal {
        /// Always [`Status::BadFrame`].
        status: Status,
        /// The frame's opcode, or 0 where it could not be read.
        opcode: u16,
        /// The frame's sequence number, or 0 where it could not be read.
        seq: u32,
    },
}

/// The state of one stream's framing; small enough to live in one word of shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    /// 0 while in step with the frames; else 1 + the bytes skipped since the last [`Step::Reject`].
    skipping: u32,
}

/// What the first eight bytes of a header, or as many as there are, allow.
enum Outlook {
    /// No frame can begin here.
    No,
    /// More bytes must decide.
    Maybe,
    /// A frame may begin here.
    Plausible,
}

impl Decoder {
    /// The state as a word, for shared memory.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.skipping
    }

    /// The state that [`Decoder::to_bits`] gave. Any other number is taken for the nearest state there is.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Decoder {
        Decoder { skipping: if bits > MAX_LENGTH { MAX_LENGTH } else { bits } }
    }

    /// Takes one step through `input`, the bytes of the stream not yet consumed.
    ///
    /// Returns how many of them this step consumed, and what they were. Also [`Step::NeedMore`] can consume bytes:
    /// those that no frame can begin with.
    #[inline]
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        if self.skipping == 0 { self.judge(input) } else { self.search(input) }
    }

    /// Judges a frame that begins at the first byte.
    #[inline]
    fn judge<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let Some(head) = input.first_chunk::<HEADER_BYTES>() else {
            return (0, Step::NeedMore);
        };
        let length = BigEndian::read_u32(&head[AT_LENGTH..]);
        let flags = match Flags::from_bits(head[AT_FLAGS]) {
            Some(flags)
                if BigEndian::read_u16(&head[AT_MAGIC..]) == MAGIC
                    && head[AT_VERSION] == VERSION
                    && (least_length(flags)..=MAX_LENGTH).contains(&length) =>
            {
                flags
            }
            _ => return self.refuse(head),
        };
        let opcode = BigEndian::read_u16(&head[AT_OPCODE..]);
        let seq = BigEndian::read_u32(&head[AT_SEQ..]);
        // At most MAX_LENGTH: fits.
        let whole = length as usize;
        let Some(bytes) = input.get(..whole) else {
            return (0, Step::NeedMore);
        };
        if checksum(bytes) != BigEndian::read_u32(&head[AT_CRC..]) {
            return (whole, Step::Reject { status: Status::BadCrc, opcode, seq });
        }
        (whole, Step::Frame(Frame::cut(Header { length, flags, opcode, seq }, bytes)))
    }

    /// Refuses a header that cannot begin a frame, and starts the search for one that can.
    #[cold]
    fn refuse(&mut self, head: &[u8; HEADER_BYTES]) -> (usize, Step<'static>) {
        let status = Status::BadFrame;
        let is_ours = BigEndian::read_u16(&head[AT_MAGIC..]) == MAGIC;
        // Only in our own version do we know where the opcode stands.
        let (opcode, seq) = if is_ours && head[AT_VERSION] == VERSION {
            (BigEndian::read_u16(&head[AT_OPCODE..]), BigEndian::read_u32(&head[AT_SEQ..]))
        } else {
            (0, 0)
        };
        if is_ours && BigEndian::read_u32(&head[AT_LENGTH..]) > MAX_LENGTH {
            return (HEADER_BYTES, Step::Fatal { status, opcode, seq });
        }
        self.skipping = 1;
        (1, Step::Reject { status, opcode, seq })
    }

    /// Skips bytes until a frame may begin.
    #[cold]
    fn search<'a>(&mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let mut at = 0;
        loop {
            match outlook(&input[at..]) {
                Outlook::Maybe => return (at, Step::NeedMore),
                Outlook::Plausible => {
                    self.skipping = 0;
                    let (used, step) = self.judge(&input[at..]);
                    return (at + used, step);
                }
                Outlook::No => {
                    at += 1;
                    self.skipping += 1;
                    if self.skipping > MAX_LENGTH {
                        self.skipping = 1;
                        return (at, Step::Reject { status: Status::BadFrame, opcode: 0, seq: 0 });
                    }
                }
            }
        }
    }
}

/// Whether a frame may begin with these bytes: magic, version, known flags, a length in range.
fn outlook(bytes: &[u8]) -> Outlook {
    let magic = MAGIC.to_be_bytes();
    let agrees = |at: usize, wanted: u8| bytes.get(at).is_none_or(|&byte| byte == wanted);
    // No length up to 4096 has anything in its first two bytes.
    let possible = agrees(AT_LENGTH, 0)
        && agrees(AT_LENGTH + 1, 0)
        && agrees(AT_MAGIC, magic[0])
        && agrees(AT_MAGIC + 1, magic[1])
        && agrees(AT_VERSION, VERSION);
    if !possible {
        return Outlook::No;
    }
    let Some(first) = bytes.get(..=AT_FLAGS) else {
        return Outlook::Maybe;
    };
    let length = BigEndian::read_u32(first);
    match Flags::from_bits(first[AT_FLAGS]) {
        Some(flags) if (least_length(flags)..=MAX_LENGTH).contains(&length) => Outlook::Plausible,
        _ => Outlook::No,
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
