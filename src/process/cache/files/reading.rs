//! One file, on the thread that reads it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::map_file::MapFile;
use crate::base::limits::UPSTREAM_CHUNK_BYTES;
use crate::ipc::files;
use crate::process::cache::core::{Head, Path, Validators};
use crate::process::cache::origin::{Failure, Fetcher, Listener, Said};
use crate::service::getfile::wire::request::RequestPath;

/// What is to be read.
pub struct Wanted {
    /// The path that the map has.
    pub path: Path,
    /// What is known of its file.
    pub validators: Validators,
}

/// Reads the files that this map names.
pub struct Reading(pub MapFile);

impl Fetcher for Reading {
    type Wanted = Wanted;

    fn fetch(&self, wanted: &Wanted, to: &Listener) -> Option<Said> {
        let Some(map) = self.0.current() else { return Some(Said::Failed(Failure::NoMap)) };
        let Some(name) = RequestPath::new(&wanted.path).and_then(|path| map.file(path)) else {
            return Some(Said::Head(Head::NotFound));
        };
        let opened = files::open_file(name).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        match opened {
            // A folder, a pipe, a device.
            Ok((_, metadata)) if !metadata.is_file() => Some(Said::Head(Head::NotFound)),
            Ok((file, metadata)) => give(file, &metadata, &wanted.validators, to),
            Err(error) if is_not_there(&error) => Some(Said::Head(Head::NotFound)),
            Err(error) => Some(Said::Failed(Failure::Unreadable(error.to_string()))),
        }
    }
}

/// What changes when the file does.
fn etag_of(metadata: &Metadata) -> Box<[u8]> {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{:x}-{:x}-{:x}-{seconds:x}.{nanoseconds}", metadata.dev(), metadata.ino(), metadata.len())
        .into_bytes()
        .into()
}

/// Tells what the file has; returns the last of it.
fn give(mut file: File, metadata: &Metadata, known: &Validators, to: &Listener) -> Option<Said> {
    let (etag, length) = (etag_of(metadata), metadata.len());
    if known.etag.as_ref() == Some(&etag) {
        return Some(Said::Head(Head::NotModified));
    }
    let validators = Validators { etag: Some(etag.clone()), last_modified: None };
    if !to.say(Said::Head(Head::Found { length: Some(length), validators })) {
        return None;
    }
    match read(&mut file, length, to) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(failure) => return Some(Said::Failed(failure)),
    }
    match file.metadata() {
        Ok(now) if etag_of(&now) == etag => Some(Said::Whole),
        Ok(_) => Some(Said::Failed(Failure::Changed)),
        Err(error) => Some(Said::Failed(Failure::Unreadable(error.to_string()))),
    }
}

/// Reads the whole file, which has `length` bytes, no more and no less. Returns whether anybody listened to the end.
fn read(file: &mut File, length: u64, to: &Listener) -> Result<bool, Failure> {
    let mut missing = length;
    let mut buffer = vec![0; UPSTREAM_CHUNK_BYTES];
    loop {
        if !to.is_there() {
            return Ok(false);
        }
        let bytes = match file.read(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Unreadable(error.to_string())),
        };
        if bytes == 0 {
            return if missing == 0 { Ok(true) } else { Err(Failure::WrongLength) };
        }
        missing = missing.checked_sub(bytes as u64).ok_or(Failure::WrongLength)?;
        if !to.say(Said::Chunk(buffer[..bytes].into())) {
            return Ok(false);
        }
    }
}

/// Whether an error means that there is no such file, or that it is not to be had.
fn is_not_there(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::EINVAL
                | libc::EACCES
                | libc::EPERM
                | libc::ENXIO
        )
    )
}
