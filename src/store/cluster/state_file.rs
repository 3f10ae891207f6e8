//! `DATA/raft`: the [`State`] of a member, in two slots that are written in turn.
//!
//! A write goes into the slot that does not hold the newest state that is known to be on disk. So a torn write leaves the other slot, and
//! what was synced is read again, or something newer. A slot that was written without a sync may be written again before it is synced.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::{SLOT_BYTES, SlotError, State};
use crate::store::journal::disk::{self, DiskFile};
use crate::store::journal::{Directory, DiskError, Identity};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Neither slot is good.
    #[error(
        "{} is damaged: of its two slots, {}, and {}. An older copy would break promises that this member made since. Move the data directory away and start with an empty one: it then joins the cluster as a new member, and the old one is removed by `vaultctl cluster remove`",
        path.display(), said(0, slots[0]), said(1, slots[1])
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with each slot.
        slots: [SlotError; 2],
    },
    /// A state that says what cannot be; nothing was written.
    #[error("{} is not written: {why}", path.display())]
    Senseless {
        /// The file.
        path: PathBuf,
        /// What is wrong with the state.
        why: SlotError,
    },
    /// A write failed earlier, so that it is unknown what is on the disk.
    #[error("{} is not written any more, since a write to it failed; look after the disk, then restart", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
    },
}

fn said(slot: usize, why: SlotError) -> impl fmt::Display {
    format!("that at byte {} is not good ({why})", slot * SLOT_BYTES)
}

/// The open file. There is one writer, the replica process, which uses it by `&mut`.
#[derive(Debug)]
pub struct StateFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    identity: Identity,
    state: State,
    generation: u64,
    /// The slot of the newest state that is known to be on disk.
    synced: usize,
    failed: bool,
}

/// Where the file is.
fn path_of(directory: &Directory) -> PathBuf {
    directory.path().join("raft")
}

/// Reads the state that a data directory has, and changes nothing; `None` where it has none: it is no member.
///
/// # Errors
/// [`StateFileError::Disk`], [`StateFileError::Damaged`].
pub fn read_state(directory: &Directory) -> Result<Option<State>, StateFileError> {
    let path = path_of(directory);
    let Some(file) = open_if_there(directory, &path)? else { return Ok(None) };
    Ok(Some(read(&*file, &path, directory.identity())?.2))
}

impl StateFile {
    /// Opens the file of a data directory; `None` where there is none: the node is fresh.
    ///
    /// # Errors
    /// [`StateFileError::Disk`], [`StateFileError::Damaged`].
    pub fn open(directory: &Directory) -> Result<Option<Self>, StateFileError> {
        let path = path_of(directory);
        let Some(file) = open_if_there(directory, &path)? else { return Ok(None) };
        let (synced, generation, state) = read(&*file, &path, directory.identity())?;
        // What a dead process wrote may not be on disk, and the other slot is the next to be written.
        file.sync_data().map_err(failed("sync", &path))?;
        Ok(Some(StateFile { file, path, identity: *directory.identity(), state, generation, synced, failed: false }))
    }

    /// Makes the file of a data directory that has none, durably.
    ///
    /// # Errors
    /// [`StateFileError::Disk`], [`StateFileError::Senseless`].
    pub fn create(directory: &Directory, state: State) -> Result<Self, StateFileError> {
        let path = path_of(directory);
        state.check().map_err(|why| StateFileError::Senseless { path: path.clone(), why })?;
        let (identity, generation) = (*directory.identity(), 1);
        let mut bytes = state.encode(&identity, generation).to_vec();
        bytes.resize(2 * SLOT_BYTES, 0);
        disk::replace(directory.disk(), &path, &bytes).map_err(failed("write", &path))?;
        let file = directory.disk().open(&path).map_err(failed("open", &path))?;
        Ok(StateFile { file, path, identity, state, generation, synced: 0, failed: false })
    }

    /// What was saved last.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Writes `state`. With `sync` it is on disk afterwards; without, the state of before or this one is.
    ///
    /// # Errors
    /// [`StateFileError::Senseless`]: nothing was written. [`StateFileError::Disk`] is final, and every later call ends with
    /// [`StateFileError::Failed`].
    pub fn save(&mut self, state: &State, sync: bool) -> Result<(), StateFileError> {
        if self.failed {
            return Err(StateFileError::Failed { path: self.path.clone() });
        }
        state.check().map_err(|why| StateFileError::Senseless { path: self.path.clone(), why })?;
        // Until all is done.
        self.failed = true;
        let (slot, generation) = (1 - self.synced, self.generation + 1);
        let bytes = state.encode(&self.identity, generation);
        self.file.write_at(&bytes, (slot * SLOT_BYTES) as u64).map_err(failed("write", &self.path))?;
        if sync {
            self.file.sync_data().map_err(failed("sync", &self.path))?;
            self.synced = slot;
        }
        (self.generation, self.failed) = (generation, false);
        self.state.clone_from(state);
        Ok(())
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { step, path, source }
}

fn open_if_there(directory: &Directory, path: &Path) -> Result<Option<Arc<dyn DiskFile>>, DiskError> {
    match directory.disk().open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path)(error)),
    }
}

/// The newest good slot, its generation and its state.
fn read(file: &dyn DiskFile, path: &Path, identity: &Identity) -> Result<(usize, u64, State), StateFileError> {
    let mut bytes = [0; 2 * SLOT_BYTES];
    let filled = file.read_at(&mut bytes, 0).map_err(failed("read", path))?;
    let slot = |number: usize| State::decode(identity, &bytes[..filled][(number * SLOT_BYTES).min(filled)..]);
    match (slot(0), slot(1)) {
        (Ok(first), Ok((generation, state))) if generation > first.0 => Ok((1, generation, state)),
        (Ok((generation, state)), _) => Ok((0, generation, state)),
        (Err(_), Ok((generation, state))) => Ok((1, generation, state)),
        (Err(first), Err(second)) => Err(StateFileError::Damaged { path: path.to_owned(), slots: [first, second] }),
    }
}

#[cfg(test)]
#[path = "state_file_tests.rs"]
mod tests;
