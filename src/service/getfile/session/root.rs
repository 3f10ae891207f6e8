//! The folder that is served, and the files in it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::base::limits::SMALL_GETFILE_BYTES;
use crate::ipc::files;
use crate::service::connection_state::SessionKey;
use crate::service::getfile::wire::response::Response;
use crate::service::outgoing::Content;
use crate::service::pool::Pool;

/// The threads that find and read files.
pub type Loaders = Pool<Job, Done>;

/// What came of looking for a file: its content, and its length; or what is answered without one.
pub type Outcome = Result<(Arc<Content>, u64), Response>;

/// How long the folder that was opened is believed to be the one with that name, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// What is to be done.
pub enum Job {
    /// Find the file with this path beneath the folder.
    Find(SessionKey, Box<[u8]>),
    /// Have the kernel read a part of a file into memory.
    Fetch(SessionKey, Arc<Content>, Range<u64>),
}

/// What came of it.
pub enum Done {
    /// A file was looked for, in this folder, if there is one.
    Looked(SessionKey, Outcome, Option<OwnedFd>),
    /// A part of a file is in memory, or cannot be read.
    Fetched(SessionKey),
}

/// Does one job for the folder `root`; may take its time.
pub fn run(root: &Path, job: Job) -> Done {
    match job {
        Job::Find(session, path) => match files::open_folder(root) {
            Ok(folder) => {
                let outcome = files::open_beneath(folder.as_fd(), &path).and_then(|file| describe(file, read));
                Done::Looked(session, outcome.unwrap_or_else(|error| Err(response_to(&error))), Some(folder))
            }
            Err(error) => {
                log::warn!("{error}: GetFile answers ERROR");
                Done::Looked(session, Err(Response::Error), None)
            }
        },
        Job::Fetch(session, content, part) => {
            content.fetch(part);
            Done::Fetched(session)
        }
    }
}

/// The folder, as a worker's event loop has it.
#[derive(Default)]
pub struct Root {
    /// The open folder, and when it was opened. It is opened by its name now and then: an operator may put another one there.
    folder: Option<(OwnedFd, u64)>,
}

impl Root {
    /// Looks for the file at `path`, if that needs no disk; else a thread is to do it.
    pub fn find_now(&self, path: &[u8], now_ns: u64) -> Option<Outcome> {
        let (folder, _) = self.folder.as_ref().filter(|(_, opened_ns)| now_ns.saturating_sub(*opened_ns) < FRESH_NS)?;
        match open_and_read_now(folder.as_fd(), path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            found => Some(found.unwrap_or_else(|error| Err(response_to(&error)))),
        }
    }

    /// Takes the folder that a thread has opened.
    pub fn renew(&mut self, folder: Option<OwnedFd>, now_ns: u64) {
        self.folder = folder.map(|folder| (folder, now_ns));
    }
}

fn open_and_read_now(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<Outcome> {
    describe(files::open_beneath_now(folder, path)?, |file, bytes| match files::read_now(file, bytes)? {
        count if count < bytes.len() => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    })
}

/// What is answered with an open file; a small one is read by `read`, to be sent together with its head.
fn describe(file: File, read: impl Fn(&File, &mut [u8]) -> io::Result<()>) -> io::Result<Outcome> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A folder, a pipe, a device.
        return Ok(Err(Response::FileNotFound));
    }
    let length = metadata.len();
    let small = usize::try_from(length).ok().filter(|length| *length <= SMALL_GETFILE_BYTES);
    let content = match small {
        Some(length) => {
            let mut bytes = vec![0; length];
            if length > 0 {
                read(&file, &mut bytes)?;
            }
            Content::Bytes(bytes.into())
        }
        None => Content::Open(file),
    };
    Ok(Ok((Arc::new(content), length)))
}

/// Reads all of a file that may be made shorter at the same time; what is missing then is zero, and the file is another one soon.
fn read(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    match file.read_exact_at(bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read,
    }
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
