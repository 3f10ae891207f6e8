//! The file systems that a server needs: `/proc`, the folder of shared memory, the volume of the data directory. Each is tried out with
//! a file without a name (O_TMPFILE, `open(2)`), which nobody sees and which is gone when closed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use crate::base::config::Settings;
use crate::ipc::names::SHM_FOLDER;
use crate::ipc::{IpcError, files};
use crate::service::entry::NamedPath;

/// `RAMFS_MAGIC` of `linux/magic.h`.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Why a file system cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileSystemError {
    /// There is no `/proc`.
    #[error(
        "/proc is not mounted, and a server needs it to know its program and its processes: mount -t proc proc /proc"
    )]
    NoProc,
    /// There is no folder for shared memory.
    #[error(
        "{folder}, where shared memory and semaphores are, cannot be used: {source}; mount -t tmpfs -o mode=1777 tmpfs {folder}",
        folder = SHM_FOLDER
    )]
    NoSharedMemory {
        /// What the kernel said.
        source: io::Error,
    },
    /// Shared memory would be written to a disk.
    #[error(
        "{folder}, where shared memory and semaphores are, is no tmpfs: mount -t tmpfs -o mode=1777 tmpfs {folder}",
        folder = SHM_FOLDER
    )]
    NotInMemory,
    /// No file can be made there.
    #[error(
        "no file can be made in {folder}, where shared memory and semaphores are: {source}; it must be writable (mode 1777, not \
         mounted read-only)",
        folder = SHM_FOLDER
    )]
    SharedMemory {
        /// What the kernel said.
        source: io::Error,
    },
    /// The data directory cannot be made, or written to.
    #[error("no file can be made in {folder} for the data directory {data}: {source}; choose another place with --data", data = data.display(), folder = folder.display())]
    Data {
        /// The data directory.
        data: PathBuf,
        /// The part of its path that exists.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A log cannot be written where it was asked for.
    #[error("the access log {path} cannot be written: {source}; choose another with {option}", path = path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something private is in a folder whose files are given to clients.
    #[error("{what}, {path}, lies in the folder that {option} serves, {folder}: serve another folder, or move it out", path = path.display(), folder = folder.display())]
    Private {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is served.
        folder: PathBuf,
        /// The option that names it.
        option: &'static str,
    },
    /// Such a folder does not exist, or may not be entered.
    #[error("{source}; it is to be served: make it, or name another one with {option}")]
    Folder {
        /// Which, and what the kernel said.
        source: IpcError,
        /// The option that names it.
        option: &'static str,
    },
    /// The first segment of the journal cannot be made.
    #[error(
        "{mebibytes} MiB for the first segment of the journal cannot be had in {folder}: {source}; make room there, choose another place \
         with --data, or take smaller segments with --segment-records (4096 are 0.5 MiB)",
        folder = folder.display()
    )]
    Space {
        /// How much is needed.
        mebibytes: u64,
        /// Where.
        folder: PathBuf,
        /// What the kernel said; EDQUOT for a quota.
        source: io::Error,
    },
}

/// Checks all of them. Tries to allocate `disk` bytes where the data directory is, or will be.
///
/// # Errors
/// The first that cannot be used.
pub fn check(data: &Path, disk: u64) -> Result<(), FileSystemError> {
    check_proc(Path::new("/proc"))?;
    check_shared_memory(Path::new(SHM_FOLDER))?;
    check_data(data, disk)
}

fn check_proc(proc: &Path) -> Result<(), FileSystemError> {
    if proc.join("self/exe").symlink_metadata().is_ok() { Ok(()) } else { Err(FileSystemError::NoProc) }
}

fn check_shared_memory(folder: &Path) -> Result<(), FileSystemError> {
    let place = statfs(folder).map_err(|errno| FileSystemError::NoSharedMemory { source: errno.into() })?;
    if ![TMPFS_MAGIC, RAMFS_MAGIC].contains(&place.filesystem_type()) {
        return Err(FileSystemError::NotInMemory);
    }
    nameless_file(folder).map(drop).map_err(|source| FileSystemError::SharedMemory { source })
}

fn check_data(data: &Path, disk: u64) -> Result<(), FileSystemError> {
    let folder = nearest(data);
    let fail = |source| FileSystemError::Data { data: data.to_owned(), folder: folder.clone(), source };
    let Some(file) = nameless_file(&folder).map_err(fail)? else { return Ok(()) };
    let Some(length) = i64::try_from(disk).ok().filter(|&length| length > 0) else { return Ok(()) };
    match fallocate(&file, FallocateFlags::empty(), 0, length) {
        // Not every file system can reserve space. Then the first write of the segment shows whether there is any.
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => {
            let mebibytes = disk.div_ceil(1 << 20);
            Err(FileSystemError::Space { mebibytes, folder: folder.clone(), source: errno.into() })
        }
    }
}

/// Whether a folder whose files are given to clients exists, and neither the journal nor the users could be fetched from it.
///
/// # Errors
/// [`FileSystemError::Private`], [`FileSystemError::Folder`].
pub fn check_served(NamedPath { path, option }: &NamedPath, settings: &Settings) -> Result<(), FileSystemError> {
    files::open_folder(path).map_err(|source| FileSystemError::Folder { source, option })?;
    let folder = full_path(path);
    let private = [("the data directory", Some(&settings.data)), ("the users file", settings.users.as_ref())];
    let mut private = private.into_iter().filter_map(|(what, path)| Some((what, full_path(path?))));
    match private.find(|(_, path)| path.starts_with(&folder)) {
        Some((what, path)) => Err(FileSystemError::Private { what, path, folder, option }),
        None => Ok(()),
    }
}

/// Whether a log can be written.
///
/// # Errors
/// [`FileSystemError::Log`].
pub fn check_log(NamedPath { path, option }: &NamedPath) -> Result<(), FileSystemError> {
    let fail = |source| FileSystemError::Log { path: path.clone(), option, source };
    match path.metadata() {
        Ok(found) if !found.is_file() => Err(fail(io::Error::other("it is no regular file"))),
        Ok(_) => access(path, AccessFlags::W_OK).map_err(|errno| fail(errno.into())),
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            nameless_file(folder).map(drop).map_err(fail)
        }
    }
}

/// A file in `folder` that has no name. `None` where the file system has no such files.
fn nameless_file(folder: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    match options.open(folder) {
        Ok(file) => Ok(Some(file)),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOSYS | libc::EINVAL)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The data directory, or the part of its path that exists.
#[must_use]
pub fn nearest(data: &Path) -> PathBuf {
    let mut ancestors = data.ancestors().filter(|path| !path.as_os_str().is_empty());
    // Also a dangling link, which would be in the way.
    let there = ancestors.find(|path| path.symlink_metadata().is_ok());
    there.unwrap_or(Path::new(".")).to_owned()
}

/// The full path of something that may not exist yet; links in the part that exists are followed.
#[must_use]
pub fn full_path(path: &Path) -> PathBuf {
    let there = nearest(path);
    let Ok(full) = fs::canonicalize(&there) else { return path.to_owned() };
    let rest = path.strip_prefix(&there).unwrap_or(path);
    if rest.as_os_str().is_empty() { full } else { full.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_of_a_path_there_is_is_what_is_tried() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&home.path().join("a/b/c")), home.path());
        assert_eq!(nearest(home.path()), home.path());
        assert_eq!(nearest(Path::new("surely-not-there/b")), Path::new("."));
        check_data(&home.path().join("a/b"), 4096).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_path_is_made_full_before_it_is_there() {
        let home = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(home.path()).unwrap();
        std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
        assert_eq!(full_path(&home.path().join("link/not/yet")), real.join("not/yet"));
        assert_eq!(full_path(home.path()), real);
        let here = std::env::current_dir().unwrap();
        assert_eq!(full_path(Path::new("surely-not-there/b")), here.join("surely-not-there/b"));
    }

    #[test]
    fn a_data_directory_that_is_not_made_yet_is_seen_in_a_folder_for_clients() {
        let home = tempfile::tempdir().unwrap();
        let served = NamedPath { path: home.path().to_owned(), option: "--www" };
        let mut settings = Settings { data: home.path().join("data"), ..Settings::default() };
        assert!(matches!(check_served(&served, &settings), Err(FileSystemError::Private { .. })));
        settings.data = home.path().with_extension("elsewhere");
        check_served(&served, &settings).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nowhere", home.path().join("link")).unwrap();
        for data in [file.clone(), file.join("data"), home.path().join("link/data")] {
            let text = check_data(&data, 0).unwrap_err().to_string();
            assert!(text.contains("--data") && text.contains(home.path().to_str().unwrap()), "{text}");
        }
    }

    #[test]
    fn more_than_a_volume_has_is_refused_by_trying() {
        let home = tempfile::tempdir().unwrap();
        let error = check_data(home.path(), 1 << 60).unwrap_err();
        assert!(matches!(error, FileSystemError::Space { .. }), "{error}");
    }

    #[test]
    fn places_that_are_none_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let none = home.path().join("none");
        assert!(matches!(check_proc(&none), Err(FileSystemError::NoProc)));
        assert!(matches!(check_shared_memory(&none), Err(FileSystemError::NoSharedMemory { .. })));
        assert!(matches!(check_shared_memory(Path::new("/proc")), Err(FileSystemError::NotInMemory)));
        check_proc(Path::new("/proc")).unwrap();
        check_shared_memory(Path::new(SHM_FOLDER)).unwrap();
    }
}
