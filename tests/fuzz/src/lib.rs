//! What several fuzz targets share: pieces of a stream, and a disk in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bank_vault::store::journal::disk::{Disk, DiskFile};

/// Cuts `bytes` into pieces of 1 to `most` bytes, as the first byte says.
pub fn pieces(bytes: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let (seed, rest) = bytes.split_first().map_or((0, bytes), |(seed, rest)| (usize::from(*seed), rest));
    rest.chunks(1 + seed % most)
}

/// The text that a target reads, where `bytes` are one.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

type Contents = Arc<Mutex<Vec<u8>>>;

/// A disk that holds what it is given.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<BTreeMap<PathBuf, Contents>>);

#[derive(Debug)]
struct MemoryFile(Contents);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// A disk with these files.
    pub fn with(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Arc<MemoryDisk> {
        let files = files.into_iter().map(|(path, bytes)| (path, Arc::new(Mutex::new(bytes))));
        Arc::new(MemoryDisk(Mutex::new(files.collect())))
    }

    /// What its files hold now.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        lock(&self.0).iter().map(|(path, contents)| (path.clone(), lock(contents).clone())).collect()
    }

    fn find(&self, path: &Path) -> io::Result<Contents> {
        lock(&self.0).get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut contents = lock(&self.0);
        let end = offset + bytes.len();
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let contents = lock(&self.0);
        let rest = usize::try_from(offset).ok().and_then(|offset| contents.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 20).ok_or(io::ErrorKind::StorageFull)?;
        let mut contents = lock(&self.0);
        if contents.len() < bytes {
            contents.resize(bytes, 0);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let contents = Contents::default();
        lock(&self.0).insert(path.to_owned(), contents.clone());
        Ok(Arc::new(MemoryFile(contents)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(MemoryFile(self.find(path)?)))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let files = lock(&self.0);
        let inside = files.keys().filter(|path| path.parent() == Some(directory)).filter_map(|path| path.file_name());
        Ok(inside.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let contents = self.find(from)?;
        let mut files = lock(&self.0);
        files.remove(from);
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.0).remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_replaceable(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
