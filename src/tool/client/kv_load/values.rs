//! Values, and what they say of themselves: whoever reads one can tell whether it is whole, whose it is, and which write made it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::base::limits::MAX_KV_VALUE_BYTES;

/// Bytes of a stamp, with which a value begins: checksum, key, writer, length (each 4 bytes), count and run (each 8).
pub const STAMP_BYTES: usize = 32;
/// By how many bytes the beginnings of values can differ.
const SHIFTS: usize = 4096;

/// What a value says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The run that wrote it.
    pub run: u64,
    pub key: u32,
    /// The connection that wrote it.
    pub writer: u32,
    /// Which of its writes that was.
    pub count: u64,
}

/// Makes values.
#[derive(Debug)]
pub struct Values {
    /// Of which each value is a part.
    pool: Box<[u8]>,
    is_stamped: bool,
}

impl Values {
    /// Those of a run with this seed.
    pub fn new(seed: u64, is_stamped: bool) -> Values {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut pool = vec![0; MAX_KV_VALUE_BYTES + SHIFTS].into_boxed_slice();
        rng.fill_bytes(&mut pool);
        Values { pool, is_stamped }
    }

    /// The value of a write, in `buffer` where it is not only read; the same each time. `length` is at least [`STAMP_BYTES`] where values
    /// are stamped, and [`MAX_KV_VALUE_BYTES`] at most.
    #[inline]
    pub fn value<'v>(&'v self, stamp: &Stamp, length: usize, buffer: &'v mut Vec<u8>) -> &'v [u8] {
        // Another part for nearly each of many writes, of one writer or of several: whatever is of another write is seen. The multiplier is
        // 2^64 divided by the golden ratio, whose product has well mixed high bits (Knuth, The Art of Computer Programming, 6.4).
        let mixed = (stamp.count ^ u64::from(stamp.writer) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let shift = usize::try_from(mixed).unwrap_or(0) % SHIFTS;
        let part = &self.pool[shift..shift + length.min(MAX_KV_VALUE_BYTES)];
        if !self.is_stamped {
            return part;
        }
        buffer.clear();
        buffer.extend_from_slice(part);
        stamp.write(buffer);
        buffer
    }
}

impl Stamp {
    /// Stamps a value.
    fn write(&self, value: &mut [u8]) {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let Some((stamp, _)) = value.split_first_chunk_mut::<STAMP_BYTES>() else { return };
        stamp[4..8].copy_from_slice(&self.key.to_be_bytes());
        stamp[8..12].copy_from_slice(&self.writer.to_be_bytes());
        stamp[12..16].copy_from_slice(&length.to_be_bytes());
        stamp[16..24].copy_from_slice(&self.count.to_be_bytes());
        stamp[24..].copy_from_slice(&self.run.to_be_bytes());
        let checksum = crc32fast::hash(&value[4..]);
        value[..4].copy_from_slice(&checksum.to_be_bytes());
    }

    /// What a value says; `None` where it is not whole.
    pub fn read(value: &[u8]) -> Option<Stamp> {
        let (stamp, _) = value.split_first_chunk::<STAMP_BYTES>()?;
        let number = |at: usize| stamp[at..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let long = |at: usize| stamp[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let is_whole = number(12)? as usize == value.len() && number(0)? == crc32fast::hash(&value[4..]);
        is_whole.then_some(Stamp { run: long(24)?, key: number(4)?, writer: number(8)?, count: long(16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_what_it_is_and_a_changed_byte_is_seen() {
        let values = Values::new(7, true);
        let mut buffer = Vec::new();
        for length in [STAMP_BYTES, 100, 4097, MAX_KV_VALUE_BYTES] {
            let stamp = Stamp { run: 1, key: 2, writer: 3, count: length as u64 };
            let value = values.value(&stamp, length, &mut buffer).to_vec();
            assert_eq!((value.len(), Stamp::read(&value)), (length, Some(stamp)));
            assert_eq!(values.value(&stamp, length, &mut Vec::new()), value, "it is the same again");
            for at in [0, 5, 15, 23, 31, length / 2, length - 1] {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert_eq!(Stamp::read(&changed), None, "byte {at} of {length}");
            }
            assert_eq!(Stamp::read(&value[..length - 1]), None, "cut");
            assert_eq!(Stamp::read(&[&value[..], &[0]].concat()), None, "longer");
        }
        assert_eq!(Stamp::read(&[]), None);
    }

    #[test]
    fn the_halves_of_two_writes_are_no_value() {
        let values = Values::new(7, true);
        let write = |count| values.value(&Stamp { run: 1, key: 2, writer: 3, count }, 512, &mut Vec::new()).to_vec();
        let by_other = values.value(&Stamp { run: 1, key: 2, writer: 4, count: 1 }, 512, &mut Vec::new()).to_vec();
        for count in 1..100 {
            let (one, other) = (write(count), if count == 1 { by_other.clone() } else { write(count + 1) });
            for at in [STAMP_BYTES, 248, 500] {
                assert_eq!(Stamp::read(&[&one[..at], &other[at..]].concat()), None, "{count}, torn at {at}");
            }
        }
    }
}
