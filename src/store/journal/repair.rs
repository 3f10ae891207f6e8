//! Repair of a damaged journal, which an operator must ask for: what is before the damage stays, what is behind it is moved into
//! quarantine, and nothing is deleted.

use std::fmt;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::error::{DiskError, Step};
use super::quarantine::Quarantine;
use super::record::{self, RECORD_BYTES};
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
    /// The folder of what was removed, if anything was.
    pub removed: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "the journal ends with record {}", self.end)
    }
}

/// Truncates the journal at the first damaged record, and moves what was behind it, and snapshots that hold it, into
/// `DATA/removed-{now}/`; `now` is in seconds since 1970. A damaged header that follows from the records is written anew.
///
/// Only while no server runs. May be interrupted anywhere and run again.
///
/// # Errors
/// [`RecoveryError::Disk`]; and [`RecoveryError::Corrupt`] where the first segment itself is damaged.
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
            self.report.end = self.truncate_at_damage(start, closed)?;
        }
        // After everything else: otherwise the damage would look like a torn tail when an interrupted repair is run again.
        if self.report.end < closed {
            self.quarantine(&shutdown_mark::path_of(self.directory))?;
        }
        self.move_snapshots()
    }

    /// Truncates the journal, which begins with record `start`, where it is damaged; gives the last record that is left.
    fn truncate_at_damage(&mut self, start: Lsn, closed: Lsn) -> Result<Lsn, RecoveryError> {
        let known = Known { closed, ..Known::default() };
        match recovery::scan(self.directory, start, known, |_| ()) {
            Ok(scanned) => Ok(scanned.end),
            Err(corrupt @ RecoveryError::Corrupt { lsn, .. }) if lsn == start && start > Lsn(1) => Err(corrupt),
            Err(RecoveryError::Corrupt { path, offset, lsn, damage }) => {
                self.say(format!("record {lsn}, byte {offset} of {}: {damage}", path.display()));
                self.truncate(lsn, &damage)?;
                let left = recovery::scan(self.directory, start, Known::default(), |_| ())?;
                if let Some(torn) = left.torn.filter(|torn| torn.from < lsn) {
                    // The damage was inside a write or an entry, which goes with it.
                    self.cut(torn.from)?;
                }
                Ok(left.end)
            }
            Err(other) => Err(other),
        }
    }

    /// Writes damaged headers anew where the records tell their contents: the checksum that the first record continues from is in the
    /// segment before, and the first record agrees with it.
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
            let bytes = segment.read_record(self.directory, first)?;
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
        let bytes = segment.read_record(self.directory, last)?;
        Ok(bytes.filter(|bytes| record::lsn_of(bytes) == last).map(|bytes| record::stored_crc(&bytes)))
    }

    /// Moves everything from record `lsn` on into quarantine.
    fn truncate(&mut self, lsn: Lsn, damage: &Damage) -> Result<(), RecoveryError> {
        let per_segment = self.directory.records_per_segment();
        let here = first_of(lsn, per_segment);
        let whole = matches!(damage, Damage::Header(_) | Damage::Missing);
        // From the newest on, so that an interruption leaves no gap.
        for first in segment::list(self.directory)?.into_iter().rev() {
            if first > here || (first == here && whole) {
                self.quarantine(&self.directory.segment_path(first))?;
            }
        }
        if whole { Ok(()) } else { self.cut_in_segment(lsn) }
    }

    /// Moves everything from record `lsn` on, which is there, into quarantine.
    fn cut(&mut self, lsn: Lsn) -> Result<(), RecoveryError> {
        let last = first_of(lsn, self.directory.records_per_segment());
        for first in segment::list(self.directory)?.into_iter().rev().filter(|&first| first > last) {
            self.quarantine(&self.directory.segment_path(first))?;
        }
        self.cut_in_segment(lsn)
    }

    /// Moves what is in the segment of record `lsn` from there on into quarantine.
    fn cut_in_segment(&mut self, lsn: Lsn) -> Result<(), RecoveryError> {
        let per_segment = self.directory.records_per_segment();
        let here = first_of(lsn, per_segment);
        let Some(segment) = Segment::open(self.directory, here)? else { return Ok(()) };
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

    /// Moves snapshots that hold what the journal no longer holds into quarantine; damaged ones stay.
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
