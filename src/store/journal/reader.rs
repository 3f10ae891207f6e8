//! Reads single records, for statements, listings and audits; also while a writer is at work.

use std::path::PathBuf;

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::record::{self, RECORD_BYTES, Record, RecordBytes, RecordError};
use super::segment::{self, HeaderError, Segment, State, first_of, offset_of};
use crate::base::vocab::{AccountId, Lsn};

/// Segments that are kept open.
const OPEN_SEGMENTS: usize = 16;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is damaged.
    #[error("record {lsn}, byte {offset} of {}, is damaged: {why}; restart the server, to see what recovery says", path.display())]
    Damaged {
        /// The record.
        lsn: Lsn,
        /// The file.
        path: PathBuf,
        /// The byte in it.
        offset: u64,
        /// What is wrong with it.
        why: Why,
    },
    /// An account's chain of records leads to one that is not the account's.
    #[error("record {lsn} is said to have changed account {account}, and has not")]
    NotOfAccount {
        /// The record.
        lsn: Lsn,
        /// The account.
        account: AccountId,
    },
}

/// What is wrong with a damaged record.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// Its checksum, or its LSN.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its contents.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The header before it.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Reads single records. Only durable ones are sure to be whole.
#[derive(Debug)]
pub struct Reader {
    directory: Directory,
    /// The most recently used one is last.
    open: Vec<Segment>,
}

impl Reader {
    /// A reader of the journal under `directory`.
    #[must_use]
    pub fn open(directory: &Directory) -> Self {
        Reader { directory: directory.clone(), open: Vec::new() }
    }

    /// The first record of the oldest segment, if there is one.
    pub fn oldest(&self) -> Result<Option<Lsn>, ReadError> {
        Ok(segment::list(&self.directory)?.first().copied())
    }

    /// Record `lsn`; `None` where it is not written yet, or was removed with its segment.
    pub fn get(&mut self, lsn: Lsn) -> Result<Option<Record>, ReadError> {
        if lsn == Lsn(0) {
            return Ok(None);
        }
        let per_segment = self.directory.records_per_segment();
        let first = first_of(lsn, per_segment);
        let Some(segment) = self.segment(first)? else { return Ok(None) };
        let offset = offset_of(lsn, per_segment);
        let damaged = |why| ReadError::Damaged { lsn, path: segment.path.clone(), offset, why };
        let mut bytes: RecordBytes = [0; RECORD_BYTES];
        let filled = segment.file.read_at(&mut bytes, offset).step("read", &segment.path)?;
        if bytes == [0; RECORD_BYTES] {
            return Ok(None);
        }
        let chain = if lsn == first {
            match segment.header(&self.directory)?.map_err(|why| damaged(why.into()))? {
                State::Active { previous_crc } => previous_crc,
                // The header is written before the record.
                State::Prepared => return Err(damaged(Why::Checksum)),
            }
        } else {
            let before = segment.read_record(&self.directory, Lsn(lsn.0 - 1))?;
            record::stored_crc(&before.ok_or_else(|| damaged(Why::Checksum))?)
        };
        if filled < RECORD_BYTES || record::lsn_of(&bytes) != lsn || !record::check(&bytes, chain) {
            return Err(damaged(Why::Checksum));
        }
        Record::decode(&bytes).map(Some).map_err(|why| damaged(why.into()))
    }

    /// The records that changed `account`, newest first, from record `from` on, which must be one of them (0 for none).
    pub fn walk(&mut self, account: AccountId, from: Lsn) -> Walk<'_> {
        Walk { reader: self, account, next: from, cut_off: false }
    }

    fn segment(&mut self, first: Lsn) -> Result<Option<Segment>, DiskError> {
        let segment = match self.open.iter().position(|segment| segment.first == first) {
            Some(place) => self.open.remove(place),
            None => match Segment::open(&self.directory, first)? {
                Some(segment) => segment,
                None => return Ok(None),
            },
        };
        if self.open.len() == OPEN_SEGMENTS {
            self.open.remove(0);
        }
        self.open.push(segment.clone());
        Ok(Some(segment))
    }
}

/// An account's records, newest first.
#[derive(Debug)]
pub struct Walk<'a> {
    reader: &'a mut Reader,
    account: AccountId,
    next: Lsn,
    cut_off: bool,
}

impl Walk<'_> {
    /// The record that would come next; 0 after the account's first.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Whether the walk ended at a record that was removed, and not at the account's first.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    fn step(&mut self) -> Result<Option<Record>, ReadError> {
        let lsn = self.next;
        let Some(record) = self.reader.get(lsn)? else {
            self.cut_off = lsn != Lsn(0);
            return Ok(None);
        };
        let previous = match record.accounts {
            (first, _) if record.is_done() && first == self.account => record.previous[0],
            (_, Some(second)) if record.is_done() && second == self.account => record.previous[1],
            _ => return Err(ReadError::NotOfAccount { lsn, account: self.account }),
        };
        self.next = previous;
        Ok(Some(record))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Record, ReadError>;

    /// After an error, and where the journal is cut off, nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        if self.cut_off {
            return None;
        }
        let step = self.step();
        self.cut_off |= step.is_err();
        step.transpose()
    }
}
