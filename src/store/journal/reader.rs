//! Reads single records, for statements, listings and audits; also while a writer is at work.

use std::path::PathBuf;

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::record::{self, OperationRecord, Place, RECORD_BYTES, Record, RecordBytes, RecordError};
use super::segment::{self, CHUNK_BYTES, HeaderError, Segment, State, first_of, offset_of};
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
        let Some(bytes) = self.get_bytes(lsn)? else { return Ok(None) };
        let per_segment = self.directory.records_per_segment();
        let path = self.directory.segment_path(first_of(lsn, per_segment));
        let damaged = |why: RecordError| {
            let offset = offset_of(lsn, per_segment);
            ReadError::Damaged { lsn, path, offset, why: why.into() }
        };
        Record::decode(&bytes).map(Some).map_err(damaged)
    }

    /// The place of record `lsn`, with the term and index of its entry; `None` as of [`Reader::get`].
    pub fn place(&mut self, lsn: Lsn) -> Result<Option<Place>, ReadError> {
        Ok(self.get_bytes(lsn)?.as_ref().map(record::place_of))
    }

    /// The bytes of records `first` to `last`, in order, each whole and in its place; fewer where the journal ends before, or where they
    /// were removed. Each takes [`RECORD_BYTES`] of memory, so the caller asks for no more than it has room for.
    ///
    /// Of records that are truncated meanwhile, what comes may be damaged: ask only for what stays.
    pub fn records(&mut self, first: Lsn, last: Lsn) -> Result<Vec<RecordBytes>, ReadError> {
        let mut records: Vec<RecordBytes> = Vec::new();
        let per_segment = self.directory.records_per_segment();
        let mut next = first;
        while next <= last {
            // By itself the first of each piece, for the checksum that it continues from.
            let Some(bytes) = self.get_bytes(next)? else { break };
            records.push(bytes);
            let begin = first_of(next, per_segment);
            let end = last.0.min(begin.0 + per_segment - 1).min(next.0 + (CHUNK_BYTES / RECORD_BYTES) as u64);
            let more = usize::try_from(end - next.0).unwrap_or(0);
            let Some(segment) = self.segment(begin)? else { break };
            let mut buffer = vec![[0; RECORD_BYTES]; more];
            let offset = offset_of(next, per_segment) + RECORD_BYTES as u64;
            segment.file.read_at(buffer.as_flattened_mut(), offset).step("read", &segment.path)?;
            let mut chain = record::stored_crc(&bytes);
            for (lsn, bytes) in (next.0 + 1..).map(Lsn).zip(&buffer) {
                if *bytes == [0; RECORD_BYTES] {
                    return Ok(records);
                }
                if record::lsn_of(bytes) != lsn || !record::check(bytes, chain) {
                    let (path, offset) = (segment.path.clone(), offset_of(lsn, per_segment));
                    return Err(ReadError::Damaged { lsn, path, offset, why: Why::Checksum });
                }
                chain = record::stored_crc(bytes);
                records.push(*bytes);
            }
            next = Lsn(end + 1);
        }
        Ok(records)
    }

    /// The places of records `first` to `last`, as [`Reader::records`] has them.
    pub fn places(&mut self, first: Lsn, last: Lsn) -> Result<Vec<Place>, ReadError> {
        Ok(self.records(first, last)?.iter().map(record::place_of).collect())
    }

    /// The place of the last record of raft entry `index`, looked for in the records up to `last`; `None` where there is no such entry
    /// among those that are kept. Reads a few dozen records.
    pub fn end_of_entry(&mut self, index: u64, last: Lsn) -> Result<Option<Place>, ReadError> {
        let Some(oldest) = self.oldest()?.filter(|_| index > 0) else { return Ok(None) };
        // All before `low` are of entries up to `index`, all from `high` on of later ones.
        let (mut low, mut high) = (oldest.0, last.0 + 1);
        let mut found = None;
        while low < high {
            let middle = Lsn(low + (high - low) / 2);
            match self.place(middle)? {
                Some(place) if place.index <= index => {
                    (low, found) = (middle.0 + 1, Some(place));
                }
                // Not written, or of a later entry.
                _ => high = middle.0,
            }
        }
        Ok(found.filter(|place| place.index == index && place.ends_entry))
    }

    fn get_bytes(&mut self, lsn: Lsn) -> Result<Option<RecordBytes>, ReadError> {
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
        Ok(Some(bytes))
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

    fn step(&mut self) -> Result<Option<OperationRecord>, ReadError> {
        let lsn = self.next;
        let Some(record) = self.reader.get(lsn)? else {
            self.cut_off = lsn != Lsn(0);
            return Ok(None);
        };
        let not_of_account = ReadError::NotOfAccount { lsn, account: self.account };
        let Some(done) = record.into_operation().filter(OperationRecord::is_done) else { return Err(not_of_account) };
        let previous = match done.accounts {
            (first, _) if first == self.account => done.previous[0],
            (_, Some(second)) if second == self.account => done.previous[1],
            _ => return Err(not_of_account),
        };
        self.next = previous;
        Ok(Some(done))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<OperationRecord, ReadError>;

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

#[cfg(test)]
mod tests {
    use super::super::test_support::{ACCOUNTS, directory_on, one_by_one, place, record, segment_file};
    use super::*;
    use crate::store::journal::disk::Disk;

    #[test]
    fn a_record_is_read_where_it_is_and_only_there() {
        let disk = one_by_one(24);
        let mut reader = Reader::open(&directory_on(&disk));
        for lsn in (1..=24).rev().chain(1..=24) {
            assert_eq!(reader.get(Lsn(lsn)).unwrap(), Some(record(lsn).into()));
        }
        for lsn in [0, 25, 30, 31, 1_000_000] {
            assert_eq!(reader.get(Lsn(lsn)).unwrap(), None, "{lsn}");
        }
        assert_eq!(reader.oldest().unwrap(), Some(Lsn(1)));
        disk.remove(&segment_file(1)).unwrap();
        assert_eq!(Reader::open(&directory_on(&disk)).get(Lsn(10)).unwrap(), None);
        assert_eq!(reader.oldest().unwrap(), Some(Lsn(11)));
    }

    /// Record 14 once more, in the place of 15, with the checksum that is right there.
    fn a_repeated_record(bytes: &mut [u8], at: usize) {
        let mut again = record(14).encode();
        let before = bytes[at - RECORD_BYTES..].first_chunk().unwrap();
        record::seal(&mut again, Lsn(14), record::stored_crc(before));
        bytes[at..at + RECORD_BYTES].copy_from_slice(&again);
    }

    #[test]
    fn damage_is_named_with_its_place() {
        // Of the record, of its place in the order, of the record or the header that it continues from, and a file that ends within it.
        type Damage = fn(&mut Vec<u8>, usize);
        let damages: [(u64, Damage); 7] = [
            (15, |bytes, at| bytes[at + 40] ^= 1),
            (15, |bytes, at| bytes[at] ^= 1),
            (15, |bytes, at| bytes[at - 1] ^= 1),
            (11, |bytes, at| bytes[at - 4096 + 50] ^= 1),
            (15, |bytes, at| bytes.truncate(at + 127)),
            (15, |bytes, at| bytes.copy_within(at - 128..at, at)),
            (15, |bytes, at| a_repeated_record(bytes, at)),
        ];
        for (number, (lsn, damage)) in damages.into_iter().enumerate() {
            let disk = one_by_one(24);
            let (path, offset) = place(lsn);
            disk.tamper(&path, |bytes| damage(bytes, offset));
            let damaged = Reader::open(&directory_on(&disk)).get(Lsn(lsn)).unwrap_err();
            let named = matches!(&damaged, ReadError::Damaged { lsn: of, path: file, offset: at, .. }
                if (of.0, file, *at) == (lsn, &path, offset as u64));
            assert!(named, "{number}: {damaged}");
        }
    }

    #[test]
    fn a_walk_ends_at_the_account_s_first_record_or_where_the_journal_is_cut_off() {
        let disk = one_by_one(24);
        let account = AccountId(22 % ACCOUNTS);
        let walked = |from: u64| {
            let mut reader = Reader::open(&directory_on(&disk));
            let mut walk = reader.walk(account, Lsn(from));
            let records: Vec<_> = walk.by_ref().map(|record| record.map(|record| record.lsn.0).map_err(drop)).collect();
            (records, walk.next_lsn().0, walk.is_cut_off())
        };
        assert_eq!(walked(22), ([22, 18, 14, 10, 6, 2].map(Ok).to_vec(), 0, false));
        assert_eq!(walked(0), (vec![], 0, false));
        assert_eq!(walked(21), (vec![Err(())], 21, true), "that is another account's");
        disk.remove(&segment_file(1)).unwrap();
        assert_eq!(walked(22), ([22, 18, 14].map(Ok).to_vec(), 10, true));
    }

    #[test]
    fn no_more_segments_are_open_than_the_bound() {
        let disk = one_by_one(200);
        let mut reader = Reader::open(&directory_on(&disk));
        for lsn in (1..=200).chain(1..=200) {
            assert_eq!(reader.get(Lsn(lsn)).unwrap(), Some(record(lsn).into()));
        }
        let open: Vec<_> = reader.open.iter().map(|segment| segment.first.0).collect();
        assert_eq!(open, (41..200).step_by(10).collect::<Vec<_>>(), "those that were used last");
    }
}
