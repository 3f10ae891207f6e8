//! Going on with a damaged journal, when somebody has decided to: what is before the damage is kept, what is behind it is
//! moved aside, and nothing is thrown away.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Directory;
use super::disk::DiskFile;
use super::error::{DiskError, Step};
use super::record::{self, RECORD_BYTES, RecordBytes};
use super::recovery::{self, Damage, Known, RecoveryError};
use super::segment::{
    self, CHUNK_BYTES, HEADER_BYTES, HeaderError, Segment, State, bytes_of_segment, first_of, offset_of,
};
use super::snapshot::{self, Snapshot};
use crate::vocab::Lsn;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last record that is left.
    pub end: Lsn,
    /// What was wrong, and what was done about it, in order; empty when the journal was whole.
    pub done: Vec<String>,
    /// Where that is which was removed, if anything was.
    pub removed: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "the journal ends with record {}", self.end)
    }
}

/// Cuts the journal at the first record that is damaged, and moves what was behind it, and snapshots that hold it, into
/// `DATA/removed-{now}/`; `now` is in seconds since 1970. A header that can be known from the rest is written anew.
///
/// Only while no server runs. May be interrupted anywhere and run again.
///
/// # Errors
/// [`RecoveryError::Disk`]; and [`RecoveryError::Corrupt`] where not even the beginning of the journal can be relied on.
pub fn repair(directory: &Directory, now: u64) -> Result<Report, RecoveryError> {
    let folder = directory.path().join(format!("removed-{now}"));
    let mut repair = Repair { directory, folder, report: Report::default() };
    repair.rebuild_headers()?;
    let Some(&start) = segment::list(directory)?.first() else {
        repair.move_snapshots()?;
        return Ok(repair.report);
    };
    let end = match recovery::scan(directory, start, Known::default(), |_| ()) {
        Ok(scanned) => scanned.end,
        Err(corrupt @ RecoveryError::Corrupt { lsn, .. }) if lsn == start && start > Lsn(1) => return Err(corrupt),
        Err(RecoveryError::Corrupt { path, offset, lsn, damage }) => {
            repair.say(format!("record {lsn}, byte {offset} of {}: {damage}", path.display()));
            repair.cut(lsn, &damage)?;
            recovery::scan(directory, start, Known::default(), |_| ())?.end
        }
        Err(other) => return Err(other),
    };
    repair.report.end = end;
    repair.move_snapshots()?;
    Ok(repair.report)
}

struct Repair<'a> {
    directory: &'a Directory,
    folder: PathBuf,
    report: Report,
}

impl Repair<'_> {
    fn say(&mut self, line: String) {
        self.report.done.push(line);
    }

    /// Writes damaged headers anew where the records say what stood there: the checksum that the first record continues
    /// from is known from the segment before, and the first record agrees with it.
    fn rebuild_headers(&mut self) -> Result<(), RecoveryError> {
        for first in segment::list(self.directory)? {
            let Some(segment) = Segment::open(self.directory, first)? else { continue };
            let damaged = match segment.header(self.directory)? {
                Err(wrong @ (HeaderError::Magic | HeaderError::Crc)) => wrong,
                _ => continue,
            };
            let previous_crc = match self.crc_before(first)? {
                Some(crc) => crc,
                None => continue,
            };
            let bytes = read_record(self.directory, &segment, first)?;
            if !bytes.is_some_and(|bytes| record::lsn_of(&bytes) == first && record::check(&bytes, previous_crc)) {
                continue;
            }
            self.save(&segment, 0, HEADER_BYTES as u64, "header")?;
            segment.write_header(self.directory, State::Active { previous_crc })?;
            segment.file.sync_all().step("sync", &segment.path)?;
            self.say(format!("{}: {damaged}; it was written anew from what the records say", segment.path.display()));
        }
        Ok(())
    }

    /// The checksum before record `first` of a segment.
    fn crc_before(&self, first: Lsn) -> Result<Option<u32>, DiskError> {
        if first == Lsn(1) {
            return Ok(Some(self.directory.first_chain()));
        }
        let last = Lsn(first.0 - 1);
        let before = Segment::open(self.directory, first_of(last, self.directory.records_per_segment()))?;
        let Some(segment) = before else { return Ok(None) };
        let bytes = read_record(self.directory, &segment, last)?;
        Ok(bytes.filter(|bytes| record::lsn_of(bytes) == last).map(|bytes| record::stored_crc(&bytes)))
    }

    /// Moves aside what is behind the record before `lsn`.
    fn cut(&mut self, lsn: Lsn, damage: &Damage) -> Result<(), RecoveryError> {
        let per_segment = self.directory.records_per_segment();
        let here = first_of(lsn, per_segment);
        let whole = matches!(damage, Damage::Header(_) | Damage::Missing);
        // From the newest on, so that an interruption leaves no gap.
        for first in segment::list(self.directory)?.into_iter().rev() {
            if first > here || (first == here && whole) {
                self.move_aside(&self.directory.segment_path(first))?;
            }
        }
        let Some(segment) = Segment::open(self.directory, here)?.filter(|_| !whole) else { return Ok(()) };
        let offset = offset_of(lsn, per_segment);
        let end = self.end_of_contents(&segment, lsn)?;
        self.save(&segment, offset, end, "tail")?;
        let lost = (end - offset).div_ceil(RECORD_BYTES as u64);
        self.say(format!("{}: {lost} records from byte {offset} on were cut", segment.path.display()));
        if lsn == here {
            segment.write_header(self.directory, State::Prepared)?;
        }
        recovery::wipe(&segment, offset, bytes_of_segment(per_segment))?;
        Ok(())
    }

    /// The byte behind the last slot from `lsn` on that is not zero.
    fn end_of_contents(&self, segment: &Segment, lsn: Lsn) -> Result<u64, DiskError> {
        let per_segment = self.directory.records_per_segment();
        let mut end = offset_of(lsn, per_segment);
        let ended: ControlFlow<()> = recovery::read_slots(self.directory, segment, lsn, |at, contents| {
            if contents.is_some_and(|bytes| *bytes != [0; RECORD_BYTES]) {
                end = offset_of(at, per_segment) + RECORD_BYTES as u64;
            }
            ControlFlow::Continue(())
        })?;
        debug_assert!(ended.is_continue());
        // In a file that is too short, the last bytes may be part of a slot.
        let length = segment.file.len().step("measure", &segment.path)?;
        Ok(if length < bytes_of_segment(per_segment) { end.max(length) } else { end })
    }

    /// Moves snapshots aside that hold what the journal no longer does; damaged ones stay.
    fn move_snapshots(&mut self) -> Result<(), RecoveryError> {
        for lsn in snapshot::list(self.directory)? {
            let beyond = match Snapshot::open(self.directory, lsn)? {
                Ok(snapshot) => snapshot.newest > self.report.end,
                Err(_) => false,
            };
            if beyond {
                self.move_aside(&snapshot::path_of(self.directory, lsn))?;
            }
        }
        Ok(())
    }

    fn folder(&mut self) -> Result<&Path, DiskError> {
        if self.report.removed.is_none() {
            self.directory.disk().create_dir(&self.folder).step("make the directory", &self.folder)?;
            let parent = self.directory.path();
            self.directory.disk().sync_dir(parent).step("sync the directory", parent)?;
            self.report.removed = Some(self.folder.clone());
        }
        Ok(&self.folder)
    }

    fn move_aside(&mut self, path: &Path) -> Result<(), DiskError> {
        let to = self.folder()?.join(path.file_name().unwrap_or_default());
        let disk = self.directory.disk();
        disk.rename(path, &to).step("move aside", path)?;
        disk.sync_dir(&self.folder).step("sync the directory", &self.folder)?;
        let from = path.parent().unwrap_or(path);
        disk.sync_dir(from).step("sync the directory", from)?;
        self.say(format!("{} was moved to {}", path.display(), to.display()));
        Ok(())
    }

    /// Copies bytes of a segment into a file of their own, durably.
    fn save(&mut self, segment: &Segment, from: u64, to: u64, what: &str) -> Result<(), DiskError> {
        if from == to {
            return Ok(());
        }
        let name = format!("{:020}.{what}-from-byte-{from}", segment.first.0);
        let path = self.folder()?.join(name);
        let file: Arc<dyn DiskFile> = self.directory.disk().create(&path).step("make", &path)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = from;
        while at < to {
            let length = usize::try_from(to - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
            if filled == 0 {
                break;
            }
            file.write_at(&buffer[..filled], at - from).step("write", &path)?;
            at += filled as u64;
        }
        file.sync_all().step("sync", &path)?;
        self.directory.disk().sync_dir(&self.folder).step("sync the directory", &self.folder)?;
        self.say(format!("bytes {from} to {to} of {} were saved as {}", segment.path.display(), path.display()));
        Ok(())
    }
}

/// The bytes of record `lsn`, where the file has them.
fn read_record(directory: &Directory, segment: &Segment, lsn: Lsn) -> Result<Option<RecordBytes>, DiskError> {
    let mut bytes = [0; RECORD_BYTES];
    let offset = offset_of(lsn, directory.records_per_segment());
    let filled = segment.file.read_at(&mut bytes, offset).step("read", &segment.path)?;
    Ok((filled == RECORD_BYTES).then_some(bytes))
}
