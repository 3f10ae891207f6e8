//! Where files come from: the folder that is served, or the map file that names them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::config;
use crate::base::limits::SMALL_GETFILE_BYTES;
use crate::ipc::files;
use crate::service::connection_state::SessionKey;
use crate::service::getfile::rules::map::FileMap;
use crate::service::getfile::wire::request::RequestPath;
use crate::service::getfile::wire::response::Response;
use crate::service::outgoing::Content;
use crate::service::pool::Pool;

/// The threads that find and read files.
pub type Loaders = Pool<Job, Done>;

/// What came of looking for a file: its content, and its length; or what is answered without one.
pub type Outcome = Result<(Arc<Content>, u64), Response>;

/// How long the folder that was opened is believed to be the one with that name, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// Which file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one at this path beneath the folder.
    Beneath(Box<[u8]>),
    /// The one that the map names.
    Named(PathBuf),
    /// What the cache process has for this path.
    Cached(Box<[u8]>),
}

/// What is to be done.
pub enum Job {
    /// Find a file.
    Find(SessionKey, Wanted),
    /// Have the kernel read a part of a file into memory.
    Fetch(SessionKey, Arc<Content>, Range<u64>),
    /// Read the map file again.
    ReadMap,
}

/// What came of it.
pub enum Done {
    /// A file was looked for, in this folder, if that is open.
    Looked(SessionKey, Outcome, Option<OwnedFd>),
    /// A part of a file is in memory, or cannot be read.
    Fetched(SessionKey),
    /// What the map file says now, or why it cannot be used.
    Map(Result<FileMap, String>),
}

/// Does one job; may take its time.
pub fn run(settings: &config::GetFile, job: Job) -> Done {
    match job {
        Job::Find(session, Wanted::Beneath(path)) => {
            match settings.root.as_deref().ok_or_else(|| "no folder is named".to_owned()).and_then(open_root) {
                Ok(folder) => {
                    Done::Looked(session, outcome_of(files::open_beneath(folder.as_fd(), &path)), Some(folder))
                }
                Err(why) => {
                    log::warn!("{why}: GetFile answers ERROR");
                    Done::Looked(session, Err(Response::Error), None)
                }
            }
        }
        Job::Find(session, Wanted::Named(file)) => Done::Looked(session, outcome_of(files::open_file(&file)), None),
        // No thread is told to: the cache process is asked.
        Job::Find(session, Wanted::Cached(_)) => Done::Looked(session, Err(Response::Error), None),
        Job::Fetch(session, content, part) => {
            content.fetch(part);
            Done::Fetched(session)
        }
        Job::ReadMap => Done::Map(settings.map.as_deref().map_or_else(|| Ok(FileMap::default()), read_map)),
    }
}

fn open_root(root: &Path) -> Result<OwnedFd, String> {
    files::open_folder(root).map_err(|error| error.to_string())
}

/// Reads the map file.
///
/// # Errors
/// Why it cannot be read, or which of its lines is wrong.
pub fn read_map(path: &Path) -> Result<FileMap, String> {
    let named = |why: String| format!("the map file {}: {why}", path.display());
    let contents = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    FileMap::parse(&contents, path.parent().unwrap_or(Path::new(""))).map_err(|error| named(error.to_string()))
}

/// Where files come from, as a worker's event loop has it.
pub enum Source {
    /// A folder, open, and when that was. It is opened by its name now and then: an operator may put another one there.
    Root(Option<(OwnedFd, u64)>),
    /// A map file; `None` while it cannot be used.
    Map(Option<FileMap>),
    /// The cache process.
    Cache,
}

impl Source {
    /// The one that the settings name.
    #[must_use]
    pub fn open(settings: &config::GetFile) -> Self {
        match &settings.map {
            _ if settings.uses_cache() => Source::Cache,
            None => Source::Root(None),
            Some(path) => match read_map(path) {
                Ok(map) => Source::Map(Some(map)),
                Err(why) => {
                    // The start has tried it, so it has been changed since. This worker serves all else.
                    log::error!("{why}; GetFile answers ERROR until SIGHUP finds it right");
                    Source::Map(None)
                }
            },
        }
    }

    /// Which file is meant by `path`; else what is answered.
    ///
    /// # Errors
    /// There is none.
    pub fn wanted(&self, path: RequestPath<'_>) -> Result<Wanted, Response> {
        match self {
            _ if path.climbs() => Err(Response::FileNotFound),
            Source::Root(_) => Ok(Wanted::Beneath(beneath(path).into())),
            Source::Cache => Ok(Wanted::Cached(path.as_bytes().into())),
            Source::Map(None) => Err(Response::Error),
            Source::Map(Some(map)) => {
                map.file(path).map(|file| Wanted::Named(file.into())).ok_or(Response::FileNotFound)
            }
        }
    }

    /// Looks for a file, if that needs no disk; else a thread is to do it.
    pub fn find_now(&self, wanted: &Wanted, now_ns: u64) -> Option<Outcome> {
        let opened = match (self, wanted) {
            (Source::Root(Some((folder, opened_ns))), Wanted::Beneath(path))
                if now_ns.saturating_sub(*opened_ns) < FRESH_NS =>
            {
                files::open_beneath_now(folder.as_fd(), path)
            }
            (Source::Map(_), Wanted::Named(file)) => files::open_file_now(file),
            _ => return None,
        };
        match opened.and_then(|file| describe(file, read_now)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            found => Some(found.unwrap_or_else(|error| Err(response_to(&error)))),
        }
    }

    /// Takes the folder that a thread has opened, or has not.
    pub fn renew(&mut self, folder: Option<OwnedFd>, now_ns: u64) {
        if let Source::Root(known) = self {
            *known = folder.map(|folder| (folder, now_ns));
        }
    }

    /// Takes the map that a thread has read; one that cannot be used changes nothing.
    pub fn replace_map(&mut self, map: Result<FileMap, String>) {
        match (self, map) {
            (Source::Map(known), Ok(map)) => *known = Some(map),
            (Source::Map(_), Err(why)) => log::error!("{why}; GetFile goes on with what it had"),
            (Source::Root(_) | Source::Cache, _) => {}
        }
    }
}

/// A path as it lies beneath the folder.
fn beneath(path: RequestPath<'_>) -> &[u8] {
    let path = path.as_bytes();
    &path[path.iter().position(|byte| *byte != b'/').unwrap_or(path.len())..]
}

fn outcome_of(opened: io::Result<File>) -> Outcome {
    opened.and_then(|file| describe(file, read)).unwrap_or_else(|error| Err(response_to(&error)))
}

/// Reads all of `bytes`, if that needs no disk.
fn read_now(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    match files::read_now(file, bytes)? {
        count if count < bytes.len() => Err(io::ErrorKind::WouldBlock.into()),
        count => Ok(count),
    }
}

/// What is answered with an open file; a small one is read by `read`, to be sent together with its head.
fn describe(file: File, read: impl Fn(&File, &mut [u8]) -> io::Result<usize>) -> io::Result<Outcome> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A folder, a pipe, a device.
        return Ok(Err(Response::FileNotFound));
    }
    let length = metadata.len();
    let Some(expected) = usize::try_from(length).ok().filter(|length| *length <= SMALL_GETFILE_BYTES) else {
        return Ok(Ok((Arc::new(Content::Open(file)), length)));
    };
    let mut bytes = vec![0; expected];
    if expected > 0 {
        // It may be made shorter meanwhile: what was read is what there is.
        let count = read(&file, &mut bytes)?;
        bytes.truncate(count);
    }
    let length = bytes.len() as u64;
    Ok(Ok((Arc::new(Content::Bytes(bytes.into())), length)))
}

/// Reads up to the end of the file or of `bytes`; how many bytes.
fn read(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What is answered when a file cannot be opened or read.
fn response_to(error: &io::Error) -> Response {
    match error.raw_os_error() {
        // What would lead out of the folder is answered like what is not there, and so is what may not be read.
        Some(
            libc::ENOENT
            | libc::ENOTDIR
            | libc::EXDEV
            | libc::ELOOP
            | libc::ENAMETOOLONG
            | libc::EINVAL
            | libc::EACCES
            | libc::EPERM
            | libc::ENXIO,
        ) => Response::FileNotFound,
        _ => {
            log::warn!("GetFile cannot open or read a file: {error}");
            Response::Error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length_of(outcome: Outcome) -> u64 {
        let (content, length) = outcome.unwrap();
        match &*content {
            Content::Bytes(bytes) => assert_eq!(bytes.len() as u64, length),
            Content::Open(_) => assert!(length > SMALL_GETFILE_BYTES as u64),
        }
        length
    }

    #[test]
    fn a_file_that_is_made_shorter_while_it_is_read_is_what_was_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        for length in [0, 1, SMALL_GETFILE_BYTES, SMALL_GETFILE_BYTES + 1] {
            std::fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(length_of(describe(File::open(&path).unwrap(), read).unwrap()), length as u64);
        }
        std::fs::write(&path, [7; 100]).unwrap();
        let shorter = |file: &File, bytes: &mut [u8]| {
            std::fs::write(&path, [8; 30]).unwrap();
            read(file, bytes)
        };
        assert_eq!(length_of(describe(File::open(&path).unwrap(), shorter).unwrap()), 30);
    }

    #[test]
    fn a_folder_is_believed_for_a_second() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), "x").unwrap();
        let (mut root, wanted) = (Source::Root(None), Wanted::Beneath(b"file"[..].into()));
        assert!(root.find_now(&wanted, 5).is_none(), "no folder is open");
        root.renew(Some(files::open_folder(home.path()).unwrap()), 5);
        assert!(root.find_now(&wanted, 4 + FRESH_NS).is_some_and(|outcome| length_of(outcome) == 1));
        assert!(root.find_now(&wanted, 5 + FRESH_NS).is_none(), "a thread opens it anew");
        root.renew(None, 6);
        assert!(root.find_now(&wanted, 6).is_none());
    }

    #[test]
    fn a_map_that_cannot_be_used_is_no_map_or_the_one_before() {
        let path = RequestPath::new(b"/a").unwrap();
        let map = FileMap::parse(b"/a x", Path::new("/f")).unwrap();
        let mut source = Source::Map(None);
        assert_eq!(source.wanted(path), Err(Response::Error));
        source.replace_map(Ok(map));
        source.replace_map(Err("it is gone".to_owned()));
        assert_eq!(source.wanted(path), Ok(Wanted::Named("/f/x".into())));
        assert_eq!(source.wanted(RequestPath::new(b"/b").unwrap()), Err(Response::FileNotFound));
    }
}
