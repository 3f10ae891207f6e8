//! A bucket under its lock, and the repair of what a dead holder left half done.
//!
//! A lock that comes back inherited names a bucket whose last holder died. If the operation of a dead process happened, names this bucket, and is
//! newer than it, the bucket is made what it is after it; otherwise nothing had changed. Anybody can do that again, so the next
//! holder repairs what a dead repairer left. Blocks are given back by the master alone ([`settle`](super::settle())).

use std::time::Duration;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::Lsn;
use crate::ipc::cells::{Acquired, Busy, Held, Ordering};
use crate::store::journal::record::blocks_of;
use crate::store::kv::chain::{Blocks, Entry};
use crate::store::kv::layout::{Bucket, Link};
use crate::store::kv::row::{Chain, Change};
use crate::store::kv::table::{Home, KvTable};
use crate::store::ledger::Table;

/// How often a thread that waits for a lock shows that it is alive.
const PATIENCE: Duration = Duration::from_millis(20);

/// A bucket whose lock this thread holds, in good order.
pub struct LockedBucket<'a> {
    bucket: &'a Bucket,
    blocks: Blocks<'a>,
    _held: Held<'a>,
}

/// A key that is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundKey {
    /// Its chain.
    pub chain: Chain,
    /// What it says.
    pub entry: Entry,
}

impl KvTable {
    /// Locks bucket `number`, and repairs it first when its last holder died; `None` where there is no such bucket. `ledger` is that of the same
    /// instance. While another holds the lock, `still_waiting` is called now and then, so that the caller can show that it is alive.
    pub fn lock<'a>(&'a self, ledger: &Table, number: u32, still_waiting: impl FnMut()) -> Option<LockedBucket<'a>> {
        let bucket = self.bucket(number)?;
        Some(self.repaired(ledger, number, bucket, bucket.lock.lock(PATIENCE, still_waiting)))
    }

    /// [`KvTable::lock`] without waiting.
    ///
    /// # Errors
    /// [`Busy`]: another holds it.
    pub(super) fn try_lock<'a>(&'a self, ledger: &Table, number: u32) -> Result<Option<LockedBucket<'a>>, Busy> {
        let Some(bucket) = self.bucket(number) else { return Ok(None) };
        Ok(Some(self.repaired(ledger, number, bucket, bucket.lock.try_lock()?)))
    }

    fn repaired<'a>(
        &'a self,
        ledger: &Table,
        number: u32,
        bucket: &'a Bucket,
        acquired: Acquired<'a>,
    ) -> LockedBucket<'a> {
        let held = match acquired {
            Acquired::Held(held) => held,
            Acquired::Inherited(inherited) => {
                self.repair(ledger, number, bucket);
                inherited.into_consistent()
            }
        };
        LockedBucket { bucket, blocks: self.blocks(), _held: held }
    }

    /// Repairs bucket `number`, whose lock the caller has inherited.
    #[cold]
    fn repair(&self, ledger: &Table, number: u32, bucket: &Bucket) {
        crash_point(CrashPoint::KvRepairInherited);
        // Several dead processes may have left changes of this bucket, each of them repaired by the next before that one died; such are
        // not newer than the bucket.
        while let Some((lsn, change)) = self.oldest_unapplied(ledger, number, bucket.lsn()) {
            bucket.carry_out(self.blocks(), lsn, &change);
            crash_point(CrashPoint::KvRepairLinked);
            bucket.stamp(lsn);
            crash_point(CrashPoint::KvRepairApplied);
        }
    }

    /// The oldest change of bucket `number` that happened and is newer than `applied`.
    fn oldest_unapplied(&self, ledger: &Table, number: u32, applied: Lsn) -> Option<(Lsn, Change)> {
        self.rows()
            .iter()
            .zip(ledger.rows())
            .filter_map(|(row, ledger_row)| {
                let change = row.change().filter(|change| change.bucket == number)?;
                Some((ledger.order().happened(&ledger_row.intent)?, change))
            })
            .filter(|(lsn, _)| *lsn > applied)
            .min_by_key(|(lsn, _)| *lsn)
    }
}

impl Bucket {
    fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }

    /// Says that the bucket is that after operation `lsn`, if it is not newer. After the change, since repair takes it for "done".
    fn stamp(&self, lsn: Lsn) {
        self.lsn.store(lsn.0.max(self.lsn().0), Ordering::Release);
    }

    /// The first block of each key, with the link that leads to it. No more than there are blocks, whatever the links say.
    fn keys<'a>(&'a self, blocks: Blocks<'a>) -> impl Iterator<Item = (&'a crate::ipc::cells::AtomicU32, u32)> {
        let mut link = Some(&self.first);
        std::iter::from_fn(move || {
            let here = link?;
            let first = here.target()?;
            link = blocks.get(first).map(|block| &block.next_key);
            Some((here, first))
        })
        .take(blocks.0.len())
    }

    /// Makes the bucket lead to what comes, and not to what goes, as operation `lsn` has it; once more does nothing.
    fn carry_out(&self, blocks: Blocks<'_>, lsn: Lsn, change: &Change) {
        let link_to = |chain: Chain| self.keys(blocks).find(|&(_, first)| first == chain.first).map(|(link, _)| link);
        let (place, behind) = match change.displaced.and_then(link_to) {
            Some(link) => {
                let displaced = link.target().and_then(|first| blocks.get(first));
                (link, displaced.and_then(|block| block.next_key.target()))
            }
            None if change.fresh.is_none_or(|fresh| link_to(fresh).is_some()) => return,
            None => (&self.first, self.first.target()),
        };
        match change.fresh {
            Some(fresh) => {
                blocks.set_version(fresh.first, lsn);
                if let Some(block) = blocks.get(fresh.first) {
                    block.next_key.lead_to(behind);
                    // Before the bucket leads there: a repairer takes what is linked for whole.
                    crash_point(CrashPoint::KvStamped);
                    place.lead_to(Some(fresh.first));
                }
            }
            None => place.lead_to(behind),
        }
    }
}

impl LockedBucket<'_> {
    /// The last operation that changed a key of the bucket; 0 for none.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.bucket.lsn()
    }

    /// Looks for `key`, which belongs to `home`, a place in this bucket.
    #[must_use]
    pub fn find(&self, home: Home, key: &[u8]) -> Option<FoundKey> {
        self.keys().find(|found| {
            let Entry { hash, key_bytes, .. } = found.entry;
            (hash, key_bytes) == (home.hash, key.len()) && self.blocks.is_of(found.chain.first, key)
        })
    }

    /// All keys of the bucket.
    pub fn keys(&self) -> impl Iterator<Item = FoundKey> {
        self.bucket.keys(self.blocks).filter_map(|(_, first)| {
            let entry = self.blocks.entry(first)?;
            let blocks = blocks_of(entry.key_bytes, entry.value_bytes);
            Some(FoundKey { chain: Chain { first, blocks }, entry })
        })
    }

    /// Appends a key to `into`, and behind it the first `value_bytes` bytes of its value.
    pub fn copy(&self, found: &FoundKey, value_bytes: usize, into: &mut Vec<u8>) {
        self.blocks.copy(found.chain.first, found.entry.key_bytes + value_bytes.min(found.entry.value_bytes), into);
    }

    /// Carries out `change`, which has happened as operation `lsn`.
    pub(super) fn carry_out(&self, lsn: Lsn, change: &Change) {
        self.bucket.carry_out(self.blocks, lsn, change);
        crash_point(CrashPoint::KvLinked);
        self.bucket.stamp(lsn);
        crash_point(CrashPoint::KvApplied);
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "bucket_tests.rs"]
mod tests;
