//! The log by index, from the records on disk: at a start its end, and what is older when there is time for it.
//!
//! A replica process whose predecessor died on the primary is waited for by all clients, so it reads no more than the core needs to go on.
//! What is older is of use only for peers that are behind.

use crate::base::vocab::Lsn;
use crate::process::replica::core::Log;
use crate::process::replica::error::ReplicaError;
use crate::process::replica::message::{EntryKind, EntryRange};
use crate::store::cluster::{Change, Commit};
use crate::store::journal::record::{Content, Place, RecordBytes, lsn_of, place_of};
use crate::store::journal::{ReadError, Reader, Record};

/// Records that a start reads before the first that the core needs. An entry has no more (`MAX_ENTRY_RECORDS`), so one ends among them.
const TAIL_RECORDS: u64 = 1 << 16;
/// Records that a start reads at once.
const READ_AT_ONCE: u64 = 1 << 14;
/// Records that are read in one turn of the loop, half a MiB: about a millisecond.
const PIECE_RECORDS: u64 = 1 << 12;
/// Records that the core is told of at once: twice as many as an entry can have, so that there is one that it does not know.
const WINDOW_RECORDS: u64 = 1 << 17;

/// Where records are read.
pub trait Records {
    /// The first that there is.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn oldest(&self) -> Result<Option<Lsn>, ReadError>;
    /// Records from `first` to `last`, or fewer of the first of them.
    ///
    /// # Errors
    /// One of them cannot be read.
    fn records(&mut self, first: Lsn, last: Lsn) -> Result<Vec<RecordBytes>, ReadError>;
}

impl Records for Reader {
    fn oldest(&self) -> Result<Option<Lsn>, ReadError> {
        Reader::oldest(self)
    }

    fn records(&mut self, first: Lsn, last: Lsn) -> Result<Vec<RecordBytes>, ReadError> {
        Reader::records(self, first, last)
    }
}

/// The end of the log, up to record `end`, from before what is committed and executed; and whether there is more before it.
///
/// # Errors
/// A segment cannot be read, or the records are not those of a log.
pub fn load_log(
    segments: &mut impl Records,
    end: Lsn,
    commit: Commit,
    executed: Lsn,
) -> Result<(Log, bool), ReplicaError> {
    let oldest = segments.oldest()?.unwrap_or(Lsn(1));
    let needed = commit.lsn.min(executed);
    let mut from = oldest.max(Lsn(needed.0.saturating_sub(TAIL_RECORDS)));
    loop {
        let mut builder = LogBuilder::new(from);
        let mut next = from;
        while next <= end {
            let last = Lsn(end.0.min(next.0 + READ_AT_ONCE - 1));
            next = builder.push_all(&segments.records(next, last)?, next)?;
        }
        let has_more = from > oldest && !builder.is_at_beginning;
        let log = builder.finish(end, commit);
        if log.base_last() <= needed || from == oldest {
            return Ok((log, has_more));
        }
        // An entry with more records than there can be.
        from = oldest;
    }
}

/// What is older than what the core knows, as it is read piece by piece.
#[derive(Debug, Default)]
pub struct OlderEntries {
    window: Option<Window>,
}

/// Records that are told to the core at once.
#[derive(Debug)]
struct Window {
    builder: LogBuilder,
    next: Lsn,
    end: Lsn,
    has_more: bool,
}

impl OlderEntries {
    /// Reads a piece of what is before `end`, the last record that the core does not know. What it is to be told, and whether there is more
    /// before that; nothing yet where further pieces belong to it.
    ///
    /// # Errors
    /// A segment cannot be read, or the records are not those of a log.
    pub fn read_piece(&mut self, segments: &mut impl Records, end: Lsn) -> Result<Option<(Log, bool)>, ReplicaError> {
        let kept = self.window.take().filter(|window| window.end == end);
        let mut window = match kept {
            Some(window) => window,
            None => match Window::before(segments, end)? {
                Some(window) => window,
                None => return Ok(Some((Log::new(0, 0, end), false))),
            },
        };
        let last = Lsn(end.0.min(window.next.0 + PIECE_RECORDS - 1));
        let records = segments.records(window.next, last)?;
        let is_trimmed = || Ok::<_, ReplicaError>(segments.oldest()?.is_none_or(|oldest| oldest > window.next));
        if records.is_empty() && is_trimmed()? {
            return Ok(None);
        }
        window.next = window.builder.push_all(&records, window.next)?;
        if window.next <= end {
            self.window = Some(window);
            return Ok(None);
        }
        let has_more = window.has_more && !window.builder.is_at_beginning;
        Ok(Some((window.builder.finish(end, Commit::default()), has_more)))
    }
}

impl Window {
    fn before(segments: &impl Records, end: Lsn) -> Result<Option<Window>, ReplicaError> {
        let Some(oldest) = segments.oldest()?.filter(|oldest| *oldest <= end) else { return Ok(None) };
        let from = oldest.max(Lsn((end.0 + 1).saturating_sub(WINDOW_RECORDS)));
        Ok(Some(Window { builder: LogBuilder::new(from), next: from, end, has_more: from > oldest }))
    }
}

/// Makes entries of records.
#[derive(Debug)]
struct LogBuilder {
    log: Option<Log>,
    /// The first record of the entry that is being read.
    first: Lsn,
    /// Whether nothing of the log is before what was read.
    is_at_beginning: bool,
}

impl LogBuilder {
    /// Of records from this one on.
    fn new(from: Lsn) -> LogBuilder {
        LogBuilder { log: None, first: from, is_at_beginning: from == Lsn(1) }
    }

    /// Takes records from `next` on; the one that comes after them.
    fn push_all(&mut self, records: &[RecordBytes], next: Lsn) -> Result<Lsn, ReplicaError> {
        if records.is_empty() {
            return Err(ReplicaError::Missing(next));
        }
        records.iter().try_for_each(|bytes| self.push(bytes))?;
        Ok(Lsn(next.0 + records.len() as u64))
    }

    fn push(&mut self, bytes: &RecordBytes) -> Result<(), ReplicaError> {
        let Place { lsn, term, index, ends_entry } = place_of(bytes);
        if index == 0 {
            // From before this instance had peers.
            (self.log, self.first, self.is_at_beginning) = (Some(Log::new(0, 0, lsn)), Lsn(lsn.0 + 1), true);
            return Ok(());
        }
        if !ends_entry {
            return Ok(());
        }
        let first = std::mem::replace(&mut self.first, Lsn(lsn.0 + 1));
        match &mut self.log {
            // It may be a part of an entry: then it is the last that is not known.
            None if !self.is_at_beginning => self.log = Some(Log::new(index, term, lsn)),
            log => {
                let log = log.get_or_insert_with(|| Log::new(0, 0, Lsn(0)));
                if index == FOUNDED.index + 1 && log.last_index() == 0 && log.last() > Lsn(0) {
                    *log = before_founding(log.last());
                }
                log.push(EntryRange { index, term, first, last: lsn, kind: kind_of(bytes)? })?;
            }
        }
        Ok(())
    }

    /// The log that ends with record `end`.
    fn finish(self, end: Lsn, commit: Commit) -> Log {
        let log = self.log.unwrap_or_else(|| Log::new(0, 0, end));
        let is_founded = log.last_index() == 0 && commit == Commit { lsn: log.last(), ..FOUNDED };
        if is_founded { before_founding(commit.lsn) } else { log }
    }
}

/// What the records of before a cluster was founded are in it, without the record they end with.
///
/// So whoever lacks them has not got entry 1, and cannot get it but by a snapshot. Where a cluster was founded by an earlier version these
/// records are no entry, and the first entry after them has index 1.
pub const FOUNDED: Commit = Commit { index: 1, lsn: Lsn(0) };
/// The term of that entry.
pub const FOUNDED_TERM: u64 = 1;

/// A log that has only what was before the cluster was founded.
fn before_founding(last: Lsn) -> Log {
    Log::new(FOUNDED.index, FOUNDED_TERM, last)
}

/// What an entry is whose last record this is.
fn kind_of(last: &RecordBytes) -> Result<EntryKind, ReplicaError> {
    let lsn = lsn_of(last);
    let record = Record::decode(last).map_err(|source| ReplicaError::Record { lsn, source })?;
    Ok(match &record.content {
        Content::Operation(_) | Content::KvHead(_) | Content::KvPiece(_) => EntryKind::Operations,
        Content::Term(_) => EntryKind::Term,
        Content::Membership(membership) => {
            Change::from_bytes(membership.payload.bytes()).map_or(EntryKind::Operations, EntryKind::Change)
        }
    })
}

#[cfg(test)]
#[path = "log_reading_tests.rs"]
mod tests;
