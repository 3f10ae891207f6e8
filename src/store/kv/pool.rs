//! The list of free blocks, under one robust lock.
//!
//! The list is a chain like any other: its word says how many blocks it has and which is the first. One store to that word takes blocks
//! from its front, or puts a chain there. Before, the row of who does it says what the word was and becomes. So who inherits the lock
//! compares: the change was made or not, and nobody can have come in between.

use std::time::Duration;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::cells::{Acquired, Busy, Held, Ordering};
use crate::store::kv::chain::Blocks;
use crate::store::kv::layout::{IndexHeader, Link};
use crate::store::kv::row::{Chain, KvRow, RowStage};

/// How often a thread that waits for the lock shows that it is alive.
const PATIENCE: Duration = Duration::from_millis(20);

/// The list, and those who may be at it.
#[derive(Clone, Copy)]
pub(super) struct Pool<'a> {
    pub(super) header: &'a IndexHeader,
    pub(super) blocks: Blocks<'a>,
    pub(super) rows: &'a [KvRow],
}

/// The list whose lock this thread holds, in good order.
pub(super) struct LockedPool<'a> {
    pool: Pool<'a>,
    _held: Held<'a>,
}

/// The list's word.
#[derive(Clone, Copy)]
struct Free {
    count: u32,
    first: Option<u32>,
}

impl Free {
    #[allow(clippy::cast_possible_truncation, reason = "cut into its halves")]
    fn from_word(word: u64) -> Self {
        Free { count: (word >> 32) as u32, first: (word as u32).checked_sub(1) }
    }

    fn to_word(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.first.map_or(0, |first| first + 1))
    }
}

impl<'a> Pool<'a> {
    /// Makes all blocks free, in order; before anybody has part in the table.
    pub(super) fn fill(self) {
        let count = u32::try_from(self.blocks.0.len()).unwrap_or(u32::MAX);
        for (next, block) in (1..).zip(self.blocks.0) {
            block.next.lead_to(Some(next).filter(|&next| next < count));
        }
        let free = Free { count, first: Some(0).filter(|_| count > 0) };
        self.header.free.store(free.to_word(), Ordering::Release);
    }

    /// How many blocks are free, at some moment.
    pub(super) fn free(self) -> u32 {
        Free::from_word(self.header.free.load(Ordering::Acquire)).count
    }

    /// Takes the lock, and repairs what its last holder left when that died. `still_waiting` is called now and then while another has it.
    pub(super) fn lock(self, still_waiting: impl FnMut()) -> LockedPool<'a> {
        self.repaired(self.header.pool_lock.lock(PATIENCE, still_waiting))
    }

    /// [`Pool::lock`] without waiting.
    ///
    /// # Errors
    /// [`Busy`]: another holds it.
    pub(super) fn try_lock(self) -> Result<LockedPool<'a>, Busy> {
        Ok(self.repaired(self.header.pool_lock.try_lock()?))
    }

    fn repaired(self, acquired: Acquired<'a>) -> LockedPool<'a> {
        let held = match acquired {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                self.repair();
                inherited.into_consistent()
            }
        };
        LockedPool { pool: self, _held: held }
    }

    /// The last holder died. Only it can have been in the middle of a change; whether that was made, the list's word says.
    #[cold]
    fn repair(self) {
        let word = self.header.free.load(Ordering::Acquire);
        for row in self.rows {
            let is_made = row.pool_before() != word;
            match (row.stage(), is_made) {
                (RowStage::Allocating, true) | (RowStage::Releasing, false) => row.own(),
                (RowStage::Allocating, false) | (RowStage::Releasing, true) => row.clear(),
                (RowStage::Idle | RowStage::Owning, _) => {}
            }
        }
    }
}

impl LockedPool<'_> {
    /// Takes `blocks` blocks for `row`, at least one; `None` where there are not so many.
    pub(super) fn allocate(&self, row: &KvRow, blocks: u32) -> Option<Chain> {
        let Pool { header, blocks: all, .. } = self.pool;
        let word = header.free.load(Ordering::Relaxed);
        let free = Free::from_word(word);
        let first = free.first.filter(|_| free.count >= blocks)?;
        let mut last = first;
        for _ in 1..blocks {
            last = all.get(last)?.next.target()?;
        }
        let rest = Free { count: free.count - blocks, first: all.get(last)?.next.target() };
        all.set_last(first, last);
        let chain = Chain { first, blocks };
        row.begin_allocating(chain, [word, rest.to_word()]);
        crash_point(CrashPoint::KvAllocating);
        header.free.store(rest.to_word(), Ordering::Release);
        crash_point(CrashPoint::KvTaken);
        row.own();
        Some(chain)
    }

    /// Gives back `chain`, which `row` has; then `row` has none.
    pub(super) fn release(&self, row: &KvRow, chain: Chain) {
        let Pool { header, blocks, .. } = self.pool;
        let word = header.free.load(Ordering::Relaxed);
        let free = Free::from_word(word);
        // A chain without an end is not of this table, and nothing may lead from the list into it.
        let Some(last) = blocks.last(chain.first) else { return row.clear() };
        last.next.lead_to(free.first);
        let more = Free { count: free.count + chain.blocks, first: Some(chain.first) }.to_word();
        row.begin_releasing([word, more]);
        crash_point(CrashPoint::KvReleasing);
        header.free.store(more, Ordering::Release);
        crash_point(CrashPoint::KvGiven);
        row.clear();
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "pool_tests.rs"]
mod tests;
