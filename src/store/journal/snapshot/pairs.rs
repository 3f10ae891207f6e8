//! The bytes of keys and values in a snapshot, and in a snapshot on its way.
//!
//! | offset | field |
//! | --- | --- |
//! | 0, 1 | bytes of the key: u8, at least 1; of the value: u32 |
//! | 5 | the version: u64 |
//! | 13 | the key, the value |

use byteorder::{ByteOrder, LittleEndian};

use super::layout::{CRC_BYTES, crc_behind};
use crate::base::limits::{MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES, MAX_LSN, MAX_PAIR_BLOCK_BYTES};
use crate::base::vocab::Lsn;

/// Bytes before the key of a pair.
const HEAD_BYTES: usize = 13;
/// A block with so many bytes of pairs takes no further one.
pub const FULL_BLOCK_BYTES: usize = 1 << 16;
/// Bytes of pairs in one block at most; a block has whole pairs. A longer one is damage.
pub const MAX_BLOCK_BYTES: usize = MAX_PAIR_BLOCK_BYTES;
/// Bytes before a block: its length. A length of 0 stands before the end.
pub const LENGTH_BYTES: usize = 4;
/// The end mark behind pairs.
pub const END_BYTES: usize = 32;

const END_MAGIC: &[u8; 8] = b"VLTSNEND";
const AT_NEWEST: usize = LENGTH_BYTES + END_MAGIC.len();
const AT_PAIRS: usize = AT_NEWEST + 8;

const _: () = {
    assert!(AT_PAIRS + 8 + CRC_BYTES == END_BYTES);
    assert!(FULL_BLOCK_BYTES - 1 + HEAD_BYTES + MAX_KV_KEY_BYTES + MAX_KV_VALUE_BYTES == MAX_BLOCK_BYTES);
};

/// A key with its value and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub key: &'a [u8],
    pub version: Lsn,
    pub value: &'a [u8],
}

impl<'a> Pair<'a> {
    /// Whether there can be such a pair in a snapshot that was cut at record `cut`.
    pub fn can_be(&self, cut: Lsn) -> bool {
        (1..=MAX_KV_KEY_BYTES).contains(&self.key.len())
            && self.value.len() <= MAX_KV_VALUE_BYTES
            && self.version > Lsn(0)
            && self.version <= cut
    }

    /// Appends its bytes; it is one that can be.
    pub fn append_to(&self, block: &mut Vec<u8>) {
        let mut head = [0; HEAD_BYTES];
        head[0] = u8::try_from(self.key.len()).unwrap_or(0);
        LittleEndian::write_u32(&mut head[1..], u32::try_from(self.value.len()).unwrap_or(u32::MAX));
        LittleEndian::write_u64(&mut head[5..], self.version.0);
        block.extend_from_slice(&head);
        block.extend_from_slice(self.key);
        block.extend_from_slice(self.value);
    }

    /// The first pair of a block, and what is behind it; `None` where it cannot be in a snapshot that was cut at record `cut`.
    fn split_off(block: &'a [u8], cut: Lsn) -> Option<(Self, &'a [u8])> {
        let (head, rest) = block.split_first_chunk::<HEAD_BYTES>()?;
        let (key, rest) = rest.split_at_checked(head[0].into())?;
        let value_bytes = usize::try_from(LittleEndian::read_u32(&head[1..])).ok()?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        let pair = Pair { key, version: Lsn(LittleEndian::read_u64(&head[5..])), value };
        pair.can_be(cut).then_some((pair, rest))
    }
}

/// Calls `each` with every pair of a block; how many there are, or `None` where one cannot be in a snapshot that was cut at record `cut`.
pub fn for_each_pair<'a>(mut block: &'a [u8], cut: Lsn, mut each: impl FnMut(Pair<'a>)) -> Option<u64> {
    let mut count = 0;
    while !block.is_empty() {
        let (pair, rest) = Pair::split_off(block, cut)?;
        each(pair);
        (block, count) = (rest, count + 1);
    }
    Some(count)
}

/// The length before a block of so many bytes.
pub fn encode_length(bytes: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// The end mark behind the pairs, and a block of checksum `chain`; its first bytes stand in the place of the length of a block.
pub fn encode_end(newest: Lsn, pairs: u64, chain: u32) -> [u8; END_BYTES] {
    let mut bytes = [0; END_BYTES];
    bytes[LENGTH_BYTES..AT_NEWEST].copy_from_slice(END_MAGIC);
    LittleEndian::write_u64(&mut bytes[AT_NEWEST..], newest.0);
    LittleEndian::write_u64(&mut bytes[AT_PAIRS..], pairs);
    let crc = crc_behind(chain, &bytes[..END_BYTES - CRC_BYTES]);
    LittleEndian::write_u32(&mut bytes[END_BYTES - CRC_BYTES..], crc);
    bytes
}

/// The newest record that an end mark names; `None` where it is none behind so many pairs, or names one before `least`.
pub fn decode_end(bytes: &[u8; END_BYTES], least: Lsn, pairs: u64, chain: u32) -> Option<Lsn> {
    let newest = Lsn(LittleEndian::read_u64(&bytes[AT_NEWEST..]));
    let is_it = newest >= least && newest.0 <= MAX_LSN && *bytes == encode_end(newest, pairs, chain);
    is_it.then_some(newest)
}
