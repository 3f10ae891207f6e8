//! The order of all operations: a word in shared memory that gives each its number.

use crate::base::defect::{self, Defect};
use crate::base::limits::MAX_LSN;
use crate::base::vocab::Lsn;
use crate::ipc::cells::{AtomicU64, Ordering};
use crate::store::ledger::intent::{Intent, Phase};

/// Bits of the word that count cuts; the other 52 count operations: 47 years at 3 million a second.
const EPOCH_BITS: u32 = 12;
/// How many cut numbers there are before they begin anew.
pub const EPOCHS: u32 = 1 << EPOCH_BITS;

const _: () = assert!(MAX_LSN == u64::MAX >> EPOCH_BITS, "the bits that are left");

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

/// The order word.
///
/// The number of operations and the number of cuts are one word, so that each operation is before or after a cut by its
/// number alone: a cut is a prefix of the order of operations.
pub struct Order<'a>(pub(super) &'a AtomicU64);

impl Order<'_> {
    /// Begins cut number `epoch`; gives the number of the last operation that comes before it.
    pub(super) fn begin_cut(&self, epoch: u32) -> Lsn {
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
    #[inline]
    #[must_use]
    pub fn now(&self) -> Stamp {
        // TAIL: acquire; a reader that sees an operation's number sees its record in the ring.
        Stamp::from_word(self.0.load(Ordering::Acquire))
    }

    /// Takes the next `count` numbers, for an operation of so many records; gives the last of them.
    #[inline]
    pub(super) fn take_next(&self, count: u64) -> Stamp {
        // TAIL: release. CUT: acquire.
        let before = Stamp::from_word(self.0.fetch_add(count << EPOCH_BITS, Ordering::AcqRel));
        Stamp { lsn: Lsn(before.lsn.0 + count), epoch: before.epoch }
    }

    /// Goes on after `lsn`; before any process takes a number.
    pub(super) fn begin_after(&self, lsn: Lsn) {
        self.0.store(lsn.0 << EPOCH_BITS, Ordering::Release);
    }

    /// Whether the operation of a dead worker's intent has happened, and as which number.
    #[must_use]
    pub fn happened(&self, intent: &Intent) -> Option<Lsn> {
        // The order is read first. A number that a dead worker had claimed and not reached goes to another operation only after
        // the claim was withdrawn. So a reader that still sees the claim has read the order from before.
        let early = defect::is(Defect::ClaimFirst).then(|| intent.phase());
        let last = self.now().lsn;
        match early.unwrap_or_else(|| intent.phase()) {
            Phase::Committed(lsn) => Some(lsn),
            Phase::Claimed(lsn) => (lsn <= last).then_some(lsn),
            Phase::Idle | Phase::Prepared => None,
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_cuts_do_not_touch_each_other() {
        let word = AtomicU64::new(0);
        let order = Order(&word);
        let at = |lsn, epoch| Stamp { lsn: Lsn(lsn), epoch };
        assert_eq!(order.now(), at(0, 0));
        assert_eq!(order.take_next(1), at(1, 0));
        assert_eq!((order.begin_cut(EPOCHS - 1), order.now()), (Lsn(1), at(1, EPOCHS - 1)));
        assert_eq!((order.take_next(1), order.now()), (at(2, EPOCHS - 1), at(2, EPOCHS - 1)));
        assert_eq!((order.begin_cut(5), order.take_next(1)), (Lsn(2), at(3, 5)));
        assert_eq!((order.begin_cut(0), order.now()), (Lsn(3), at(3, 0)));
        order.begin_after(Lsn(MAX_LSN - 1));
        assert_eq!((order.now(), order.begin_cut(EPOCHS - 1)), (at(MAX_LSN - 1, 0), Lsn(MAX_LSN - 1)));
        assert_eq!(order.take_next(1), at(MAX_LSN, EPOCHS - 1));
        assert_eq!(word.load(Ordering::Relaxed), u64::MAX, "all bits are in use");
    }
}
