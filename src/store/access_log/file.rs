//! The log's file, and what can fail about it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::access_log::layout::FileId;

/// What does not work on the files. It is tried again with the next flush.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A call on a file failed.
    #[error(
        "cannot {step} {path}: {source}; lines wait in memory as long as there is room, then they are dropped and counted"
    )]
    Io {
        /// What was being done, as a verb.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the call gave.
        source: io::Error,
    },
    /// All lines are written, into a file that is longer than it should be.
    #[error("cannot rotate {path}: {source}; it grows until that works")]
    Rotate {
        /// The file.
        path: PathBuf,
        /// What renaming it, or one before it, gave.
        source: io::Error,
    },
    /// The path leads to a folder, a pipe or a device.
    #[error("{0} is not a regular file, so it cannot be told what of a line is written: name another")]
    NotRegular(PathBuf),
}

impl LogError {
    pub(super) fn io(step: &'static str, path: &Path, source: io::Error) -> Self {
        LogError::Io { step, path: path.to_owned(), source }
    }

    pub(super) fn errno(&self) -> i32 {
        match self {
            LogError::Io { source, .. } | LogError::Rotate { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            LogError::NotRegular(_) => libc::EINVAL,
        }
    }
}

/// An open log file.
pub(super) struct LogFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) length: u64,
}

impl LogFile {
    /// Opens the file, and makes it, mode 0640, if there is none.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, LogError> {
        Self::open_with(OpenOptions::new().create(true).mode(0o640), path)
    }

    /// The file `id` in the folder of `path`, whatever its name is now: another program may have renamed it. `None` when it is not
    /// there.
    pub(super) fn find(id: FileId, path: &Path) -> Result<Option<Self>, LogError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).map_err(|e| LogError::io("look into", folder, e))?;
        // The log's own path first: it may be a link, and usually it is the one.
        for path in std::iter::once(path.to_owned()).chain(entries.flatten().map(|entry| entry.path())) {
            if is_file(&path, id) {
                let found = Self::open_with(&mut OpenOptions::new(), &path)?;
                // Renamed between the two calls: the next flush looks again.
                let renamed = || LogError::io("find again", &path, io::Error::from_raw_os_error(libc::ESTALE));
                return (found.id == id).then_some(Some(found)).ok_or_else(renamed);
            }
        }
        Ok(None)
    }

    fn open_with(options: &mut OpenOptions, path: &Path) -> Result<Self, LogError> {
        // O_NONBLOCK: opening a pipe without a reader would wait.
        let opened = options.append(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = opened.map_err(|e| LogError::io("open", path, e))?;
        let metadata = file.metadata().map_err(|e| LogError::io("look at", path, e))?;
        if !metadata.is_file() {
            return Err(LogError::NotRegular(path.to_owned()));
        }
        Ok(LogFile { file, id: id_of(&metadata), length: metadata.len() })
    }
}

/// Whether `path` leads to the file `id`.
pub(super) fn is_file(path: &Path, id: FileId) -> bool {
    fs::metadata(path).is_ok_and(|metadata| id_of(&metadata) == id)
}

fn id_of(metadata: &fs::Metadata) -> FileId {
    FileId { device: metadata.dev(), inode: metadata.ino() }
}
