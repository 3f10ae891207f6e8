//! Walks over all keys: pages of a scan, and what a snapshot takes.

use std::collections::BinaryHeap;

use crate::base::vocab::Lsn;
use crate::ipc::cells::{Ordering, fence};
use crate::store::kv::bucket::{FoundKey, LockedBucket};
use crate::store::kv::layout::Link;
use crate::store::kv::table::KvTable;
use crate::store::ledger::Table;

/// Which keys a page is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Only keys that are not below this one, in byte order.
    pub from: Vec<u8>,
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// So many at most, at least one.
    pub limit: usize,
}

/// A key of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageEntry {
    /// The key.
    pub key: Vec<u8>,
    /// Its version.
    pub version: Lsn,
    /// Bytes of its value.
    pub value_bytes: u32,
}

/// The first keys that a request admits. Each is as it was at some moment of the walk: a page is not one cut of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// They, in byte order.
    pub entries: Vec<PageEntry>,
    /// Whether others follow.
    pub more: bool,
    /// No later operation is seen in it.
    pub shows: Lsn,
}

impl KvTable {
    /// Walks over all keys for a page. It takes some ten nanoseconds for each key and may wait for locks: not for event loops.
    #[must_use]
    pub fn page(&self, ledger: &Table, request: &PageRequest) -> Page {
        let mut smallest = BinaryHeap::new();
        let mut key = Vec::new();
        let from = request.from.as_slice().max(&request.prefix);
        self.visit(ledger, |bucket, found| {
            key.clear();
            bucket.copy(found, 0, &mut key);
            let is_small =
                smallest.len() <= request.limit || smallest.peek().is_some_and(|largest: &PageEntry| key < largest.key);
            if key.as_slice() >= from && key.starts_with(&request.prefix) && is_small {
                let value_bytes = u32::try_from(found.entry.value_bytes).unwrap_or(u32::MAX);
                smallest.push(PageEntry { key: key.clone(), version: found.entry.version, value_bytes });
                if smallest.len() > request.limit + 1 {
                    smallest.pop();
                }
            }
        });
        let mut entries = smallest.into_sorted_vec();
        let more = entries.len() > request.limit;
        entries.truncate(request.limit);
        Page { entries, more, shows: ledger.order().now().lsn }
    }

    /// Passes every key whose version is not above `cut` to `each`, with its version and value, and no lock held. A key that is written
    /// meanwhile may be missed.
    ///
    /// # Errors
    /// Those of `each`, at the first of which the walk ends.
    pub fn pairs<E>(
        &self,
        ledger: &Table,
        cut: Lsn,
        mut each: impl FnMut(&[u8], Lsn, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut bytes, mut found) = (Vec::new(), Vec::new());
        for number in 0..self.bucket_count() {
            bytes.clear();
            found.clear();
            let Some(bucket) = self.lock_if_used(ledger, number) else { continue };
            for key in bucket.keys().filter(|key| key.entry.version <= cut) {
                bucket.copy(&key, usize::MAX, &mut bytes);
                found.push(key.entry);
            }
            drop(bucket);
            let mut rest = bytes.as_slice();
            for entry in &found {
                let Some((key, behind)) = rest.split_at_checked(entry.key_bytes) else { break };
                let Some((value, behind)) = behind.split_at_checked(entry.value_bytes) else { break };
                rest = behind;
                each(key, entry.version, value)?;
            }
        }
        Ok(())
    }

    fn visit(&self, ledger: &Table, mut each: impl FnMut(&LockedBucket<'_>, &FoundKey)) {
        for number in 0..self.bucket_count() {
            if let Some(bucket) = self.lock_if_used(ledger, number) {
                bucket.keys().for_each(|found| each(&bucket, &found));
            }
        }
    }

    /// Locks bucket `number`, unless it leads to no key and nobody is at it.
    fn lock_if_used(&self, ledger: &Table, number: u32) -> Option<LockedBucket<'_>> {
        let bucket = self.bucket(number)?;
        // A write has its number before the bucket leads to its key, and the lock from before that until after it. So the lock is looked
        // at first: a cut that includes the write must not miss the key.
        let is_free = bucket.lock.is_free();
        // SCAN-FREE: acquire; who sees the lock given back sees what was linked under it.
        fence(Ordering::Acquire);
        if is_free && bucket.first.target().is_none() {
            return None;
        }
        self.lock(ledger, number, || ())
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "scan_tests.rs"]
mod tests;
