//! The records of a write to the key-value store: a head, and behind it pieces of key and value.
//!
//! A write that was done is a head and as many pieces as its bytes need, with consecutive LSNs. A refusal is a head alone. All of an
//! operation gets its numbers at once, so there is nothing between head and pieces, and the number of an operation is that of its last
//! record: whoever has that has all of it.

use byteorder::{ByteOrder, LittleEndian};

use super::error::RecordError;
use super::layout::{
    AT_ACCOUNTS, AT_AMOUNT, AT_BALANCES, AT_CODE, AT_CRC, AT_FLAGS, AT_KEY, AT_KIND, AT_LSN, AT_PRINCIPAL,
    AT_REFERENCE, AT_SYNCED, AT_TIME, AT_VERDICT, KEYED, RECORD_BYTES, RecordBytes, lsn_of,
};
use crate::base::limits::{KEY_BYTES, MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES};
use crate::base::vocab::{Condition, Lsn};

const PUT: u8 = 32;
const DELETE: u8 = 33;
/// The number on disk of a piece.
pub(super) const PIECE: u8 = 34;

/// Bytes of key and value in one piece: all that is not common to all records, but for the checksum.
pub const PIECE_BYTES: usize = FRONT_BYTES + BACK_BYTES;
/// Those before the checksum's neighbours, from the place of the principal on.
const FRONT_BYTES: usize = AT_SYNCED - AT_PRINCIPAL;
/// Those behind, in the places of reference and code.
const BACK_BYTES: usize = AT_CRC - AT_REFERENCE;

/// Records of the longest write.
pub const MAX_WRITE_RECORDS: u64 = write_records(MAX_KV_KEY_BYTES + MAX_KV_VALUE_BYTES);

const AT_VALUE_BYTES: usize = AT_ACCOUNTS; // u32
const AT_KEY_BYTES: usize = AT_VALUE_BYTES + 4; // u8
const AT_CONDITION: usize = AT_KEY_BYTES + 1; // u8
const AT_EXPECTED: usize = AT_AMOUNT; // u64
const AT_KEYS: usize = AT_BALANCES; // u32
const AT_BLOCKS: usize = AT_KEYS + 4; // u32
const AT_FINGERPRINT: usize = AT_BLOCKS + 4; // 16 bytes
const AT_UNUSED: usize = AT_FINGERPRINT + FINGERPRINT_BYTES;
const FINGERPRINT_BYTES: usize = 16;

const _: () = {
    assert!(PIECE_BYTES == 80, "as documented");
    assert!(FIRST_BLOCK_BYTES == 224 && NEXT_BLOCK_BYTES == 248, "as documented");
    assert!(AT_CONDITION + 1 < AT_EXPECTED && AT_UNUSED + 8 == AT_KEY, "what is left is checked to be zero");
};

/// A digest of all that a call asks for, so that a repeated request id can be told from one that is used for another call.
pub type Fingerprint = [u8; FINGERPRINT_BYTES];

/// Records of a write with so many bytes of key and value: the head, and the pieces.
#[must_use]
pub const fn write_records(bytes: usize) -> u64 {
    1 + bytes.div_ceil(PIECE_BYTES) as u64
}

/// Bytes of a block of the table. Keys and values take whole blocks, so that what fits is a count, and the same on all members.
pub const BLOCK_BYTES: usize = 256;
/// Bytes of key and value in the first block of a key.
pub const FIRST_BLOCK_BYTES: usize = BLOCK_BYTES - 32;
/// Bytes of key and value in each further block.
pub const NEXT_BLOCK_BYTES: usize = BLOCK_BYTES - 8;

/// Blocks that a key with its value takes.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "a key and a value are at most some 64 KiB")]
pub const fn blocks_of(key_bytes: usize, value_bytes: usize) -> u32 {
    1 + (key_bytes + value_bytes).saturating_sub(FIRST_BLOCK_BYTES).div_ceil(NEXT_BLOCK_BYTES) as u32
}

/// Blocks that a key can take.
pub const MAX_BLOCKS: u32 = blocks_of(MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvKind {
    /// A key gets a value.
    Put,
    /// A key goes.
    Delete,
}

impl KvKind {
    /// The number on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            KvKind::Put => PUT,
            KvKind::Delete => DELETE,
        }
    }

    /// Its name, as people and programs see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KvKind::Put => "put",
            KvKind::Delete => "delete",
        }
    }

    /// What a number on disk means; `None` where it is none of these.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            PUT => Some(KvKind::Put),
            DELETE => Some(KvKind::Delete),
            _ => None,
        }
    }
}

/// Its result; the numbers on disk are those of `kv_status` in `docs/kv.x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVerdict {
    /// It was done.
    Done,
    /// Refused: there was no such key.
    NotFound,
    /// Refused: the key had another version than its condition wants.
    Mismatch,
    /// Refused: the table was full.
    Full,
}

impl KvVerdict {
    /// The number on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            KvVerdict::Done => 0,
            KvVerdict::NotFound => 1,
            KvVerdict::Mismatch => 2,
            KvVerdict::Full => 6,
        }
    }

    /// Its name, as people and programs see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KvVerdict::Done => "done",
            KvVerdict::NotFound => "not found",
            KvVerdict::Mismatch => "version mismatch",
            KvVerdict::Full => "full",
        }
    }

    /// What a number on disk means.
    ///
    /// # Errors
    /// It means nothing.
    pub fn from_code(code: u8) -> Result<Self, RecordError> {
        match code {
            0 => Ok(KvVerdict::Done),
            1 => Ok(KvVerdict::NotFound),
            2 => Ok(KvVerdict::Mismatch),
            6 => Ok(KvVerdict::Full),
            other => Err(RecordError::Verdict(other)),
        }
    }
}

/// The first record of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHead {
    /// Its place in the order of all records; never 0.
    pub lsn: Lsn,
    /// When it was decided, nanoseconds since 1970.
    pub time_ns: u64,
    /// What was asked for.
    pub kind: KvKind,
    /// Its result. Refusals are journaled only when they have a request id, so that a repeated request gets the same answer.
    pub verdict: KvVerdict,
    /// Who asked: the user's number, by `DATA/principals`.
    pub principal: u32,
    /// Bytes of the key; at least 1.
    pub key_bytes: u8,
    /// Bytes of the value, at most [`MAX_KV_VALUE_BYTES`]; 0 where a key goes.
    pub value_bytes: u32,
    /// What the key's version had to be.
    pub condition: Condition,
    /// What all of the call is; zero where it has no request id.
    pub fingerprint: Fingerprint,
    /// The version that the key had before; 0 where it was not there.
    pub previous: Lsn,
    /// Keys that the table has afterwards.
    pub keys: u32,
    /// Blocks that they take.
    pub blocks: u32,
    /// The request id.
    pub request: Option<[u8; KEY_BYTES]>,
}

impl KvHead {
    /// Whether it changed the table.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.verdict == KvVerdict::Done
    }

    /// Bytes of key and value that follow in pieces.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        if self.is_done() { usize::from(self.key_bytes) + self.value_bytes as usize } else { 0 }
    }

    /// Records of the whole operation, this one included.
    #[must_use]
    pub fn records(&self) -> u64 {
        write_records(self.data_bytes())
    }

    /// The operation's number, which is that of its last record, and the version that a key has that it has written.
    #[must_use]
    pub fn version(&self) -> Lsn {
        Lsn(self.lsn.0 + self.records() - 1)
    }

    /// The record's bytes: without an entry until [`stamp`](super::stamp) gives it one, and not yet [sealed](super::seal).
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        debug_assert!(self.is_done() || self.request.is_some(), "a refusal is journaled only with a request id");
        let mut bytes = common(self.lsn, self.time_ns, self.kind.code());
        bytes[AT_VERDICT] = self.verdict.code();
        LittleEndian::write_u32(&mut bytes[AT_PRINCIPAL..], self.principal);
        LittleEndian::write_u32(&mut bytes[AT_VALUE_BYTES..], self.value_bytes);
        bytes[AT_KEY_BYTES] = self.key_bytes;
        let (condition, expected) = self.condition.to_code();
        bytes[AT_CONDITION] = condition;
        LittleEndian::write_u64(&mut bytes[AT_EXPECTED..], expected);
        LittleEndian::write_u32(&mut bytes[AT_KEYS..], self.keys);
        LittleEndian::write_u32(&mut bytes[AT_BLOCKS..], self.blocks);
        bytes[AT_FINGERPRINT..AT_UNUSED].copy_from_slice(&self.fingerprint);
        LittleEndian::write_u64(&mut bytes[AT_REFERENCE..], self.previous.0);
        if let Some(request) = self.request {
            LittleEndian::write_u16(&mut bytes[AT_FLAGS..], KEYED);
            bytes[AT_KEY..AT_SYNCED].copy_from_slice(&request);
        }
        bytes
    }

    /// Reads what is a head's own, and checks it. What is common to all records, [`Record::decode`](super::Record::decode) has checked.
    pub(super) fn decode(bytes: &RecordBytes, kind: KvKind) -> Result<Self, RecordError> {
        let u32_at = |at: usize| LittleEndian::read_u32(&bytes[at..]);
        let u64_at = |at: usize| LittleEndian::read_u64(&bytes[at..]);
        let mut request = [0; KEY_BYTES];
        request.copy_from_slice(&bytes[AT_KEY..AT_SYNCED]);
        let keyed = LittleEndian::read_u16(&bytes[AT_FLAGS..]) & KEYED != 0;
        if !keyed && request != [0; KEY_BYTES] {
            return Err(RecordError::Key);
        }
        for unused in [AT_CONDITION + 1..AT_EXPECTED, AT_UNUSED..AT_KEY, AT_CODE..AT_CRC] {
            if bytes[unused].iter().any(|&byte| byte != 0) {
                return Err(RecordError::Reserved);
            }
        }
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&bytes[AT_FINGERPRINT..AT_UNUSED]);
        let condition = Condition::from_code(bytes[AT_CONDITION], u64_at(AT_EXPECTED));
        let head = KvHead {
            lsn: lsn_of(bytes),
            time_ns: u64_at(AT_TIME),
            kind,
            verdict: KvVerdict::from_code(bytes[AT_VERDICT])?,
            principal: u32_at(AT_PRINCIPAL),
            key_bytes: bytes[AT_KEY_BYTES],
            value_bytes: u32_at(AT_VALUE_BYTES),
            condition: condition.ok_or(RecordError::Condition(bytes[AT_CONDITION]))?,
            fingerprint,
            previous: Lsn(u64_at(AT_REFERENCE)),
            keys: u32_at(AT_KEYS),
            blocks: u32_at(AT_BLOCKS),
            request: keyed.then_some(request),
        };
        head.check_consistency()?;
        Ok(head)
    }

    /// Checks the fields against each other.
    fn check_consistency(&self) -> Result<(), RecordError> {
        if !self.is_done() && self.request.is_none() {
            return Err(RecordError::UnkeyedRefusal);
        }
        if self.request.is_none() && self.fingerprint != Fingerprint::default() {
            return Err(RecordError::Reserved);
        }
        let most = if self.kind == KvKind::Put { MAX_KV_VALUE_BYTES } else { 0 };
        if self.key_bytes == 0 || self.value_bytes as usize > most {
            return Err(RecordError::Lengths { key: self.key_bytes, value: self.value_bytes });
        }
        if self.previous >= self.lsn {
            return Err(RecordError::Previous(self.previous));
        }
        let (is_there, fits) = (self.previous > Lsn(0), self.condition.admits(self.previous));
        let may_be = match self.verdict {
            KvVerdict::Done => fits && (is_there || self.kind == KvKind::Put),
            KvVerdict::NotFound => fits && !is_there && self.kind == KvKind::Delete,
            KvVerdict::Mismatch => !fits,
            KvVerdict::Full => fits && self.kind == KvKind::Put,
        };
        if may_be && self.may_count() { Ok(()) } else { Err(RecordError::Outcome(self.verdict.name())) }
    }

    /// Whether a table in which this was done or refused can have so many keys and blocks.
    fn may_count(&self) -> bool {
        let is_there = if self.is_done() { self.kind == KvKind::Put } else { self.previous > Lsn(0) };
        let own = if self.is_done() { blocks_of(self.key_bytes.into(), self.value_bytes as usize) } else { 1 };
        let (own_keys, own_blocks) = if is_there { (1, own) } else { (0, 0) };
        // Each of the others takes a block at least, and no key takes more than the longest.
        let others = self.keys.checked_sub(own_keys).zip(self.blocks.checked_sub(own_blocks));
        others.is_some_and(|(keys, blocks)| {
            let (counted, of) = if self.is_done() { (keys, blocks) } else { (self.keys, self.blocks) };
            keys <= blocks && u64::from(of) <= u64::from(counted) * u64::from(MAX_BLOCKS)
        })
    }
}

/// A piece of what a write carries: the bytes of its key, and behind them those of its value. All but the last are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvPiece {
    /// Its place in the order of all records; never 0.
    pub lsn: Lsn,
    /// That of its head.
    pub time_ns: u64,
    bytes: [u8; PIECE_BYTES],
    length: u8,
}

impl KvPiece {
    /// A piece with the first bytes of `data`, as many as it takes, of which there must be one.
    #[must_use]
    pub fn of(lsn: Lsn, time_ns: u64, data: &[u8]) -> Self {
        debug_assert!(!data.is_empty(), "a piece has a byte at least");
        let length = data.len().min(PIECE_BYTES);
        let mut bytes = [0; PIECE_BYTES];
        bytes[..length].copy_from_slice(&data[..length]);
        #[allow(clippy::cast_possible_truncation, reason = "at most 80")]
        let length = length as u8;
        KvPiece { lsn, time_ns, bytes, length }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The record's bytes: without an entry until [`stamp`](super::stamp) gives it one, and not yet [sealed](super::seal).
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        let mut bytes = common(self.lsn, self.time_ns, PIECE);
        bytes[AT_VERDICT] = self.length;
        let (front, back) = self.bytes.split_at(FRONT_BYTES);
        bytes[AT_PRINCIPAL..AT_SYNCED].copy_from_slice(front);
        bytes[AT_REFERENCE..AT_CRC].copy_from_slice(back);
        bytes
    }

    pub(super) fn decode(record: &RecordBytes) -> Result<Self, RecordError> {
        let length = record[AT_VERDICT];
        let mut bytes = [0; PIECE_BYTES];
        bytes[..FRONT_BYTES].copy_from_slice(&record[AT_PRINCIPAL..AT_SYNCED]);
        bytes[FRONT_BYTES..].copy_from_slice(&record[AT_REFERENCE..AT_CRC]);
        if length == 0 || usize::from(length) > PIECE_BYTES {
            return Err(RecordError::Payload(length.into()));
        }
        if bytes[usize::from(length)..].iter().any(|&byte| byte != 0) {
            return Err(RecordError::Reserved);
        }
        let time_ns = LittleEndian::read_u64(&record[AT_TIME..]);
        Ok(KvPiece { lsn: lsn_of(record), time_ns, bytes, length })
    }
}

/// Whether a record's bytes claim to be a piece: then the operation that it is of has begun before.
#[inline]
#[must_use]
pub fn is_piece(bytes: &RecordBytes) -> bool {
    bytes[AT_KIND] == PIECE
}

fn common(lsn: Lsn, time_ns: u64, kind: u8) -> RecordBytes {
    let mut bytes = [0; RECORD_BYTES];
    LittleEndian::write_u64(&mut bytes[AT_LSN..], lsn.0);
    LittleEndian::write_u64(&mut bytes[AT_TIME..], time_ns);
    bytes[AT_KIND] = kind;
    bytes
}

#[cfg(test)]
#[path = "key_value_tests.rs"]
mod tests;
