//! The records of the log, from the ring as long as they are there, else from the segments.

use std::cell::RefCell;

use crate::base::vocab::Lsn;
use crate::ipc::cells::{Ordering, fence};
use crate::process::replica::core::Log;
use crate::process::replica::error::ReplicaError;
use crate::process::replica::log_reading::OlderEntries;
use crate::process::replica::peers::Records;
use crate::store::journal::record::{MAX_WRITE_RECORDS, RecordBytes, lsn_of, place_of, time_of, unseal};
use crate::store::journal::{ReadError, Reader};
use crate::store::ledger::Table;

/// The records of the log.
pub struct LogRecords {
    table: &'static Table,
    segments: RefCell<Reader>,
    older: RefCell<OlderEntries>,
}

impl LogRecords {
    /// Those of this instance.
    #[must_use]
    pub fn new(table: &'static Table, segments: Reader) -> Self {
        LogRecords { table, segments: RefCell::new(segments), older: RefCell::default() }
    }

    /// The record in the place of `lsn` in the ring, if it is still, or already, that record.
    #[must_use]
    pub fn in_ring(&self, lsn: Lsn) -> Option<RecordBytes> {
        let bytes = self.table.sequencer().record(lsn);
        (self.is_in_ring(lsn) && lsn_of(&bytes) == lsn).then_some(bytes)
    }

    /// Whether the places of `lsn` and of what follows were not written again until now.
    fn is_in_ring(&self, lsn: Lsn) -> bool {
        let sequencer = self.table.sequencer();
        // The records of an operation are written before its numbers are taken: behind the newest number, and not beyond the last that may
        // be given out. What is written beyond that, this process writes, as it moves the end of the log.
        fence(Ordering::Acquire);
        let newest = self.table.order().now().lsn.max(sequencer.log_end().unwrap_or_default());
        may_be_there(lsn, sequencer.capacity(), newest, sequencer.limit())
    }

    /// The time of the record at the end of the log, nanoseconds since 1970; 0 where there is none, or it is not here.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn last_time_ns(&self) -> Result<u64, ReadError> {
        let end = self.table.sequencer().log_end().unwrap_or_default();
        let mut last = Vec::new();
        if end > Lsn(0) {
            self.read_all(end, end, &mut last)?;
        }
        Ok(last.first().map_or(0, time_of))
    }

    /// The first record of the oldest segment.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn oldest(&self) -> Result<Option<Lsn>, ReadError> {
        self.segments.borrow().oldest()
    }

    /// Reads some of the entries that end with record `end` or before; what of them is complete, and whether there is more.
    ///
    /// # Errors
    /// A segment cannot be read, or the records are not those of a log.
    pub fn read_back(&self, end: Lsn) -> Result<Option<(Log, bool)>, ReplicaError> {
        self.older.borrow_mut().read_piece(&mut *self.segments.borrow_mut(), end)
    }

    /// Appends records `first` to `last` to `into`; `false` where one of them is not there.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn read_all(&self, first: Lsn, last: Lsn, into: &mut Vec<RecordBytes>) -> Result<bool, ReadError> {
        let mut lsn = first;
        while lsn <= last {
            if let Some(bytes) = self.in_ring(lsn) {
                into.push(bytes);
                lsn = Lsn(lsn.0 + 1);
                continue;
            }
            // What has left the ring is on disk. Of what follows, the last may not be there yet.
            let end = last.min(self.table.sequencer().on_disk().0);
            let records = if lsn > end { Vec::new() } else { self.segments.borrow_mut().records(lsn, end)? };
            if records.is_empty() {
                return Ok(false);
            }
            lsn = Lsn(lsn.0 + records.len() as u64);
            into.extend(records);
        }
        Ok(true)
    }
}

/// Whether the place of `lsn` in a ring of `capacity` was not written again, where `newest` has a number, and numbers up to `limit` may be
/// given out.
fn may_be_there(lsn: Lsn, capacity: u64, newest: Lsn, limit: Lsn) -> bool {
    let again = lsn.0 + capacity;
    newest.0 + MAX_WRITE_RECORDS < again || newest.0.max(limit.0) < again
}

impl LogRecords {
    /// Appends records `first` to `last` to `into` as they go to peers, if all of them are in the ring and of that entry; else nothing. This is
    /// the usual way of an entry, so it looks only once whether a place was written again meanwhile.
    fn copy_from_ring(&self, first: Lsn, last: Lsn, index: u64, term: u64, into: &mut Vec<u8>) -> bool {
        let begin = into.len();
        let sequencer = self.table.sequencer();
        let mut append = |lsn| {
            let mut bytes = sequencer.record(lsn);
            let place = place_of(&bytes);
            unseal(&mut bytes);
            into.extend_from_slice(&bytes);
            (place.lsn, place.index, place.term) == (lsn, index, term)
        };
        let fits = last.0 - first.0 < sequencer.capacity();
        let all = fits && (first.0..=last.0).map(Lsn).all(&mut append) && self.is_in_ring(first);
        if !all {
            into.truncate(begin);
        }
        all
    }
}

impl Records for LogRecords {
    fn read(&self, first: Lsn, last: Lsn, index: u64, term: u64, into: &mut Vec<u8>) -> Option<()> {
        if self.copy_from_ring(first, last, index, term, into) {
            return Some(());
        }
        let mut records = Vec::with_capacity(usize::try_from(last.0 - first.0 + 1).unwrap_or(0));
        match self.read_all(first, last, &mut records) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                log::error!("records {first} to {last} cannot be sent: {error}");
                return None;
            }
        }
        for mut bytes in records {
            let place = place_of(&bytes);
            if (place.index, place.term) != (index, term) {
                return None;
            }
            unseal(&mut bytes);
            into.extend_from_slice(&bytes);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_an_operation_without_number_may_write_is_not_read() {
        let ring = 65_536;
        let is_there = |lsn, newest, limit| may_be_there(Lsn(lsn), ring, Lsn(newest), Lsn(limit));
        // All that follows the newest number is written by an operation of the most records.
        let newest = 100_000;
        let first = newest + MAX_WRITE_RECORDS - ring;
        assert!(!is_there(first, newest, u64::MAX) && is_there(first + 1, newest, u64::MAX));
        // A full ring: what is not on disk is there, since nothing may be written in its place.
        let on_disk = newest - ring + 16;
        let limit = on_disk + ring - 16;
        assert!(is_there(on_disk + 1, newest, limit), "it has left nowhere else to be");
        assert!(!is_there(on_disk - 16, newest, limit), "the newest is in its place");
        // What this process itself writes beyond the limit, the end of the log, counts as well.
        assert!(!is_there(on_disk + 1, on_disk + 1 + ring, limit));
    }
}
