//! The header of a frame.

use byteorder::{ByteOrder, LittleEndian};

use super::error::WireError;
use super::kind::FrameKind;
use crate::store::journal::record::RECORD_BYTES;

/// The version of the protocol between peers.
pub const PROTOCOL_VERSION: u16 = 3;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = AT_HEADER_CRC + 4;
/// Bytes of the checksum behind the records.
pub const TRAILER_BYTES: usize = 4;

const MAGIC: [u8; 4] = *b"BVPR";
const AT_VERSION: usize = MAGIC.len(); // u16
const AT_KIND: usize = AT_VERSION + 2; // u8
const AT_ZERO: usize = AT_KIND + 1; // u8
const AT_BODY: usize = AT_ZERO + 1; // u32
const AT_RECORDS: usize = AT_BODY + 4; // u32
const AT_BODY_CRC: usize = AT_RECORDS + 4; // u32
const AT_HEADER_CRC: usize = AT_BODY_CRC + 4; // u32

const _: () = assert!(HEADER_BYTES == 24, "as documented");

/// The checked header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: FrameKind,
    /// Bytes of its body.
    pub body: usize,
    /// Records behind the body.
    pub records: usize,
    body_crc: u32,
}

impl Header {
    /// Reads a header. Its lengths are then within bounds.
    ///
    /// # Errors
    /// It is none of this version, is damaged, or announces more than its kind may have.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, WireError> {
        let u32_at = |at: usize| LittleEndian::read_u32(&bytes[at..]);
        if bytes[..AT_VERSION] != MAGIC {
            return Err(WireError::Magic);
        }
        // Of another version, nothing further is known.
        let version = LittleEndian::read_u16(&bytes[AT_VERSION..]);
        if version != PROTOCOL_VERSION {
            return Err(WireError::Version(version));
        }
        if crc32fast::hash(&bytes[..AT_HEADER_CRC]) != u32_at(AT_HEADER_CRC) {
            return Err(WireError::HeaderChecksum);
        }
        let kind = FrameKind::from_code(bytes[AT_KIND]).ok_or(WireError::Kind(bytes[AT_KIND]))?;
        if bytes[AT_ZERO] != 0 {
            return Err(WireError::Reserved);
        }
        let (length, count) = (u32_at(AT_BODY), u32_at(AT_RECORDS));
        let header = Header {
            kind,
            body: usize::try_from(length).unwrap_or(usize::MAX),
            records: usize::try_from(count).unwrap_or(usize::MAX),
            body_crc: u32_at(AT_BODY_CRC),
        };
        header.check_bounds()?;
        Ok(header)
    }

    fn check_bounds(&self) -> Result<(), WireError> {
        let Header { kind, body: length, .. } = *self;
        let (most, most_records, count) = (kind.longest_body(), kind.most_records(), self.records as u64);
        if length > most {
            return Err(WireError::Length { kind, length, most });
        }
        if count > most_records {
            return Err(WireError::Records { kind, count, most: most_records });
        }
        Ok(())
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body + self.records_bytes()
    }

    fn records_bytes(&self) -> usize {
        if self.records == 0 { 0 } else { self.records * RECORD_BYTES + TRAILER_BYTES }
    }

    /// Body and records of a frame of [`frame_bytes`](Self::frame_bytes) bytes that begins with this header.
    ///
    /// # Errors
    /// It is shorter, or damaged.
    pub(super) fn parts<'a>(&self, frame: &'a [u8]) -> Result<(&'a [u8], &'a [[u8; RECORD_BYTES]]), WireError> {
        let frame = frame.get(..self.frame_bytes()).ok_or(WireError::Short)?;
        let (body, behind) = frame[HEADER_BYTES..].split_at(self.body);
        if crc32fast::hash(body) != self.body_crc {
            return Err(WireError::BodyChecksum);
        }
        let Some((records, trailer)) = behind.split_last_chunk::<TRAILER_BYTES>() else {
            return Ok((body, &[]));
        };
        if records_crc(records) != *trailer {
            return Err(WireError::RecordsChecksum);
        }
        Ok((body, records.as_chunks().0))
    }
}

/// The checksum that follows the records of a frame.
#[must_use]
pub fn records_crc(records: &[u8]) -> [u8; TRAILER_BYTES] {
    crc32fast::hash(records).to_le_bytes()
}

/// The header and `body` of a frame behind which `records` records will follow.
///
/// # Errors
/// It would be longer than its kind may be.
pub(super) fn seal(kind: FrameKind, body: &[u8], records: u64) -> Result<Vec<u8>, WireError> {
    let length = body.len();
    let header = Header { kind, body: length, records: usize::try_from(records).unwrap_or(usize::MAX), body_crc: 0 };
    header.check_bounds()?;
    let (too_long, too_many) = (
        WireError::Length { kind, length, most: kind.longest_body() },
        WireError::Records { kind, count: records, most: kind.most_records() },
    );
    let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, 0]);
    bytes.extend_from_slice(&u32::try_from(length).map_err(|_| too_long)?.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(records).map_err(|_| too_many)?.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}
