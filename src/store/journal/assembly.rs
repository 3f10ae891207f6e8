//! Puts the records of a write together again.

use crate::base::vocab::Lsn;
use crate::store::journal::record::{Content, KvHead, KvPiece, MAX_WRITE_RECORDS, PIECE_BYTES, Record};

/// A write of which all records are there; a refusal has no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// Its first record.
    pub head: KvHead,
    data: Vec<u8>,
}

impl KvWrite {
    /// The key; empty where it was refused.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.data[..usize::from(self.head.key_bytes).min(self.data.len())]
    }

    /// The value; empty where it was refused, or a key goes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.data[usize::from(self.head.key_bytes).min(self.data.len())..]
    }
}

/// Why a record cannot follow those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A piece of no write.
    #[error("record {0} is a piece of a write, and the one before it does not lead there")]
    Orphan(Lsn),
    /// Something else where a piece should be.
    #[error("record {found} is no piece of the write that began with record {head}, which lacks some")]
    Unfinished {
        /// The write's first record.
        head: Lsn,
        /// What came.
        found: Lsn,
    },
    /// A piece that is too short or too long.
    #[error("record {0} is a piece of another length than the write that it is of needs")]
    Length(Lsn),
    /// A piece of another time than its head.
    #[error("record {0} is a piece of a write, and has another time than that")]
    Time(Lsn),
    /// A raft entry that does not have all of a write, or a piece that is of another entry than its head.
    #[error("record {0} is of a write that is not in one entry of the cluster's log")]
    Entry(Lsn),
}

/// Writes whose records come one after the other.
///
/// Where the first record that comes is a piece, its head was before what is looked at, and the whole operation is passed over.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    open: Option<Open>,
    before: Before,
}

/// A write that lacks pieces.
#[derive(Clone, Debug)]
struct Open {
    write: KvWrite,
    term: u64,
    index: u64,
}

/// What came before the record that comes next.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// So many pieces, which may be of an operation that began earlier.
    Pieces(u64),
    /// A whole operation, or the beginning of the journal.
    Operation,
}

impl Default for Before {
    fn default() -> Self {
        Before::Pieces(0)
    }
}

impl Assembly {
    /// Of records from the first one of a journal on: no operation can have begun before.
    #[must_use]
    pub fn from_the_first_record() -> Self {
        Assembly { open: None, before: Before::Operation }
    }

    /// Takes the next record; the write that is complete with it, if one is.
    ///
    /// # Errors
    /// [`AssemblyError`]; no writer has written such records.
    #[inline]
    pub fn take(&mut self, record: &Record) -> Result<Option<KvWrite>, AssemblyError> {
        match (&record.content, self.open.is_some()) {
            (Content::KvPiece(piece), true) => self.add(piece, record)?,
            (Content::KvPiece(piece), false) => self.pass_over(piece, record.ends_entry)?,
            (Content::KvHead(head), false) => {
                self.before = Before::Operation;
                let write = KvWrite { head: *head, data: Vec::with_capacity(head.data_bytes()) };
                self.open = Some(Open { write, term: record.term, index: record.index });
            }
            (_, true) => return Err(self.unfinished(record.lsn())),
            (_, false) => {
                self.before = Before::Operation;
                return Ok(None);
            }
        }
        let is_whole = |open: &mut Open| open.write.data.len() == open.write.head.data_bytes();
        match self.open.take_if(is_whole) {
            Some(open) => Ok(Some(open.write)),
            None if self.open.is_some() && record.ends_entry => Err(AssemblyError::Entry(record.lsn())),
            None => Ok(None),
        }
    }

    /// The first record of a write that lacks some, if there is one.
    #[must_use]
    pub fn open(&self) -> Option<Lsn> {
        self.open.as_ref().map(|open| open.write.head.lsn)
    }

    fn unfinished(&self, found: Lsn) -> AssemblyError {
        AssemblyError::Unfinished { head: self.open().unwrap_or_default(), found }
    }

    fn add(&mut self, piece: &KvPiece, record: &Record) -> Result<(), AssemblyError> {
        let Some(Open { write, term, index }) = &mut self.open else { return Ok(()) };
        if (record.term, record.index) != (*term, *index) {
            return Err(AssemblyError::Entry(piece.lsn));
        }
        if piece.time_ns != write.head.time_ns {
            return Err(AssemblyError::Time(piece.lsn));
        }
        let missing = write.head.data_bytes() - write.data.len();
        if piece.bytes().len() != missing.min(PIECE_BYTES) {
            return Err(AssemblyError::Length(piece.lsn));
        }
        write.data.extend_from_slice(piece.bytes());
        Ok(())
    }

    /// A piece whose head did not come.
    fn pass_over(&mut self, piece: &KvPiece, ends_entry: bool) -> Result<(), AssemblyError> {
        match self.before {
            Before::Pieces(count) if count + 1 < MAX_WRITE_RECORDS => {
                // Behind the last piece of an operation another one begins.
                let is_last = piece.bytes().len() < PIECE_BYTES || ends_entry;
                self.before = if is_last { Before::Operation } else { Before::Pieces(count + 1) };
                Ok(())
            }
            _ => Err(AssemblyError::Orphan(piece.lsn)),
        }
    }
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;
