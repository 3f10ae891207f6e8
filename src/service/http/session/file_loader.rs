//! The file loader: files of the folder that is served, looked for and read by threads, since that may wait for a disk.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::limits::MAX_CACHED_FILE_BYTES;
use crate::ipc::files;
use crate::service::connection_state::SessionKey;
use crate::service::http::rules::{etag, media_type};
use crate::service::http::session::built_in;
use crate::service::http::session::served_file::{FileKey, LoadOutcome, ServedFile, Stamp};
use crate::service::http::wire::{Representation, RepresentationMetadata, Status};
use crate::service::outgoing::Content;
use crate::service::pool::Pool;

/// The threads that find and read files.
pub type Loaders = Pool<Job, Done>;

/// What stands for a folder.
const INDEX: &[u8] = b"index.html";

/// What is to be done.
pub enum Job {
    /// Find a file.
    Find {
        /// Which.
        key: FileKey,
        /// What is known of it.
        known: Option<Stamp>,
        /// When it was asked for.
        asked_ns: u64,
    },
    /// Have the kernel read a part of an open file into memory.
    Fetch {
        /// The file.
        item: Arc<ServedFile>,
        /// The part.
        part: Range<u64>,
        /// Who waits for it.
        session: SessionKey,
    },
}

/// What came of it.
pub enum Done {
    /// A file was looked for.
    Looked(Found),
    /// A part of a file is in memory, or cannot be read.
    Fetched(SessionKey),
}

/// What came of looking for a file.
pub struct Found {
    /// Which.
    pub key: FileKey,
    /// When it was asked for.
    pub asked_ns: u64,
    /// What came of it.
    pub outcome: LoadOutcome,
}

/// Finds files.
pub struct FileLoader {
    /// `None`: the site that is in the program.
    www: Option<PathBuf>,
}

impl FileLoader {
    /// The files of the folder `www`, or of the site that is in the program.
    #[must_use]
    pub fn new(www: Option<PathBuf>) -> Self {
        FileLoader { www }
    }

    /// Does one job; may take its time.
    pub fn run(&self, job: Job) -> Done {
        match job {
            Job::Find { key, known, asked_ns } => {
                let outcome = self.find(&key, known);
                Done::Looked(Found { key, asked_ns, outcome })
            }
            Job::Fetch { item, part, session } => {
                item.content.fetch(part);
                Done::Fetched(session)
            }
        }
    }

    fn find(&self, key: &[u8], known: Option<Stamp>) -> LoadOutcome {
        let [gzip, slash, path @ ..] = key else { return LoadOutcome::Refused(Status::InternalError) };
        let (gzip, is_folder) = (*gzip == b'z', *slash == b'/');
        let Some(www) = &self.www else { return built_in::find(path, is_folder, known) };
        // By its name each time: an operator may put another folder in its place.
        let folder = match files::open_folder(www) {
            Ok(folder) => folder,
            Err(error) => {
                log::warn!("{error}: nothing is found");
                return LoadOutcome::Refused(Status::NotFound);
            }
        };
        let found = if is_folder {
            let index = if path.is_empty() { INDEX.to_vec() } else { [path, b"/", INDEX].concat() };
            find_form(&folder, &index, gzip, known).or_else(|error| match error.kind() {
                // A folder without an index is there, and not to be seen.
                io::ErrorKind::NotFound if is_a_folder(&folder, path) => Ok(LoadOutcome::Refused(Status::Forbidden)),
                _ => Err(error),
            })
        } else {
            find_form(&folder, path, gzip, known)
        };
        found.unwrap_or_else(|error| LoadOutcome::Refused(status_of(&error)))
    }
}

/// The file at `path`, or the compressed form of it that lies beside it, if that will do.
fn find_form(folder: &OwnedFd, path: &[u8], gzip: bool, known: Option<Stamp>) -> io::Result<LoadOutcome> {
    let file = files::open_beneath(folder.as_fd(), path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(LoadOutcome::Folder);
    }
    let compressed = files::open_beneath(folder.as_fd(), &[path, b".gz"].concat()).ok();
    let compressed = compressed.and_then(|file| Some((file.metadata().ok()?, file)));
    // An older one is of what the file was before.
    let compressed =
        compressed.filter(|(of_it, _)| of_it.is_file() && of_it.modified().ok() >= metadata.modified().ok());
    let varies = compressed.is_some();
    match compressed.filter(|_| gzip) {
        Some((metadata, file)) => read(path, file, &metadata, Form { gzipped: true, varies }, known),
        None => read(path, file, &metadata, Form { gzipped: false, varies }, known),
    }
}

fn is_a_folder(folder: &OwnedFd, path: &[u8]) -> bool {
    files::open_beneath(folder.as_fd(), path).and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_dir())
}

/// Which of its forms a file is read in.
#[derive(Clone, Copy)]
struct Form {
    gzipped: bool,
    /// Whether there is another.
    varies: bool,
}

fn read(path: &[u8], file: File, metadata: &Metadata, form: Form, known: Option<Stamp>) -> io::Result<LoadOutcome> {
    if !metadata.is_file() {
        // A pipe or a device.
        return Ok(LoadOutcome::Refused(Status::Forbidden));
    }
    let Form { gzipped, varies } = form;
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        gzipped,
    };
    if known == Some(stamp) {
        return Ok(LoadOutcome::Same);
    }
    let modified = metadata.modified()?;
    let of_file = RepresentationMetadata {
        length: metadata.len(),
        modified,
        etag: etag(modified, metadata.len(), metadata.ino(), gzipped),
        media_type: media_type(path),
        gzipped,
        varies,
    };
    let content = if metadata.len() > MAX_CACHED_FILE_BYTES {
        Content::Open(file)
    } else {
        Content::Bytes(read_whole(file, metadata)?)
    };
    Ok(LoadOutcome::Found(Arc::new(ServedFile { representation: Representation::new(of_file), content, stamp })))
}

fn read_whole(mut file: File, metadata: &Metadata) -> io::Result<Box<[u8]>> {
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.by_ref().take(metadata.len()).read_to_end(&mut bytes)?;
    // It was said how long it is; being written right now, it may be of another length and will be looked at again.
    bytes.resize(usize::try_from(metadata.len()).unwrap_or(bytes.len()), 0);
    Ok(bytes.into_boxed_slice())
}

/// What a client is loaded when a file cannot be opened.
fn status_of(error: &io::Error) -> Status {
    match error.raw_os_error() {
        // What would lead out of the folder is answered like what is not there.
        Some(libc::ENOENT | libc::ENOTDIR | libc::EXDEV | libc::ELOOP | libc::ENAMETOOLONG | libc::EINVAL) => {
            Status::NotFound
        }
        Some(libc::EACCES | libc::EPERM | libc::ENXIO) => Status::Forbidden,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => {
            log::warn!("a file cannot be opened now: {error}");
            Status::Unavailable
        }
        _ => {
            log::warn!("a file cannot be read: {error}");
            Status::InternalError
        }
    }
}
