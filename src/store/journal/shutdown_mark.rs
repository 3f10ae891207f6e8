//! `DATA/closed`: up to which record the journal was durable when it was last closed in order.
//!
//! After a loss of power, a damaged last batch cannot be told from one that was never synced. After an orderly stop it can: the
//! mark is written when everything is durable, and says up to where. Like a snapshot it is a witness that stays true whatever comes
//! later, so it need not be removed before the next record is written. Only a repair that truncates what had been durable removes
//! it.
//!
//! ```text
//! bank-vault closed 1
//! identity 6f0c…
//! last-record 300
//! crc32 1b2c3d4e
//! ```

use std::path::PathBuf;

use super::directory::{Directory, hexadecimal};
use super::disk;
use super::error::{DiskError, Step};
use super::text;
use crate::base::limits::MAX_LSN;
use crate::base::vocab::{Lsn, OnDisk};

const TITLE: &str = "bank-vault closed 1";

/// A mark that cannot be used: it is damaged, or another directory's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged: {why}; the journal is read without what it says, and the next orderly stop writes it anew", path.display())]
pub struct DamagedMark {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
}

pub(super) fn path_of(directory: &Directory) -> PathBuf {
    directory.path().join("closed")
}

/// Stores durably how far the journal is on disk.
pub(super) fn write(directory: &Directory, OnDisk(last): OnDisk) -> Result<(), DiskError> {
    let path = path_of(directory);
    let text = text::seal(format!("{TITLE}\nidentity {}\nlast-record {last}\n", hexadecimal(directory.identity())));
    disk::replace(directory.disk(), &path, text.as_bytes()).step("write", &path)
}

/// Up to which record the journal had been durable; 0 where it was never closed.
pub(super) fn read(directory: &Directory) -> Result<Result<Lsn, DamagedMark>, DiskError> {
    let path = path_of(directory);
    let Some(text) = text::read(directory.disk(), &path)? else { return Ok(Ok(Lsn(0))) };
    let parsed = text.and_then(|text| parse(directory, text::unseal(&text)?));
    Ok(parsed.map_err(|why| DamagedMark { path, why }))
}

fn parse(directory: &Directory, lines: &str) -> Result<Lsn, &'static str> {
    let strange = "a line is not as it should be, although its checksum is right";
    let rest = lines.strip_prefix(TITLE).ok_or(strange)?.strip_prefix("\nidentity ").ok_or(strange)?;
    let (identity, rest) = rest.split_once('\n').ok_or(strange)?;
    if identity != hexadecimal(directory.identity()) {
        return Err("it belongs to another data directory");
    }
    let last = rest.strip_prefix("last-record ").and_then(|rest| rest.strip_suffix('\n')).ok_or(strange)?;
    last.parse().ok().filter(|&last| last <= MAX_LSN).map(Lsn).ok_or(strange)
}
