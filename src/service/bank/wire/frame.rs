//! The frame: an 18-byte header, an optional idempotency key, an optional LSN, and the body.

use byteorder::{BigEndian, ByteOrder};

use crate::base::limits::{HEADER_BYTES, KEY_BYTES, LSN_BYTES, MAX_FRAME_BYTES};
use crate::base::vocab::Lsn;

/// The two bytes that every frame carries at offset 4.
pub const MAGIC: u16 = 0xC0DE;
/// The protocol version, the byte at offset 6.
pub const VERSION: u8 = 1;

/// Offset of the total length, u32.
pub(crate) const AT_LENGTH: usize = 0;
/// Offset of the magic, u16.
pub(crate) const AT_MAGIC: usize = 4;
/// Offset of the version, u8.
pub(crate) const AT_VERSION: usize = 6;
/// Offset of the flags, u8.
pub(crate) const AT_FLAGS: usize = 7;
/// Offset of the opcode, u16.
pub(crate) const AT_OPCODE: usize = 8;
/// Offset of the sequence number, u32.
pub(crate) const AT_SEQ: usize = 10;
/// Offset of the checksum, u32.
pub(crate) const AT_CRC: usize = 14;

/// [`MAX_FRAME_BYTES`] as the length field counts it.
pub(crate) const MAX_LENGTH: u32 = 4096;

const _: () = {
    assert!(AT_CRC + 4 == HEADER_BYTES);
    assert!(MAX_LENGTH as usize == MAX_FRAME_BYTES);
};

/// The flag bits of a frame; only the five known ones can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// The body (not the idempotency key) is XORed with the session's key.
    pub const XOR: Flags = Flags(1);
    /// The frame is an error response: its body is the status alone.
    pub const ERROR: Flags = Flags(2);
    /// An idempotency key of 16 bytes stands between header and body.
    pub const KEYED: Flags = Flags(4);
    /// Only in requests: the last LSN that the client has seen, 8 bytes, stands before the body, behind the key if there is one.
    pub const AFTER: Flags = Flags(8);
    /// In a request: the reply is to carry an LSN. In a reply: it does, in 8 bytes before the body.
    pub const LSN: Flags = Flags(16);
    /// What stands between header and body of a request.
    const EXTRAS: Flags = Flags(Flags::KEYED.0 | Flags::AFTER.0);
    const KNOWN: u8 = Flags::XOR.0 | Flags::ERROR.0 | Flags::EXTRAS.0 | Flags::LSN.0;

    /// The flags of a header byte, or `None` where an unknown bit is set.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Flags> {
        if bits & !Flags::KNOWN == 0 { Some(Flags(bits)) } else { None }
    }

    /// The header byte.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is set.
    #[inline]
    #[must_use]
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// These flags and those of `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The part of a header that a reader needs once magic, version and checksum are known to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame, header included.
    pub length: u32,
    /// The flag bits.
    pub flags: Flags,
    /// The operation, as sent; it may be one that this version does not know.
    pub opcode: u16,
    /// The requester's own number, which the reply repeats.
    pub seq: u32,
}

/// One whole frame with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The idempotency key, when [`Flags::KEYED`] is set.
    pub key: Option<&'a [u8; KEY_BYTES]>,
    /// The last LSN that the client has seen, when [`Flags::AFTER`] is set.
    pub after: Option<Lsn>,
    /// The body as sent: still XORed when [`Flags::XOR`] is set. In a reply with [`Flags::LSN`] the LSN stands before it; see
    /// [`Frame::reply`].
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts a frame at its fixed places. `bytes` holds exactly the frame, whose header was judged before.
    #[inline]
    pub(crate) fn cut(header: Header, bytes: &'a [u8]) -> Frame<'a> {
        let mut frame = Frame { header, key: None, after: None, body: &bytes[HEADER_BYTES..] };
        if header.flags.has_any(Flags::EXTRAS) {
            (frame.key, frame.after, frame.body) = extras(header.flags, frame.body);
        }
        frame
    }

    /// The LSN and the body of a reply, the body as sent. `None` for the LSN where it carries none, as no error does; and where it is too
    /// short for one, which then no body of the reply's length is.
    #[inline]
    #[must_use]
    pub fn reply(&self) -> (Option<Lsn>, &'a [u8]) {
        let is_numbered = self.header.flags.contains(Flags::LSN) && !self.header.flags.contains(Flags::ERROR);
        match self.body.split_first_chunk::<LSN_BYTES>() {
            Some((lsn, body)) if is_numbered => (Some(Lsn(u64::from_be_bytes(*lsn))), body),
            None if is_numbered => (None, &[]),
            _ => (None, self.body),
        }
    }
}

/// What stands before the body of a request with these flags, and the body. A frame too short for it has none: the decoder lets no such
/// frame through.
#[inline]
pub(super) fn extras(flags: Flags, mut rest: &[u8]) -> (Option<&[u8; KEY_BYTES]>, Option<Lsn>, &[u8]) {
    let (mut key, mut after) = (None, None);
    if flags.contains(Flags::KEYED)
        && let Some((bytes, body)) = rest.split_first_chunk::<KEY_BYTES>()
    {
        (key, rest) = (Some(bytes), body);
    }
    if flags.contains(Flags::AFTER)
        && let Some((bytes, body)) = rest.split_first_chunk::<LSN_BYTES>()
    {
        (after, rest) = (Some(Lsn(u64::from_be_bytes(*bytes))), body);
    }
    (key, after, rest)
}

/// The bytes that a frame with these flags has at least: the header, and what stands before the body.
#[inline]
pub(crate) const fn least_length(flags: Flags) -> u32 {
    let key = if flags.contains(Flags::KEYED) { KEY_BYTES } else { 0 };
    let after = if flags.contains(Flags::AFTER) { LSN_BYTES } else { 0 };
    // 18 to 42: fits every integer type.
    #[allow(clippy::cast_possible_truncation)]
    let least = (HEADER_BYTES + key + after) as u32;
    least
}

/// Frames up to this length are checksummed in one piece from a copy; it covers every reply and every keyed request.
const SMALL: usize = 80;
/// The block that the checksum's wide steps take.
const BLOCK: usize = 16;

const _: () = assert!(SMALL.is_multiple_of(BLOCK));

/// The CRC-32 (IEEE) of a whole frame, its checksum field counted as four zero bytes.
///
/// # Panics
/// When `frame` is shorter than a header.
#[inline]
#[must_use]
pub fn checksum(frame: &[u8]) -> u32 {
    // One call over a short copy costs less than three calls over 14, 4 and the remaining bytes.
    if frame.len() <= SMALL {
        // Whole blocks only: the odd bytes at the end of one would cost as much as three blocks. So zeros are put in front,
        // which a checksum whose register starts at zero does not see; the register's usual start, all ones, is the
        // inversion of the first four bytes.
        let mut copy = [0u8; SMALL];
        let length = frame.len().next_multiple_of(BLOCK);
        let copy = &mut copy[..length];
        let padded = &mut copy[length - frame.len()..];
        padded.copy_from_slice(frame);
        padded[AT_CRC..HEADER_BYTES].fill(0);
        padded[..4].iter_mut().for_each(|byte| *byte = !*byte);
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::MAX);
        hasher.update(copy);
        return hasher.finalize();
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..AT_CRC]);
    hasher.update(&[0; 4]);
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.finalize()
}

/// Writes the header of a frame whose key and body already stand in place, its checksum last.
///
/// # Panics
/// When `frame` is shorter than a header. A frame longer than [`MAX_FRAME_BYTES`] cannot be made by this crate's
/// messages: the longest is a LOGIN, which a const assertion in `limits` keeps below it.
#[inline]
pub(crate) fn seal(frame: &mut [u8], flags: Flags, opcode: u16, seq: u32) {
    debug_assert!(frame.len() <= MAX_FRAME_BYTES);
    // Bounded by the line above.
    #[allow(clippy::cast_possible_truncation)]
    let length = frame.len() as u32;
    BigEndian::write_u32(&mut frame[AT_LENGTH..], length);
    BigEndian::write_u16(&mut frame[AT_MAGIC..], MAGIC);
    frame[AT_VERSION] = VERSION;
    frame[AT_FLAGS] = flags.bits();
    BigEndian::write_u16(&mut frame[AT_OPCODE..], opcode);
    BigEndian::write_u32(&mut frame[AT_SEQ..], seq);
    let crc = checksum(frame);
    BigEndian::write_u32(&mut frame[AT_CRC..], crc);
}
