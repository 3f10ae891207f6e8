//! Segments: the files that hold the journal, `DATA/journal/{first LSN}.segment`.
//!
//! A segment is a block of 4096 bytes, the header, and room for a fixed number of records, so a record's place is
//! arithmetic. It is *prepared* ahead of need: its space is reserved, filled with zeros and synced, because a file that neither
//! grows nor changes its map is synced about twice as fast. It is *activated* by the first record that comes into it: the
//! header is written again, now with the checksum of the record before, and synced together with that record.
//!
//! All that a header says lies in its first 512 bytes, which a disk writes wholly or not at all. So a header is never torn,
//! and one that does not check is damage, whatever else is in the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use byteorder::{ByteOrder, LittleEndian};

use super::directory::{Directory, IDENTITY_BYTES, Identity};
use super::disk::{Blocks, DiskFile};
use super::error::{DiskError, Step, if_found};
use super::record::{RECORD_BYTES, RecordBytes};
use crate::base::limits::MAX_LSN;
use crate::base::vocab::Lsn;

/// Records of a segment, where the data directory does not say otherwise: 64 MiB.
pub const RECORDS_PER_SEGMENT: u64 = 1 << 19;
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 4096;
/// Bytes that are read or written in one call at most.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"VLTSEGMT";
const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + MAGIC.len();
const AT_ACTIVE: usize = AT_VERSION + 4;
const AT_IDENTITY: usize = AT_ACTIVE + 4;
const AT_FIRST: usize = AT_IDENTITY + IDENTITY_BYTES;
const AT_RECORDS: usize = AT_FIRST + 8;
const AT_PREVIOUS_CRC: usize = AT_RECORDS + 8;
const AT_CRC: usize = AT_PREVIOUS_CRC + 4;
const AT_ZEROS: usize = AT_CRC + 4;

const _: () = {
    assert!(AT_ZEROS <= 512, "one sector");
    assert!(HEADER_BYTES.is_multiple_of(512) && CHUNK_BYTES.is_multiple_of(RECORD_BYTES));
};

const RECORD_STRIDE: u64 = RECORD_BYTES as u64;

/// The first record of the segment that holds record `lsn`.
#[must_use]
pub fn first_of(lsn: Lsn, records_per_segment: u64) -> Lsn {
    debug_assert!(lsn.0 > 0);
    Lsn(lsn.0 - (lsn.0 - 1) % records_per_segment)
}

/// The byte in its segment where record `lsn` begins.
#[must_use]
pub fn offset_of(lsn: Lsn, records_per_segment: u64) -> u64 {
    debug_assert!(lsn.0 > 0);
    HEADER_BYTES as u64 + (lsn.0 - 1) % records_per_segment * RECORD_STRIDE
}

/// Bytes of a whole segment. On a real disk these are whole blocks.
#[must_use]
pub fn bytes_of_segment(records_per_segment: u64) -> u64 {
    HEADER_BYTES as u64 + records_per_segment * RECORD_STRIDE
}

/// The bytes from `from` to `to` in pieces of at most [`CHUNK_BYTES`]: the offset and the length of each.
pub(super) fn chunks(from: u64, to: u64) -> impl Iterator<Item = (u64, usize)> {
    let length = move |at| usize::try_from(to - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
    (from..to).step_by(CHUNK_BYTES).map(move |at| (at, length(at)))
}

/// The state of a segment, as its header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No record was ever synced into it.
    Prepared,
    /// A record was written into it, behind one with this checksum.
    Active {
        /// The checksum of the last record of the segment before, or where the chain starts.
        previous_crc: u32,
    },
}

/// Why a header is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file ends within it.
    #[error("the file ends within the header")]
    Short,
    /// Not the header of a segment.
    #[error("the header is not that of a segment")]
    Magic,
    /// The checksum is wrong, or bytes that are zero are not.
    #[error("the header's checksum is wrong")]
    Crc,
    /// Of a version that this program does not know.
    #[error("the segment is of format version {0}, and this program knows version {VERSION}")]
    Version(u32),
    /// Of another data directory.
    #[error("the segment belongs to another data directory")]
    Identity,
    /// The file is named after another record.
    #[error("the header says that its first record is {0}, the file's name says otherwise")]
    First(Lsn),
    /// Of another size.
    #[error("the segment has room for {0} records, unlike the others")]
    Records(u64),
    /// Neither prepared nor active.
    #[error("the header's state {0} is unknown")]
    State(u32),
}

/// The header block of the segment of `directory` that begins with record `first`.
pub(super) fn encode_header(directory: &Directory, first: Lsn, state: State) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[AT_MAGIC..AT_VERSION].copy_from_slice(MAGIC);
    LittleEndian::write_u32(&mut bytes[AT_VERSION..], VERSION);
    if let State::Active { previous_crc } = state {
        LittleEndian::write_u32(&mut bytes[AT_ACTIVE..], 1);
        LittleEndian::write_u32(&mut bytes[AT_PREVIOUS_CRC..], previous_crc);
    }
    bytes[AT_IDENTITY..AT_FIRST].copy_from_slice(directory.identity());
    LittleEndian::write_u64(&mut bytes[AT_FIRST..], first.0);
    LittleEndian::write_u64(&mut bytes[AT_RECORDS..], directory.records_per_segment());
    let crc = crc32fast::hash(&bytes[..AT_CRC]);
    LittleEndian::write_u32(&mut bytes[AT_CRC..], crc);
    bytes
}

/// Reads the header of the segment of `directory` that begins with record `first`.
pub(super) fn decode_header(directory: &Directory, first: Lsn, bytes: &[u8]) -> Result<State, HeaderError> {
    if bytes.len() < HEADER_BYTES {
        return Err(HeaderError::Short);
    }
    if &bytes[AT_MAGIC..AT_VERSION] != MAGIC {
        return Err(HeaderError::Magic);
    }
    // Before the checksum: another version may keep it elsewhere.
    let version = LittleEndian::read_u32(&bytes[AT_VERSION..]);
    if version != VERSION && crc32fast::hash(&bytes[..AT_CRC]) == LittleEndian::read_u32(&bytes[AT_CRC..]) {
        return Err(HeaderError::Version(version));
    }
    let crc = LittleEndian::read_u32(&bytes[AT_CRC..]);
    if crc != crc32fast::hash(&bytes[..AT_CRC]) || bytes[AT_ZEROS..HEADER_BYTES].iter().any(|&byte| byte != 0) {
        return Err(HeaderError::Crc);
    }
    let mut identity: Identity = [0; IDENTITY_BYTES];
    identity.copy_from_slice(&bytes[AT_IDENTITY..AT_FIRST]);
    if identity != *directory.identity() {
        return Err(HeaderError::Identity);
    }
    let found = Lsn(LittleEndian::read_u64(&bytes[AT_FIRST..]));
    if found != first {
        return Err(HeaderError::First(found));
    }
    let records = LittleEndian::read_u64(&bytes[AT_RECORDS..]);
    if records != directory.records_per_segment() {
        return Err(HeaderError::Records(records));
    }
    let previous_crc = LittleEndian::read_u32(&bytes[AT_PREVIOUS_CRC..]);
    match LittleEndian::read_u32(&bytes[AT_ACTIVE..]) {
        0 if previous_crc == 0 => Ok(State::Prepared),
        1 => Ok(State::Active { previous_crc }),
        other => Err(HeaderError::State(other)),
    }
}

/// An open segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: Lsn,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Opens the segment that begins with record `first`, if it is there.
    pub(super) fn open(directory: &Directory, first: Lsn) -> Result<Option<Self>, DiskError> {
        let path = directory.segment_path(first);
        let file = if_found(directory.disk().open(&path)).step("open", &path)?;
        Ok(file.map(|file| Segment { first, path, file }))
    }

    /// Reads the header.
    pub(super) fn header(&self, directory: &Directory) -> Result<Result<State, HeaderError>, DiskError> {
        let mut bytes = [0; HEADER_BYTES];
        let filled = self.file.read_at(&mut bytes, 0).step("read", &self.path)?;
        Ok(decode_header(directory, self.first, &bytes[..filled]))
    }

    /// Record `lsn` as it is in the file; `None` where the file ends before it does.
    pub(super) fn read_record(&self, directory: &Directory, lsn: Lsn) -> Result<Option<RecordBytes>, DiskError> {
        let mut bytes = [0; RECORD_BYTES];
        let offset = offset_of(lsn, directory.records_per_segment());
        let filled = self.file.read_at(&mut bytes, offset).step("read", &self.path)?;
        Ok((filled == RECORD_BYTES).then_some(bytes))
    }

    /// Writes the header; the caller must sync it.
    pub(super) fn write_header(&self, directory: &Directory, state: State) -> Result<(), DiskError> {
        self.file.write_at(&encode_header(directory, self.first, state), 0).step("write the header of", &self.path)
    }
}

/// The first records of all segments, in order. Other files of the folder are skipped; see [`misnamed`].
pub fn list(directory: &Directory) -> Result<Vec<Lsn>, DiskError> {
    let mut found: Vec<_> = names(directory)?.iter().filter_map(|name| first_by_name(directory, name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Files that are named like segments, but after a record that no segment begins with.
pub fn misnamed(directory: &Directory) -> Result<Vec<PathBuf>, DiskError> {
    let mut names = names(directory)?;
    names.retain(|name| name.ends_with(SUFFIX) && first_by_name(directory, name).is_none());
    Ok(names.into_iter().map(|name| directory.journal().join(name)).collect())
}

const SUFFIX: &str = ".segment";

fn names(directory: &Directory) -> Result<Vec<String>, DiskError> {
    let folder = directory.journal();
    directory.disk().list(&folder).step("list", &folder)
}

/// The first record of the segment of that name, if it is one. It is bounded, so no computation with it overflows.
fn first_by_name(directory: &Directory, name: &str) -> Option<Lsn> {
    let first = lsn_by_name(name, SUFFIX)?;
    (first.0 > 0 && first_of(first, directory.records_per_segment()) == first).then_some(first)
}

/// The record that a file is named after: 20 digits, then `suffix`.
pub(super) fn lsn_by_name(name: &str, suffix: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() == 20)?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    digits.parse().ok().filter(|&lsn| lsn <= MAX_LSN).map(Lsn)
}

/// The path of a segment until it is whole.
fn temporary(directory: &Directory) -> PathBuf {
    directory.journal().join("preparing.tmp")
}

/// Removes what an interrupted preparation has left.
pub(super) fn remove_unfinished(directory: &Directory) -> Result<(), DiskError> {
    let path = temporary(directory);
    if_found(directory.disk().remove(&path)).map(|_| ()).step("remove", &path)
}

/// Makes the segment that begins with record `first`, whole and durable; gives up between two writes when `stop` is set.
pub(super) fn prepare(directory: &Directory, first: Lsn, stop: &AtomicBool) -> Result<(), DiskError> {
    let path = temporary(directory);
    let made = write_zeros(directory, first, &path, stop).and_then(|whole| {
        if !whole {
            return Ok(());
        }
        let name = directory.segment_path(first);
        directory.disk().rename(&path, &name).step("put in place", &name)?;
        directory.sync(&directory.journal())
    });
    if made.is_err() || stop.load(Ordering::Relaxed) {
        // Gives the space back, if possible; the next preparation overwrites the file anyway.
        let _ = directory.disk().remove(&path);
    }
    made
}

/// Whether it was not stopped before the end.
fn write_zeros(directory: &Directory, first: Lsn, path: &Path, stop: &AtomicBool) -> Result<bool, DiskError> {
    let bytes = bytes_of_segment(directory.records_per_segment());
    let file = directory.disk().create(path).step("make", path)?;
    file.allocate(bytes).step("reserve the space of", path)?;
    file.write_at(&encode_header(directory, first, State::Prepared), 0).step("write", path)?;
    file.sync_data().step("sync", path)?;
    // Past the page cache, where nobody would read them.
    let file = directory.disk().open_direct(path).step("open", path)?;
    let mut blocks = Blocks::default();
    let zeros = blocks.of_length(CHUNK_BYTES);
    for (at, length) in chunks(HEADER_BYTES as u64, bytes) {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        file.write_at(&zeros[..length], at).step("write zeros into", path)?;
    }
    file.sync_all().step("sync", path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Cents;

    fn directory(home: &Path) -> Directory {
        let disk = Arc::new(crate::store::journal::disk::RealDisk);
        Directory::open_or_create_on(disk, home, 10, Cents::ZERO, 8).unwrap()
    }

    #[test]
    fn places_are_arithmetic() {
        let all: Vec<_> = (1..=9).map(|lsn| (first_of(Lsn(lsn), 4).0, offset_of(Lsn(lsn), 4))).collect();
        let block = |first| [4096, 4224, 4352, 4480].map(|offset| (first, offset));
        assert_eq!(all[..4], block(1));
        assert_eq!(all[4..8], block(5));
        assert_eq!(all[8], (9, 4096));
        assert_eq!(bytes_of_segment(RECORDS_PER_SEGMENT), (64 << 20) + 4096);
    }

    #[test]
    fn only_names_that_a_segment_can_have_are_taken_for_one() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(home.path());
        let last = MAX_LSN - (MAX_LSN - 1) % 8;
        let names = [
            ("00000000000000000001.segment".to_owned(), true),
            (format!("{last:020}.segment"), true),
            (format!("{:020}.segment", last + 8), false),
            ("18446744073709551609.segment".to_owned(), false),
            ("18446744073709551615.segment".to_owned(), false),
            ("99999999999999999999.segment".to_owned(), false),
            ("00000000000000000000.segment".to_owned(), false),
            ("00000000000000000002.segment".to_owned(), false),
            ("+0000000000000000009.segment".to_owned(), false),
            ("0000000000000000009.segment".to_owned(), false),
        ];
        names.iter().for_each(|(name, _)| std::fs::write(directory.journal().join(name), b"").unwrap());
        std::fs::write(directory.journal().join("notes"), b"").unwrap();
        assert_eq!(list(&directory).unwrap(), [Lsn(1), Lsn(last)]);
        let strange = misnamed(&directory).unwrap();
        let mut wanted: Vec<_> =
            names.iter().filter(|(_, ours)| !ours).map(|(name, _)| directory.journal().join(name)).collect();
        wanted.sort();
        assert_eq!(strange, wanted);
    }

    #[test]
    fn a_prepared_segment_is_whole_and_full_of_zeros() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(home.path());
        prepare(&directory, Lsn(9), &AtomicBool::new(false)).unwrap();
        let bytes = std::fs::read(directory.segment_path(Lsn(9))).unwrap();
        assert_eq!(bytes.len(), 4096 + 8 * 128);
        assert!(bytes[HEADER_BYTES..].iter().all(|&byte| byte == 0));
        assert_eq!(decode_header(&directory, Lsn(9), &bytes), Ok(State::Prepared));
        assert_eq!(list(&directory).unwrap(), [Lsn(9)], "and nothing else is left in the folder");
        assert_eq!(std::fs::read_dir(directory.journal()).unwrap().count(), 1);
        std::fs::write(temporary(&directory), b"half").unwrap();
        remove_unfinished(&directory).unwrap();
        remove_unfinished(&directory).unwrap();
        assert_eq!(std::fs::read_dir(directory.journal()).unwrap().count(), 1, "gone, and nothing else");
        prepare(&directory, Lsn(17), &AtomicBool::new(true)).unwrap();
        assert_eq!(std::fs::read_dir(directory.journal()).unwrap().count(), 1, "stopped before it was whole");
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(home.path());
        let state = State::Active { previous_crc: 0x1234_5678 };
        let bytes = encode_header(&directory, Lsn(9), state);
        assert_eq!(decode_header(&directory, Lsn(9), &bytes), Ok(state));
        for bit in 0..HEADER_BYTES * 8 {
            let mut wrong = bytes;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&directory, Lsn(9), &wrong).is_err(), "bit {bit}");
        }
        assert_eq!(decode_header(&directory, Lsn(17), &bytes), Err(HeaderError::First(Lsn(9))));
        assert_eq!(decode_header(&directory, Lsn(9), &bytes[..4095]), Err(HeaderError::Short));
    }
}
