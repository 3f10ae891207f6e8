//! The commit point: the one call that makes an operation have happened, and gives it its place in the order of all.
//!
//! Without a journal ([`MemoryOrder`]) the point is a store to the intent's phase word. A journal puts its ring in this
//! place: the record's append is the point then, and the same question, "did it happen?", is answered by the ring's tail.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::intent::{Intent, Phase};
use crate::vocab::Lsn;

/// Bits of the sequence word that count cuts; the other 52 count operations: 47 years at 3 million a second.
const EPOCH_BITS: u32 = 12;
/// How many cut numbers there are before they begin anew.
pub const EPOCHS: u32 = 1 << EPOCH_BITS;

/// An operation's place: its number, and the cut that it comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The operation's number.
    pub lsn: Lsn,
    /// The number of the last cut that was begun before it.
    pub epoch: u32,
}

impl Stamp {
    fn from_word(word: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "masked to 12 bits")]
        let epoch = (word & u64::from(EPOCHS - 1)) as u32;
        Stamp { lsn: Lsn(word >> EPOCH_BITS), epoch }
    }
}

/// The commit point of an operation whose accounts are all locked and whose intent is prepared.
pub trait CommitPoint {
    /// Makes the operation have happened. Numbers are given while the locks are held, so that each account's numbers rise.
    fn commit(&self, intent: &Intent) -> Stamp;

    /// Whether the operation of an intent that a dead worker left has happened, and as which number.
    fn happened(&self, intent: &Intent) -> Option<Lsn>;
}

/// Order by one word in shared memory, which all workers count up; nothing is written to disk.
///
/// The number of operations and the number of cuts are one word, so that each operation is before or after a cut by its
/// number alone: a cut is a prefix of the order of operations.
pub struct MemoryOrder<'a>(pub &'a AtomicU64);

impl MemoryOrder<'_> {
    /// Begins cut number `epoch`; gives the number of the last operation that comes before it.
    pub fn begin_cut(&self, epoch: u32) -> Lsn {
        debug_assert!(epoch < EPOCHS);
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let next = word & !u64::from(EPOCHS - 1) | u64::from(epoch);
            // CUT: release; an operation that sees the new cut sees all that was prepared for it.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Stamp::from_word(word).lsn,
                Err(seen) => word = seen,
            }
        }
    }

    /// The last operation and the last cut.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp::from_word(self.0.load(Ordering::Acquire))
    }
}

impl CommitPoint for MemoryOrder<'_> {
    #[inline]
    fn commit(&self, intent: &Intent) -> Stamp {
        // CUT: acquire.
        let before = Stamp::from_word(self.0.fetch_add(1 << EPOCH_BITS, Ordering::AcqRel));
        let lsn = Lsn(before.lsn.0 + 1);
        intent.commit(lsn);
        Stamp { lsn, epoch: before.epoch }
    }

    fn happened(&self, intent: &Intent) -> Option<Lsn> {
        match intent.phase() {
            Phase::Committed(lsn) => Some(lsn),
            Phase::Idle | Phase::Prepared => None,
        }
    }
}
