//! Writes a snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::path_of;
use super::layout::{ACCOUNTS_PER_BLOCK, BLOCK_BYTES, HEADER_BYTES, Header, crc_behind, encode_account, encode_end};
use super::pairs::{self, FULL_BLOCK_BYTES, Pair, encode_length};
use crate::base::vocab::{Cents, Committed, Lsn};
use crate::store::journal::directory::Directory;
use crate::store::journal::disk::DiskFile;
use crate::store::journal::error::{DiskError, Step};

/// Why a snapshot could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// More or fewer accounts came than were announced; it is not kept.
    #[error("a snapshot of {announced} accounts was given {pushed}")]
    Accounts {
        /// Accounts in its header.
        announced: u32,
        /// Accounts that came.
        pushed: u32,
    },
    /// A pair that cannot be in it, or came before the last account, or into one without pairs; it is not kept.
    #[error(
        "a snapshot as of record {cut} was given a key of {key} bytes with a value of {value}, of version {version}"
    )]
    Pair {
        /// The record of its cut.
        cut: Lsn,
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
        /// The version.
        version: Lsn,
    },
    /// It holds what may yet be lost; it is not kept.
    #[error("a snapshot that holds record {holds} cannot be finished while only record {committed} is committed")]
    NotCommitted {
        /// The newest record in it.
        holds: Lsn,
        /// The last record that is committed.
        committed: Lsn,
    },
}

/// A snapshot that is being written. It is removed when it is dropped unfinished.
#[derive(Debug)]
pub struct SnapshotWriter {
    directory: Directory,
    header: Header,
    file: Arc<dyn DiskFile>,
    temporary: PathBuf,
    block: Vec<u8>,
    at: u64,
    chain: u32,
    pushed: u32,
    newest: Lsn,
    covers: Lsn,
    /// How many pairs there are; `None` in one without pairs.
    pairs: Option<u64>,
    in_place: bool,
}

impl SnapshotWriter {
    /// Begins one without pairs of a key-value store. There can be one at a time: an unfinished one is overwritten.
    pub fn begin(directory: &Directory, header: Header) -> Result<Self, SnapshotError> {
        Self::begin_version(directory, header, false)
    }

    /// [`SnapshotWriter::begin`] of one with pairs, which may be none: of an instance with a key-value store. Programs of before there was
    /// one do not read it.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn begin_with_pairs(directory: &Directory, header: Header) -> Result<Self, SnapshotError> {
        Self::begin_version(directory, header, true)
    }

    fn begin_version(directory: &Directory, header: Header, has_pairs: bool) -> Result<Self, SnapshotError> {
        let temporary = directory.snapshots().join("writing.tmp");
        let file = directory.disk().create(&temporary).step("make", &temporary)?;
        let (bytes, chain) = header.encode(directory, has_pairs);
        let writer = SnapshotWriter {
            directory: directory.clone(),
            header,
            file,
            temporary,
            block: Vec::with_capacity(BLOCK_BYTES),
            at: HEADER_BYTES as u64,
            chain,
            pushed: 0,
            newest: header.lsn,
            covers: header.lsn,
            pairs: has_pairs.then_some(0),
            in_place: false,
        };
        writer.write(&bytes, 0)?;
        Ok(writer)
    }

    /// Adds the next account: its balance, and the record that the balance is of.
    pub fn push(&mut self, balance: Cents, lsn: Lsn) -> Result<(), SnapshotError> {
        if self.pushed == self.header.accounts {
            return Err(self.wrong_count(self.pushed.saturating_add(1)));
        }
        self.pushed += 1;
        self.newest = self.newest.max(lsn);
        self.block.extend_from_slice(&encode_account(balance, lsn));
        if (self.pushed as usize).is_multiple_of(ACCOUNTS_PER_BLOCK) { self.end_block() } else { Ok(()) }
    }

    /// Adds a key with its value, of a version up to the cut; after all accounts.
    ///
    /// # Errors
    /// [`SnapshotError::Pair`], [`SnapshotError::Accounts`], [`SnapshotError::Disk`].
    pub fn push_pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) -> Result<(), SnapshotError> {
        let cut = self.header.lsn;
        let pair = Pair { key, version, value };
        if self.pushed != self.header.accounts {
            return Err(self.wrong_count(self.pushed));
        }
        let Some(count) = self.pairs.as_mut().filter(|_| pair.can_be(cut)) else {
            return Err(SnapshotError::Pair { cut, key: key.len(), value: value.len(), version });
        };
        *count += 1;
        if *count == 1 && !self.block.is_empty() {
            self.end_block()?;
        }
        pair.append_to(&mut self.block);
        if self.block.len() >= FULL_BLOCK_BYTES { self.end_pairs() } else { Ok(()) }
    }

    /// Says that it is right only together with the records up to `lsn`, since it lacks pairs that were changed while it was made. It can be
    /// finished only when they are committed, and whoever reads it needs them.
    pub fn covers(&mut self, lsn: Lsn) {
        self.covers = self.covers.max(lsn);
    }

    /// The record of its cut.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    /// The newest record in it, or that it [covers](SnapshotWriter::covers), which must be committed before it can be finished.
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.newest.max(self.covers)
    }

    /// Puts it in place, durably. What it holds must all be committed.
    ///
    /// # Errors
    /// Every [`SnapshotError`]; then the snapshot is not kept, or, where only the last sync failed, may yet vanish.
    pub fn finish(mut self, committed: Committed) -> Result<(), SnapshotError> {
        if self.pushed != self.header.accounts {
            return Err(self.wrong_count(self.pushed));
        }
        if !committed.includes(self.newest()) {
            return Err(SnapshotError::NotCommitted { holds: self.newest(), committed: committed.0 });
        }
        if !self.block.is_empty() {
            if self.pairs.is_some_and(|count| count > 0) { self.end_pairs()? } else { self.end_block()? }
        }
        match self.pairs {
            None => self.write(&encode_end(self.newest, self.chain), self.at)?,
            Some(count) => self.write(&pairs::encode_end(self.newest(), count, self.chain), self.at)?,
        }
        self.file.sync_all().step("sync", &self.temporary)?;
        let path = path_of(&self.directory, self.header.lsn);
        self.directory.disk().rename(&self.temporary, &path).step("put in place", &path)?;
        self.in_place = true;
        let folder = self.directory.snapshots();
        Ok(self.directory.sync(&folder)?)
    }

    /// Writes a block of pairs.
    fn end_pairs(&mut self) -> Result<(), SnapshotError> {
        let length = encode_length(self.block.len());
        self.chain = crc_behind(self.chain, &length);
        self.write(&length, self.at)?;
        self.at += length.len() as u64;
        self.end_block()
    }

    fn end_block(&mut self) -> Result<(), SnapshotError> {
        self.chain = crc_behind(self.chain, &self.block);
        self.block.extend_from_slice(&self.chain.to_le_bytes());
        self.write(&self.block, self.at)?;
        self.at += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), DiskError> {
        self.file.write_at(bytes, at).step("write", &self.temporary)
    }

    fn wrong_count(&self, pushed: u32) -> SnapshotError {
        SnapshotError::Accounts { announced: self.header.accounts, pushed }
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.in_place {
            // The next snapshot overwrites what this may leave.
            let _ = self.directory.disk().remove(&self.temporary);
        }
    }
}
