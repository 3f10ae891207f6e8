//! What lies in the table's three segments.

use crate::base::limits::MAX_WORKERS;
use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, RobustMutex, shared_struct};
use crate::store::journal::record::{BLOCK_BYTES, FIRST_BLOCK_BYTES, MAX_BLOCKS, NEXT_BLOCK_BYTES};

/// Version of the layout of all three segments; goes up with every change of a structure in them.
pub const LAYOUT_VERSION: u32 = 1;

/// Rows: one for each worker that there can be, and one for the replica process, as the ledger has them.
pub(super) const ROWS: usize = crate::store::ledger::table::REPLICA_ROW + 1;

/// Blocks beside those that keys may take: each process may have one chain that no bucket leads to yet, or any more.
/// In a model all values fit into one block.
#[allow(clippy::cast_possible_truncation, reason = "64")]
pub(super) const SPARE_BLOCKS: u32 =
    if cfg!(feature = "model") { ROWS as u32 } else { (MAX_WORKERS as u32 + 1) * MAX_BLOCKS };

/// Words of a block that hold key and value.
pub(super) const NEXT_WORDS: usize = NEXT_BLOCK_BYTES / 8;
/// The same of the first block of a chain.
pub(super) const FIRST_WORDS: usize = FIRST_BLOCK_BYTES / 8;
/// The words before those of the first block.
pub(super) const HEAD_WORDS: usize = NEXT_WORDS - FIRST_WORDS;

const _: () = assert!(HEAD_WORDS == 3 && FIRST_BLOCK_BYTES.is_multiple_of(8) && BLOCK_BYTES == 8 * (NEXT_WORDS + 1));

shared_struct! {
    /// What precedes the buckets.
    pub(super) struct IndexHeader, align 64, size 128; {
        /// Secret, new at every start: otherwise clients could choose keys that all fall into one bucket. Writer: the master, before the
        /// first worker.
        pub(super) seeds: [AtomicU64; 2],
        /// Blocks that keys may take. Writer: the master, before the first worker.
        pub(super) capacity: AtomicU32,
        reserved: AtomicU32,
        spare: [AtomicU64; 5],
        /// Guards the list of free blocks.
        pub(super) pool_lock: RobustMutex,
        /// The list of free blocks: how many there are, and the first one; see [`pool`](super::pool). Writer: the lock's holder.
        pub(super) free: AtomicU64,
        pool_line: [AtomicU64; 2],
    }
}

shared_struct! {
    /// A bucket of the index. Writer: the lock's holder.
    pub(super) struct Bucket, align 64, size 64; {
        pub(super) lock: RobustMutex,
        /// The first block of the first key in it, see [`Link`].
        pub(super) first: AtomicU32,
        reserved: AtomicU32,
        /// The last operation that changed it.
        pub(super) lsn: AtomicU64,
        spare: AtomicU64,
    }
}

shared_struct! {
    /// A block. Writer: the process whose row names its chain while it is filled; who holds the pool's lock, while it is free; of `next_key`, the
    /// holder of the bucket's lock.
    pub(super) struct Block, align 64, size BLOCK_BYTES; {
        /// The next block of the chain, or of the free list.
        pub(super) next: AtomicU32,
        /// Of a chain's first block: the first block of the next key in the bucket.
        pub(super) next_key: AtomicU32,
        /// Of a chain's first block the version, the lengths, hash and last block, then key and value; of the others key and value.
        pub(super) words: [AtomicU64; NEXT_WORDS],
    }
}

/// The number of a block as it stands in links; 0 stands for none.
pub(super) trait Link {
    /// The block that it leads to. Whoever sees a link that was set sees what was written into the chain before.
    fn target(&self) -> Option<u32>;

    /// Leads to `block` from now on.
    fn lead_to(&self, block: Option<u32>);
}

impl Link for AtomicU32 {
    fn target(&self) -> Option<u32> {
        // LINK-CHAIN: acquire.
        self.load(Ordering::Acquire).checked_sub(1)
    }

    fn lead_to(&self, block: Option<u32>) {
        // LINK-CHAIN: release.
        self.store(block.map_or(0, |block| block + 1), Ordering::Release);
    }
}
