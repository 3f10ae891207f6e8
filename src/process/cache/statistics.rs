//! What the cache process shows of itself in shared memory.

use super::core::Counters;
use super::transfers::Passed;
use crate::ipc::layout::Counter;
use crate::store::cache_channel::CacheRow;

/// What the core counts, each where a successor counts on.
fn growing<'a>(row: &'a CacheRow, counters: &Counters) -> [(&'a Counter, u64); 14] {
    [
        (&row.hits, counters.hits),
        (&row.misses, counters.misses),
        (&row.stale, counters.stale),
        (&row.revalidated, counters.revalidated),
        (&row.coalesced, counters.coalesced),
        (&row.not_found, counters.not_found),
        (&row.errors, counters.errors),
        (&row.refused, counters.refused),
        (&row.renewed, counters.renewed),
        (&row.evicted, counters.evicted),
        (&row.purged, counters.purged),
        (&row.fetches, counters.fetches),
        (&row.failed_fetches, counters.failed_fetches),
        (&row.passed_through, counters.passed_through),
    ]
}

/// What the core has now.
fn levels<'a>(row: &'a CacheRow, counters: &Counters) -> [(&'a Counter, u64); 8] {
    [
        (&row.bytes, counters.bytes),
        (&row.spooled_bytes, counters.spooled_bytes),
        (&row.entries, counters.entries),
        (&row.negative_entries, counters.negative_entries),
        (&row.fetching, counters.fetching),
        (&row.queued, counters.queued),
        (&row.waiting, counters.waiting),
        (&row.reading, counters.reading),
    ]
}

/// Writes the row of the cache process.
pub struct Statistics {
    row: &'static CacheRow,
    /// What a predecessor had counted, in the order of [`growing`].
    before: [u64; 14],
    bytes_out_before: u64,
    passed_before: u64,
    /// What was written last.
    written: (Counters, u64, Passed),
}

impl Statistics {
    /// Goes on where a predecessor has ended; there is nothing yet.
    #[must_use]
    pub fn new(row: &'static CacheRow) -> Self {
        let nothing = Counters::default();
        levels(row, &nothing).into_iter().for_each(|(counter, value)| counter.set(value));
        let before = growing(row, &nothing).map(|(counter, _)| counter.get());
        let (bytes_out_before, passed_before) = (row.bytes_out.get(), row.descriptors_passed.get());
        Statistics { row, before, bytes_out_before, passed_before, written: (nothing, 0, Passed::default()) }
    }

    /// Writes what has changed; `filled` are bytes that were put into segments.
    pub fn write(&mut self, counters: Counters, filled: u64, passed: Passed) {
        if (counters, filled, passed) == self.written {
            return;
        }
        // Who sees that something was counted finds the levels as they are then, or later.
        levels(self.row, &counters).into_iter().for_each(|(counter, value)| counter.set(value));
        for ((counter, value), before) in growing(self.row, &counters).into_iter().zip(self.before) {
            counter.set(before.wrapping_add(value));
        }
        self.row.bytes_out.set(self.bytes_out_before.wrapping_add(filled).wrapping_add(passed.bytes));
        self.row.descriptors_passed.set(self.passed_before.wrapping_add(passed.descriptors));
        self.written = (counters, filled, passed);
    }
}
