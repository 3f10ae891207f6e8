//! The table: its segments, and where a key belongs in it.

use crate::ipc::IpcError;
use crate::ipc::cells::{Ordering, Segment, random, unlink};
use crate::ipc::segment::Access;
use crate::store::journal::record::BLOCK_BYTES;
use crate::store::kv::chain::Blocks;
use crate::store::kv::counts::Counts;
use crate::store::kv::layout::{Block, Bucket, IndexHeader, LAYOUT_VERSION, ROWS, SPARE_BLOCKS};
use crate::store::kv::pool::Pool;
use crate::store::kv::row::KvRow;
use crate::store::ledger::Table;

/// Blocks for each bucket, about.
const BLOCKS_PER_BUCKET: u32 = 2;

/// The key-value table.
pub struct KvTable {
    index: Segment<IndexHeader, Bucket>,
    blocks: Segment<(), Block>,
    rows: Segment<(), KvRow>,
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The number of its bucket.
    pub bucket: u32,
    /// What tells it from most other keys there.
    pub hash: u32,
}

impl KvTable {
    /// Makes the segments, by their full names: `kv-index`, `kv-blocks`, `kv-rows`. Keys may take `capacity` blocks.
    ///
    /// # Errors
    /// A segment or a lock cannot be made; then none is left behind.
    pub fn create(names: [&str; 3], boot: u32, capacity: u32) -> Result<Self, IpcError> {
        let made = Self::make(names, boot, capacity);
        if made.is_err() {
            names.iter().try_for_each(|name| unlink(name))?;
        }
        made
    }

    fn make([index, blocks, rows]: [&str; 3], boot: u32, capacity: u32) -> Result<Self, IpcError> {
        let table = KvTable {
            index: Segment::create(index, LAYOUT_VERSION, boot, Self::buckets(capacity), |header, buckets| {
                Self::prepare(index, capacity, header, buckets)
            })?,
            blocks: Segment::create(blocks, LAYOUT_VERSION, boot, Self::blocks_for(capacity), |(), _| Ok(()))?,
            rows: Segment::create(rows, LAYOUT_VERSION, boot, ROWS, |(), _| Ok(()))?,
        };
        table.pool().fill();
        Ok(table)
    }

    /// Fills the header and the buckets, which are zero.
    fn prepare(name: &str, capacity: u32, header: &IndexHeader, buckets: &[Bucket]) -> Result<(), IpcError> {
        for seed in &header.seeds {
            let random = random().map_err(|_| IpcError::system("seed", name, nix::errno::Errno::EIO))?;
            seed.store(random, Ordering::Relaxed);
        }
        header.capacity.store(capacity, Ordering::Relaxed);
        header.pool_lock.init(name)?;
        buckets.iter().try_for_each(|bucket| bucket.lock.init(name))
    }

    /// Makes the table what [`KvTable::create`] makes, in place: nothing is left of keys, values and locks. Only while no other process or
    /// thread has part in it; whoever did is dead.
    ///
    /// # Errors
    /// A lock cannot be initialised, or there are no random numbers. What the table holds means nothing then, and this may be tried again.
    #[cfg(not(feature = "model"))]
    pub fn reset(&self) -> Result<(), IpcError> {
        let capacity = self.capacity();
        self.index.refill(|header, buckets| Self::prepare(self.index.name(), capacity, header, buckets))?;
        self.blocks.refill(|(), _| Ok(()))?;
        self.rows.refill(|(), _| Ok(()))?;
        self.pool().fill();
        Ok(())
    }

    /// Maps an existing table.
    ///
    /// # Errors
    /// A segment is not there, or of another layout.
    pub fn open([index, blocks, rows]: [&str; 3], access: Access) -> Result<Self, IpcError> {
        Ok(KvTable {
            index: Segment::open(index, LAYOUT_VERSION, access)?,
            blocks: Segment::open(blocks, LAYOUT_VERSION, access)?,
            rows: Segment::open(rows, LAYOUT_VERSION, access)?,
        })
    }

    /// Bytes of the segments `kv-index`, `kv-blocks`, `kv-rows` of a table in which keys may take `capacity` blocks.
    #[must_use]
    pub fn bytes_for(capacity: u32) -> [usize; 3] {
        [
            Segment::<IndexHeader, Bucket>::bytes_for(Self::buckets(capacity)),
            Segment::<(), Block>::bytes_for(Self::blocks_for(capacity)),
            Segment::<(), KvRow>::bytes_for(ROWS),
        ]
    }

    /// Blocks that keys may take in a table of so many bytes; beside them the table has its index, and blocks for writes that are under
    /// way.
    #[must_use]
    pub fn capacity_of(bytes: u64) -> u32 {
        u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX)
    }

    fn buckets(capacity: u32) -> usize {
        (capacity / BLOCKS_PER_BUCKET).max(1).next_power_of_two() as usize
    }

    fn blocks_for(capacity: u32) -> usize {
        capacity as usize + SPARE_BLOCKS as usize
    }

    /// The segments' names and sizes in bytes.
    #[must_use]
    pub fn segments(&self) -> [(&str, usize); 3] {
        [
            (self.index.name(), self.index.bytes()),
            (self.blocks.name(), self.blocks.bytes()),
            (self.rows.name(), self.rows.bytes()),
        ]
    }

    /// Blocks that keys may take.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.index.root().capacity.load(Ordering::Relaxed)
    }

    /// Blocks that no key and no write has, at some moment: beside what keys do not take, those for writes that are under way.
    #[must_use]
    pub fn free_blocks(&self) -> u32 {
        self.pool().free()
    }

    /// What the table holds, as it stands under the sequencer's lock of `ledger`.
    #[must_use]
    pub fn counts(ledger: &Table) -> Counts {
        Counts::from_word(ledger.sequencer().counts())
    }

    /// How many buckets there are.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "made from 32 bits")]
    pub fn bucket_count(&self) -> u32 {
        self.index.elements().len() as u32
    }

    /// The rows: one for each worker that there can be, and one for the replica process.
    #[must_use]
    pub fn rows(&self) -> &[KvRow] {
        self.rows.elements()
    }

    pub(super) fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.index.elements().get(number as usize)
    }

    pub(super) fn blocks(&self) -> Blocks<'_> {
        Blocks(self.blocks.elements())
    }

    pub(super) fn pool(&self) -> Pool<'_> {
        Pool { header: self.index.root(), blocks: self.blocks(), rows: self.rows() }
    }

    /// Where `key` belongs.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "parts of a hash")]
    pub fn home(&self, key: &[u8]) -> Home {
        let [a, b] = [0, 1].map(|which| self.index.root().seeds[which].load(Ordering::Relaxed));
        // Two multiplications whose halves are folded for each 16 bytes, as wyhash does.
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let word = |bytes: &[u8]| u64::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)));
        let mixed = key.chunks(16).fold(a ^ key.len() as u64, |state, part| {
            fold(word(part) ^ b, word(part.get(8..).unwrap_or_default()) ^ state)
        });
        let hash = fold(mixed ^ b, a | 1);
        Home { bucket: (hash >> 32) as u32 & (self.bucket_count() - 1), hash: hash as u32 }
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "table_tests.rs"]
mod tests;
