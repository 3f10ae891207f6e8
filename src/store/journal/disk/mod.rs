//! The calls that the journal makes on a file system, so that tests can replace it by one that forgets what was not synced.

#[cfg(test)]
pub mod forgetful;

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Permission bits of files: only the server's user may read them.
const FILE_MODE: u32 = 0o600;
/// Permission bits of directories.
const DIRECTORY_MODE: u32 = 0o700;

/// An open file, which has no position: every call names the offset. A failed call gives what the kernel said.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` at byte `offset`. Of a failed call, part of the bytes may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads into `buffer` from byte `offset` until it is full or the file ends; gives how many bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the contents durable, and of the metadata what is needed to read them (fdatasync).
    ///
    /// # Errors
    /// What the kernel said. Final: what was written since the last success may be lost, also if a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the contents and all metadata durable (fsync).
    fn sync_all(&self) -> io::Result<()>;

    /// Reserves the space of the first `bytes` bytes, and makes the file as long. ENOSPC comes before anything is written.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Bytes of the file.
    fn size(&self) -> io::Result<u64>;
}

/// A file system. A failed call gives what the kernel said.
pub trait Disk: Debug + Send + Sync {
    /// Makes an empty file, mode 0600, or empties the one of that name.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for writes that go past the page cache, where the file system can do that (`O_DIRECT`, `open(2)`): no copy,
    /// and no memory for what is never read. Writes must then be whole blocks of [`BLOCK_BYTES`], in memory as at the offset.
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    /// Makes a directory, mode 0700, and those above it, where they do not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, and replaces a file of that name; or a directory, where there is nothing of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory's name; it must be empty.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory's names durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Whether another directory can be renamed to the name of `folder` once that is removed: it is no symbolic link, and no mount point.
    fn is_replaceable(&self, folder: &Path) -> io::Result<bool>;

    /// Bytes that this user can still have on the file system of `path`; [`u64::MAX`] where that does not limit them.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The unit of direct writes; no disk has larger sectors.
pub const BLOCK_BYTES: usize = 4096;

/// Memory that begins and ends where a block does.
#[derive(Debug, Default)]
pub struct Blocks {
    memory: Vec<u8>,
    length: usize,
}

impl Blocks {
    /// The bytes, of which there are `length` rounded up to whole blocks; what is new of them is zero.
    pub fn of_length(&mut self, length: usize) -> &mut [u8] {
        self.length = length.next_multiple_of(BLOCK_BYTES);
        if self.memory.len() < self.length + BLOCK_BYTES {
            self.memory = vec![0; (self.length + BLOCK_BYTES).next_power_of_two()];
        }
        let start = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        &mut self.memory[start..start + self.length]
    }
}

/// The machine's file systems. It never follows a symbolic link to a file.
#[derive(Debug)]
pub struct RealDisk;

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(filled)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        nix::fcntl::posix_fallocate(self, 0, length).map_err(io::Error::from)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.mode(FILE_MODE).custom_flags(libc::O_NOFOLLOW).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_NOFOLLOW).open(path) {
            Ok(file) => Ok(Arc::new(file)),
            // The file system cannot do it.
            Err(failed) if failed.raw_os_error() == Some(libc::EINVAL) => self.open(path),
            Err(failed) => Err(failed),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn is_replaceable(&self, folder: &Path) -> io::Result<bool> {
        let device = |path: &Path| Ok::<_, io::Error>(std::fs::metadata(path)?.dev());
        let is_link = std::fs::symlink_metadata(folder)?.is_symlink();
        Ok(!is_link && device(folder)? == device(folder.parent().unwrap_or(Path::new(".")))?)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let volume = nix::sys::statvfs::statvfs(path)?;
        // A tmpfs without a size has no blocks.
        let is_limited = volume.blocks() > 0;
        Ok(if is_limited { volume.blocks_available().saturating_mul(volume.fragment_size()) } else { u64::MAX })
    }
}

/// Removes a directory and all that is in it, durably, so that no file of it comes back without the others that were in it; `Ok` where there
/// is none.
///
/// # Errors
/// What the kernel said; part of it may be gone.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let names = match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for name in names {
        let inside = path.join(name);
        match disk.remove(&inside) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => remove_tree(disk, &inside)?,
            removed => removed?,
        }
    }
    disk.sync_dir(path)?;
    disk.remove_dir(path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a small file so that it is there wholly or not at all, whenever the machine may stop: it is written under a temporary
/// name, synced and renamed, and then the directory is synced.
///
/// # Errors
/// What the kernel said; the old contents are still there, unless the last step failed.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(disk, path, |file| file.write_at(bytes, 0))
}

/// [`replace`], with the contents that `write` writes.
///
/// # Errors
/// As [`replace`], and those of `write`.
pub fn replace_by(disk: &dyn Disk, path: &Path, write: impl FnOnce(&dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    write(&*file)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_says_how_much_there_was_and_what_went_wrong() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let file = RealDisk.create(&path).unwrap();
        file.write_at(b"01234567", 0).unwrap();
        let mut buffer = [b'-'; 6];
        assert_eq!((file.read_at(&mut buffer, 1).unwrap(), &buffer), (6, b"123456"));
        buffer = [b'-'; 6];
        assert_eq!((file.read_at(&mut buffer, 5).unwrap(), &buffer), (3, b"567---"), "and no byte from elsewhere");
        assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
        let only_for_writing = OpenOptions::new().write(true).open(&path).unwrap();
        let refused = DiskFile::read_at(&only_for_writing, &mut buffer, 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_file_has_its_space_before_it_is_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let file = RealDisk.create(&path).unwrap();
        file.allocate(10_000).unwrap();
        assert_eq!(file.size().unwrap(), 10_000);
        assert_eq!(file.allocate(u64::MAX).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        RealDisk.sync_dir(home.path()).unwrap();
        assert_eq!(RealDisk.sync_dir(&home.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_is_reached_through_a_symbolic_link() {
        let home = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| home.path().join(name));
        RealDisk.create(&file).unwrap().write_at(b"mine", 0).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for opened in [RealDisk.open(&link), RealDisk.create(&link), RealDisk.open_direct(&link)] {
            assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ELOOP));
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }
}
