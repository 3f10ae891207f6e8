//! The data directory: what it is (`DATA/format`), which accounts it opened with, and where its files are.
//!
//! `format` is text that a person can read, one statement a line, with the checksum of all lines above as its last:
//!
//! ```text
//! bank-vault data 2
//! identity 6f0c…
//! records-per-segment 524288
//! accounts 10000 opening-cents 0
//! accounts 12000 opening-cents 5000
//! openings 17 checksum 5e6f7a8b
//! crc32 1b2c3d4e
//! ```
//!
//! Each `accounts` line is a step of growth: from the number of the line before up to its own, accounts opened with so much. An
//! `openings` line, if there is one, names the file `DATA/openings`: so many accounts of the first step opened with another balance each.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, BLOCK_BYTES, Disk, RealDisk};
use super::error::{DiskError, Step, not_found};
pub use super::identity::{IDENTITY_BYTES, Identity};
use super::openings::{self, Difference, Growth, Impossible, OpeningBalances, Openings, Seal};
use super::ownership::{self, OwnershipError};
use super::record::RECORD_BYTES;
use super::text;
use crate::base::limits::{MAX_ACCOUNTS, MAX_RECORDS_PER_SEGMENT};
use crate::base::vocab::{Cents, Lsn};

/// The version of all that is under the directory. Version 2 has more in what was reserved in records, and `openings`: whatever version 1
/// wrote is valid in it, so a start rewrites `format` and nothing else.
const VERSION: u32 = 2;
/// The oldest version that this program can read, and upgrade.
const OLDEST_VERSION: u32 = 1;
/// What the first line of `format` says before the version.
const TITLE: &str = "bank-vault data ";
/// The file that says what the directory is.
const FORMAT: &str = "format";
/// The file of the balances that accounts opened with one by one.
const OPENINGS: &str = "openings";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or directory could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is of another version of this program.
    #[error("{} is of format version {found}, and this program knows version {VERSION}; use the program that made it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Its text is damaged.
    #[error("{} is damaged: {why}; put it back from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Others can change it, or have put it there.
    #[error("{} is not trusted: {why}", path.display())]
    Untrusted {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        why: OwnershipError,
    },
    /// There is no `format`, but there are files of a journal.
    #[error("{} is missing, but {} holds files; put it back from a copy, or move those files away", path.display(), folder.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Where files are.
        folder: PathBuf,
    },
    /// Fewer accounts are wanted than there are.
    #[error("{} holds {found} accounts, and {wanted} are asked for; accounts can be added, never taken away", path.display())]
    FewerAccounts {
        /// The data directory.
        path: PathBuf,
        /// Accounts that it has.
        found: u32,
        /// Accounts that were asked for.
        wanted: u32,
    },
    /// The opening balances are beyond what 64 bits of cents can hold, or below zero, or there are too many accounts or none.
    #[error(
        "{accounts} accounts with {opening} each cannot be opened: 1 to {MAX_ACCOUNTS} accounts, and a total of 0 to {}, all \
         deposits so far included",
        Cents(i64::MAX)
    )]
    Opening {
        /// Accounts.
        accounts: u32,
        /// What each is to open with.
        opening: Cents,
    },
    /// The accounts were opened otherwise than is asked for now.
    #[error(
        "{} was not opened with the balances of --opening-balances: {}; they count at the first start only, so leave the option out, \
         or choose another directory with --data", path.display(), Opened(difference)
    )]
    OtherOpenings {
        /// The data directory.
        path: PathBuf,
        /// The first account that differs.
        difference: Difference,
    },
    /// The kernel gave no random bytes.
    #[error("cannot draw an identity for a new data directory: {0}")]
    Random(getrandom::Error),
}

/// Says how an account was opened, and how it would have been.
struct Opened<'a>(&'a Difference);

impl fmt::Display for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { account, opened, listed } = self.0;
        match opened {
            Some(opened) => write!(f, "account {account} opened with {opened}, and would have with {listed}"),
            None => write!(f, "account {account} was not there"),
        }
    }
}

/// The contents of the file `format`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Format {
    version: u32,
    identity: Identity,
    records_per_segment: u64,
    steps: Vec<Growth>,
    /// The file `openings`, if there is one.
    listed: Option<Seal>,
}

impl Format {
    fn to_text(&self) -> String {
        let mut lines = format!("{TITLE}{}\nidentity {}\n", self.version, hexadecimal(&self.identity));
        // Writing to a String cannot fail.
        _ = writeln!(lines, "records-per-segment {}", self.records_per_segment);
        for Growth { accounts, opening } in &self.steps {
            _ = writeln!(lines, "accounts {accounts} opening-cents {}", opening.0);
        }
        if let Some(Seal { count, checksum }) = self.listed {
            _ = writeln!(lines, "openings {count} checksum {checksum:08x}");
        }
        text::seal(lines)
    }

    fn from_text(path: &Path, text: &str) -> Result<Self, DirectoryError> {
        let damaged = |why| DirectoryError::Damaged { path: path.to_owned(), why };
        let (title, _) = text.split_once('\n').ok_or_else(|| damaged("it has no whole line"))?;
        let version = title.strip_prefix(TITLE).ok_or_else(|| damaged("it does not say what it is"))?;
        // Before the checksum: another version may end otherwise.
        let Some(version) = (OLDEST_VERSION..=VERSION).find(|known| version == known.to_string()) else {
            return Err(DirectoryError::Version { path: path.to_owned(), found: version.to_owned() });
        };
        let lines = text::unseal(text).map_err(damaged)?;
        Self::from_lines(version, lines)
            .ok_or_else(|| damaged("a line is not as it should be, although its checksum is right"))
    }

    fn from_lines(version: u32, text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let digits = lines.next()?.strip_prefix("identity ")?;
        let mut identity = [0; IDENTITY_BYTES];
        if digits.len() != 2 * IDENTITY_BYTES {
            return None;
        }
        for (place, byte) in identity.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        let records_per_segment = lines.next()?.strip_prefix("records-per-segment ")?.parse().ok()?;
        let within = (1..=MAX_RECORDS_PER_SEGMENT).contains(&records_per_segment);
        let (mut steps, mut listed) = (Vec::new(), None);
        for line in lines {
            if let Some(seal) = line.strip_prefix("openings ").filter(|_| listed.is_none()) {
                let (count, checksum) = seal.split_once(" checksum ")?;
                listed = Some(Seal { count: count.parse().ok()?, checksum: u32::from_str_radix(checksum, 16).ok()? });
                continue;
            }
            let (accounts, opening) = line.strip_prefix("accounts ")?.split_once(" opening-cents ")?;
            steps.push(Growth { accounts: accounts.parse().ok()?, opening: Cents(opening.parse().ok()?) });
        }
        if version == 1 && listed.is_some() {
            return None;
        }
        let format = Format { version, identity, records_per_segment, steps, listed };
        // A number written in another way, such as `+1`, was not written by this program.
        (within && format.to_text().starts_with(text)).then_some(format)
    }

    /// What the accounts opened with.
    fn openings(&self, disk: &dyn Disk, data: &Path) -> Result<Openings, DirectoryError> {
        let damaged = |path, why| DirectoryError::Damaged { path, why };
        let impossible = "a line is not as it should be, although its checksum is right";
        let mut listed = OpeningBalances::default();
        if let Some(seal) = self.listed {
            // Before memory is taken for them.
            if self.steps.first().is_none_or(|step| seal.count > step.accounts) {
                return Err(damaged(data.join(FORMAT), impossible));
            }
            let path = data.join(OPENINGS);
            listed = openings::read(disk, &path, &self.identity, seal)?.map_err(|why| damaged(path, why))?;
        }
        let openings = Openings::of_steps(self.steps.clone(), listed);
        openings.map_err(|Impossible| damaged(data.join(FORMAT), impossible))
    }
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    format: Format,
    openings: Openings,
    upgraded_from: Option<u32>,
}

/// An opened data directory, whose journal is not recovered yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

impl Directory {
    /// Opens `data`, or makes it, with `accounts` accounts. Accounts that are new open with `opening` each.
    pub fn open_or_create(
        data: &Path,
        accounts: u32,
        opening: Cents,
        records_per_segment: u64,
    ) -> Result<Self, DirectoryError> {
        check_ownership(data, false)?;
        Self::open_or_create_on(Arc::new(RealDisk), data, accounts, opening, whole_blocks(records_per_segment))
    }

    /// [`Directory::open_or_create`] on another disk, and with segments of so many records where it is made anew.
    pub fn open_or_create_on(
        disk: Arc<dyn Disk>,
        data: &Path,
        accounts: u32,
        opening: Cents,
        records_per_segment: u64,
    ) -> Result<Self, DirectoryError> {
        Self::make(disk, data, accounts, opening, None, records_per_segment)
    }

    /// [`Directory::open_or_create`], where accounts that `listed` has open with what it says. A directory that is there must have been
    /// opened so.
    pub fn open_or_create_with(
        data: &Path,
        accounts: u32,
        opening: Cents,
        listed: &OpeningBalances,
        records_per_segment: u64,
    ) -> Result<Self, DirectoryError> {
        check_ownership(data, false)?;
        Self::make(Arc::new(RealDisk), data, accounts, opening, Some(listed), whole_blocks(records_per_segment))
    }

    pub(super) fn make(
        disk: Arc<dyn Disk>,
        data: &Path,
        accounts: u32,
        opening: Cents,
        listed: Option<&OpeningBalances>,
        records_per_segment: u64,
    ) -> Result<Self, DirectoryError> {
        for folder in [data.to_owned(), data.join("journal"), data.join("snapshot")] {
            disk.create_dir(&folder).step("make the directory", &folder)?;
        }
        let path = data.join(FORMAT);
        let impossible = |Impossible| DirectoryError::Opening { accounts, opening };
        let Some(text) = read(&*disk, &path)? else {
            let listed = listed.cloned().unwrap_or_default();
            let openings = Openings::begin(accounts, opening, listed).map_err(impossible)?;
            let mut format = Self::new_format(&*disk, data, records_per_segment)?;
            if !openings.listed().is_empty() {
                let path = data.join(OPENINGS);
                format.listed = Some(openings::write(&*disk, &path, &format.identity, openings.listed())?);
            }
            return Self::write(disk, data, format, openings);
        };
        let format = Format::from_text(&path, &text)?;
        let mut openings = format.openings(&*disk, data)?;
        if let Some(listed) = listed {
            check_openings(data, &openings, listed)?;
        }
        let found = openings.accounts();
        if accounts < found {
            return Err(DirectoryError::FewerAccounts { path: data.to_owned(), found, wanted: accounts });
        }
        if accounts > found {
            openings.grow(accounts, opening).map_err(impossible)?;
        }
        if accounts > found || format.version < VERSION {
            return Self::write(disk, data, format, openings);
        }
        Ok(Directory(Arc::new(Inner { disk, path: data.to_owned(), format, openings, upgraded_from: None })))
    }

    /// Writes `format` with the steps of `openings`, durably.
    fn write(disk: Arc<dyn Disk>, data: &Path, mut format: Format, openings: Openings) -> Result<Self, DirectoryError> {
        openings.steps().clone_into(&mut format.steps);
        let upgraded_from = (format.version < VERSION).then_some(format.version);
        format.version = VERSION;
        let path = data.join(FORMAT);
        disk::replace(&*disk, &path, format.to_text().as_bytes()).step("write", &path)?;
        if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).step("sync the directory", parent)?;
        }
        Ok(Directory(Arc::new(Inner { disk, path: data.to_owned(), format, openings, upgraded_from })))
    }

    /// Opens an existing `data`, to read or to repair it.
    pub fn open(data: &Path) -> Result<Self, DirectoryError> {
        check_ownership(data, true)?;
        Self::open_on(Arc::new(RealDisk), data)
    }

    /// [`Directory::open`] on another disk.
    pub fn open_on(disk: Arc<dyn Disk>, data: &Path) -> Result<Self, DirectoryError> {
        let path = data.join(FORMAT);
        let text = read(&*disk, &path)?.ok_or_else(not_found).step("read", &path)?;
        let format = Format::from_text(&path, &text)?;
        let openings = format.openings(&*disk, data)?;
        Ok(Directory(Arc::new(Inner { disk, path: data.to_owned(), format, openings, upgraded_from: None })))
    }

    fn new_format(disk: &dyn Disk, data: &Path, records_per_segment: u64) -> Result<Format, DirectoryError> {
        let within = (1..=MAX_RECORDS_PER_SEGMENT).contains(&records_per_segment);
        assert!(within, "a segment has room for a record, and not for more than settings allow");
        for folder in [data.join("journal"), data.join("snapshot")] {
            if !disk.list(&folder).step("list", &folder)?.is_empty() {
                return Err(DirectoryError::Missing { path: data.join(FORMAT), folder });
            }
        }
        // Of a first start that was interrupted.
        if disk.list(data).step("list", data)?.iter().any(|name| name == OPENINGS) {
            let path = data.join(OPENINGS);
            disk.remove(&path).step("remove", &path)?;
        }
        let mut identity = [0; IDENTITY_BYTES];
        getrandom::fill(&mut identity).map_err(DirectoryError::Random)?;
        Ok(Format { version: VERSION, identity, records_per_segment, steps: Vec::new(), listed: None })
    }

    /// The accounts and what they opened with.
    #[must_use]
    pub fn openings(&self) -> &Openings {
        &self.0.openings
    }

    /// Whether a first start with `listed` would have opened the accounts so.
    pub fn check_openings(&self, listed: &OpeningBalances) -> Result<(), DirectoryError> {
        check_openings(&self.0.path, &self.0.openings, listed)
    }

    /// The version that it was of before it was opened, if that made it one of this program's version.
    #[must_use]
    pub fn upgraded_from(&self) -> Option<u32> {
        self.0.upgraded_from
    }

    /// What is at `path`, of the same identity, accounts and segments: files of it that are written there can take the place of this one's.
    pub(super) fn rooted_at(&self, path: PathBuf) -> Directory {
        let Inner { disk, format, openings, .. } = &*self.0;
        let (disk, format, openings) = (Arc::clone(disk), format.clone(), openings.clone());
        Directory(Arc::new(Inner { disk, path, format, openings, upgraded_from: None }))
    }

    /// The directory's random number.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.format.identity
    }

    /// The checksum that the first record covers in place of a predecessor's.
    #[must_use]
    pub fn first_chain(&self) -> u32 {
        crc32fast::hash(self.identity())
    }

    /// Records of a segment.
    #[must_use]
    pub fn records_per_segment(&self) -> u64 {
        self.0.format.records_per_segment
    }

    /// The data directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where the segments are.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.path.join("journal")
    }

    /// Where the snapshots are.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.0.path.join("snapshot")
    }

    /// The file of the segment that begins with record `first`.
    #[must_use]
    pub fn segment_path(&self, first: Lsn) -> PathBuf {
        self.journal().join(format!("{:020}.segment", first.0))
    }

    /// The disk that it is on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    /// Makes the names in `folder` durable.
    pub(super) fn sync(&self, folder: &Path) -> Result<(), DiskError> {
        self.disk().sync_dir(folder).step("sync the directory", folder)
    }

    /// Removes a file, not yet durably.
    pub(super) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.disk().remove(path).step("remove", path)
    }
}

fn check_openings(data: &Path, openings: &Openings, listed: &OpeningBalances) -> Result<(), DirectoryError> {
    match openings.difference(listed) {
        Some(difference) => Err(DirectoryError::OtherOpenings { path: data.to_owned(), difference }),
        None => Ok(()),
    }
}

/// So many records and a few more: whole blocks, which writes past the page cache are made of.
fn whole_blocks(records_per_segment: u64) -> u64 {
    records_per_segment.next_multiple_of((BLOCK_BYTES / RECORD_BYTES) as u64)
}

/// Refuses a directory that others could have changed.
fn check_ownership(data: &Path, is_tool: bool) -> Result<(), DirectoryError> {
    ownership::check(data, is_tool)?.map_err(|(path, why)| DirectoryError::Untrusted { path, why })
}

/// The text of `format`, if there is one.
fn read(disk: &dyn Disk, path: &Path) -> Result<Option<String>, DirectoryError> {
    let damaged = |why| DirectoryError::Damaged { path: path.to_owned(), why };
    text::read(disk, path)?.transpose().map_err(damaged)
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
