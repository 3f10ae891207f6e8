//! The row of a process: the blocks that no bucket leads to, because a write is under way.
//!
//! It stands beside the process' intent in the ledger, which says whether the operation has happened.

use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, shared_struct};
use crate::store::kv::layout::Link;

const IDLE: u32 = 0;
const ALLOCATING: u32 = 1;
const OWNING: u32 = 2;
const RELEASING: u32 = 3;

shared_struct! {
    /// One write in flight. Writer: its process, while that lives; once it is dead and collected, the master; of a stage that a dead holder of
    /// the pool's lock has left, who inherits that lock. All other fields are written before `stage`.
    pub struct KvRow, align 64, size 64; {
        stage: AtomicU32,
        /// The bucket that the write changes.
        bucket: AtomicU32,
        /// The chain that it fills, see [`Link`].
        fresh: AtomicU32,
        fresh_blocks: AtomicU32,
        /// The chain that it displaces.
        displaced: AtomicU32,
        displaced_blocks: AtomicU32,
        /// The word of the free list before the change that is under way, and after it.
        pool: [AtomicU64; 2],
        spare: [AtomicU64; 3],
    }
}

/// What a row's process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowStage {
    /// Nothing.
    Idle,
    /// It takes the fresh chain from the free list; it has it if the list says so.
    Allocating,
    /// The fresh chain is its own until the operation happens; then the displaced one is.
    Owning,
    /// It gives back the chain that it has; it has it until the list says otherwise.
    Releasing,
}

/// A chain of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first block.
    pub first: u32,
    /// How many there are.
    pub blocks: u32,
}

/// What a write does to its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bucket's number.
    pub bucket: u32,
    /// The chain that comes; `None` where a key goes.
    pub fresh: Option<Chain>,
    /// The chain that goes; `None` where a key comes.
    pub displaced: Option<Chain>,
}

impl KvRow {
    /// Names the bucket and what goes of it; `fresh` follows, where something comes.
    pub(super) fn prepare(&self, bucket: u32, displaced: Option<Chain>) {
        self.bucket.store(bucket, Ordering::Relaxed);
        set_chain((&self.fresh, &self.fresh_blocks), None);
        set_chain((&self.displaced, &self.displaced_blocks), displaced);
    }

    /// Says that nothing has to be allocated.
    pub(super) fn own(&self) {
        self.set_stage(OWNING);
    }

    /// Says that `fresh` is taken from the free list, whose word was `before` and becomes `after`. Holding the pool's lock.
    pub(super) fn begin_allocating(&self, fresh: Chain, [before, after]: [u64; 2]) {
        set_chain((&self.fresh, &self.fresh_blocks), Some(fresh));
        self.begin([before, after], ALLOCATING);
    }

    /// Says that a chain is given back to the free list, whose word was `before` and becomes `after`. Holding the pool's lock.
    pub(super) fn begin_releasing(&self, [before, after]: [u64; 2]) {
        self.begin([before, after], RELEASING);
    }

    fn begin(&self, pool: [u64; 2], stage: u32) {
        for (field, word) in self.pool.iter().zip(pool) {
            field.store(word, Ordering::Relaxed);
        }
        self.set_stage(stage);
    }

    /// Says that there is nothing that it has any more.
    pub(super) fn clear(&self) {
        self.set_stage(IDLE);
    }

    fn set_stage(&self, stage: u32) {
        // KV-ROW: release; a reader that sees the stage sees the other fields.
        self.stage.store(stage, Ordering::Release);
    }

    /// What the process is at.
    #[must_use]
    pub fn stage(&self) -> RowStage {
        // KV-ROW: acquire.
        match self.stage.load(Ordering::Acquire) {
            ALLOCATING => RowStage::Allocating,
            OWNING => RowStage::Owning,
            RELEASING => RowStage::Releasing,
            _ => RowStage::Idle,
        }
    }

    /// The word of the free list before the change that is under way.
    pub(super) fn pool_before(&self) -> u64 {
        self.pool[0].load(Ordering::Relaxed)
    }

    /// What the write does; `None` while it has done nothing, or is over.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        matches!(self.stage(), RowStage::Owning | RowStage::Releasing).then(|| Change {
            bucket: self.bucket.load(Ordering::Relaxed),
            fresh: chain((&self.fresh, &self.fresh_blocks)),
            displaced: chain((&self.displaced, &self.displaced_blocks)),
        })
    }
}

fn set_chain((first, blocks): (&AtomicU32, &AtomicU32), chain: Option<Chain>) {
    first.lead_to(chain.map(|chain| chain.first));
    blocks.store(chain.map_or(0, |chain| chain.blocks), Ordering::Relaxed);
}

fn chain((first, blocks): (&AtomicU32, &AtomicU32)) -> Option<Chain> {
    first.target().map(|first| Chain { first, blocks: blocks.load(Ordering::Relaxed) })
}
