//! The small site that is in the program, served where no folder is named.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::service::http::rules::{etag, media_type};
use crate::service::http::session::served_file::{LoadOutcome, ServedFile, Stamp};
use crate::service::http::wire::{Representation, RepresentationMetadata, Status};
use crate::service::outgoing::Content;

/// The day on which the site was last changed, 2026-11-21, in seconds since 1970.
const CHANGED: u64 = 1_795_219_200;

/// The files, by their paths.
const FILES: [(&[u8], &[u8]); 3] = [
    (b"index.html", include_bytes!("site/index.html")),
    (b"style.css", include_bytes!("site/style.css")),
    (b"robots.txt", b"User-agent: *\nDisallow: /_vault/\n"),
];

/// Finds the file at `path`.
#[must_use]
pub fn find(path: &[u8], is_folder: bool, known: Option<Stamp>) -> LoadOutcome {
    let path = match (path, is_folder) {
        (b"", _) => b"index.html",
        (_, true) => return LoadOutcome::Refused(Status::NotFound),
        (path, false) => path,
    };
    match FILES.iter().find(|(name, _)| *name == path) {
        None => LoadOutcome::Refused(Status::NotFound),
        // It never changes.
        Some(_) if known.is_some() => LoadOutcome::Same,
        Some((path, bytes)) => LoadOutcome::Found(Arc::new(item(path, bytes))),
    }
}

fn item(path: &[u8], bytes: &[u8]) -> ServedFile {
    let (modified, length) = (UNIX_EPOCH + Duration::from_secs(CHANGED), bytes.len() as u64);
    // In place of an inode, so that another version of the program has another tag.
    let crc = u64::from(crc32fast::hash(bytes));
    let metadata = RepresentationMetadata {
        length,
        modified,
        etag: etag(modified, length, crc, false),
        media_type: media_type(path),
        gzipped: false,
        varies: false,
    };
    let stamp = Stamp { device: 0, inode: crc, length, changed: (0, 0), gzipped: false };
    ServedFile { representation: Representation::new(metadata), content: Content::Bytes(bytes.into()), stamp }
}
