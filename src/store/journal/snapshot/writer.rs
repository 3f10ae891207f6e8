//! Writes a snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::path_of;
use super::layout::{ACCOUNTS_PER_BLOCK, BLOCK_BYTES, HEADER_BYTES, Header, crc_behind, encode_account, encode_end};
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
    in_place: bool,
}

impl SnapshotWriter {
    /// Begins one. There can be one at a time: an unfinished one is overwritten.
    pub fn begin(directory: &Directory, header: Header) -> Result<Self, SnapshotError> {
        let temporary = directory.snapshots().join("writing.tmp");
        let file = directory.disk().create(&temporary).step("make", &temporary)?;
        let (bytes, chain) = header.encode(directory);
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

    /// The record of its cut.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    /// The newest record in it, which must be committed before it can be finished.
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.newest
    }

    /// Puts it in place, durably. What it holds must all be committed.
    ///
    /// # Errors
    /// Every [`SnapshotError`]; then the snapshot is not kept, or, where only the last sync failed, may yet vanish.
    pub fn finish(mut self, committed: Committed) -> Result<(), SnapshotError> {
        if self.pushed != self.header.accounts {
            return Err(self.wrong_count(self.pushed));
        }
        if !committed.includes(self.newest) {
            return Err(SnapshotError::NotCommitted { holds: self.newest, committed: committed.0 });
        }
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.write(&encode_end(self.newest, self.chain), self.at)?;
        self.file.sync_all().step("sync", &self.temporary)?;
        let path = path_of(&self.directory, self.header.lsn);
        self.directory.disk().rename(&self.temporary, &path).step("put in place", &path)?;
        self.in_place = true;
        let folder = self.directory.snapshots();
        Ok(self.directory.sync(&folder)?)
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
