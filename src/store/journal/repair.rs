//! Going on with a damaged journal, when somebody has decided to: what is before the damage is kept, what is behind it is
//! moved aside, and nothing is thrown away.

use std::fmt;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::quarantine::Quarantine;
use super::record::{self, RECORD_BYTES, RecordBytes};
use super::recovery::{self, Damage, Known, RecoveryError};
use super::segment::{self, HEADER_BYTES, HeaderError, Segment, State, bytes_of_segment, first_of, offset_of};
use super::shutdown_mark;
use super::snapshot::{self, Snapshot};
use crate::base::vocab::Lsn;

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
    let aside = Quarantine::new(directory, &format!("removed-{now}"));
    let mut repair = Repair { directory, aside, report: Report::default() };
    repair.run()?;
    let removed = repair.aside.made().map(Path::to_owned);
    Ok(Report { removed, ..repair.report })
}

struct Repair<'a> {
    directory: &'a Directory,
    aside: Quarantine<'a>,
    report: Report,
}

impl Repair<'_> {
    fn say(&mut self, line: String) {
        self.report.done.push(line);
    }

    fn run(&mut self) -> Result<(), RecoveryError> {
        self.rebuild_headers()?;
        let closed = match shutdown_mark::read(self.directory)? {
            Ok(closed) => closed,
            Err(damaged) => {
                self.say(damaged.to_string());
                Lsn(0)
            }
        };
        let segments = segment::list(self.directory)?;
        if let Some(&start) = segments.first() {
            self.report.end = self.cut_at_damage(start, closed)?;
        }
        // When all that it speaks of is cut: begun again after an interruption, the damage would else look like a torn tail.
        if self.report.end < closed {
            self.quarantine(&shutdown_mark::path_of(self.directory))?;
        }
        self.move_snapshots()
    }

    /// Cuts the journal, which begins with record `start`, where it is damaged; the last record that is left.
    fn cut_at_damage(&mut self, start: Lsn, closed: Lsn) -> Result<Lsn, RecoveryError> {
        let known = Known { closed, ..Known::default() };
        match recovery::scan(self.directory, start, known, |_| ()) {
            Ok(scanned) => Ok(scanned.end),
            Err(corrupt @ RecoveryError::Corrupt { lsn, .. }) if lsn == start && start > Lsn(1) => Err(corrupt),
            Err(RecoveryError::Corrupt { path, offset, lsn, damage }) => {
                self.say(format!("record {lsn}, byte {offset} of {}: {damage}", path.display()));
                self.cut(lsn, &damage)?;
                Ok(recovery::scan(self.directory, start, Known::default(), |_| ())?.end)
            }
            Err(other) => Err(other),
        }
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
                self.quarantine(&self.directory.segment_path(first))?;
            }
        }
        let Some(segment) = Segment::open(self.directory, here)?.filter(|_| !whole) else { return Ok(()) };
        let offset = offset_of(lsn, per_segment);
        let end = recovery::end_of_contents(self.directory, &segment, lsn)?;
        self.save(&segment, offset, end, "tail")?;
        let lost = (end - offset).div_ceil(RECORD_BYTES as u64);
        self.say(format!("{}: {lost} records from byte {offset} on were cut", segment.path.display()));
        if lsn == here {
            segment.write_header(self.directory, State::Prepared)?;
        }
        recovery::wipe(&segment, offset, bytes_of_segment(per_segment))?;
        Ok(())
    }

    /// Moves snapshots aside that hold what the journal no longer does; damaged ones stay.
    fn move_snapshots(&mut self) -> Result<(), RecoveryError> {
        for lsn in snapshot::list(self.directory)? {
            let beyond = match Snapshot::open(self.directory, lsn)? {
                Ok(snapshot) => snapshot.newest > self.report.end,
                Err(_) => false,
            };
            if beyond {
                self.quarantine(&snapshot::path_of(self.directory, lsn))?;
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, path: &Path) -> Result<(), DiskError> {
        let to = self.aside.move_in(path)?;
        self.say(format!("{} was moved to {}", path.display(), to.display()));
        Ok(())
    }

    /// Copies bytes of a segment into a file of their own, durably.
    fn save(&mut self, segment: &Segment, from: u64, to: u64, what: &str) -> Result<(), DiskError> {
        if from == to {
            return Ok(());
        }
        let name = format!("{:020}.{what}-from-byte-{from}", segment.first.0);
        let path = self.aside.copy_in(segment, from, to, &name)?;
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
