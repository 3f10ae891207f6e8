//! What a response says about a file, and the parts of its heads that can be made beforehand.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::date::HttpDate;
use super::general_fields::SERVER;

/// A strong entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(Box<str>);

impl ETag {
    /// The tag with this text between its quotes: at most 70 letters, digits and hyphens, since it is also the boundary of
    /// several parts (RFC 2046, section 5.1.1).
    #[must_use]
    pub fn new(opaque: &str) -> ETag {
        ETag(format!("\"{opaque}\"").into())
    }

    /// With its quotes, as it stands in a field.
    #[inline]
    #[must_use]
    pub fn quoted(&self) -> &str {
        &self.0
    }

    /// Without its quotes.
    #[must_use]
    pub fn opaque(&self) -> &str {
        self.0.trim_matches('"')
    }
}

/// The metadata of a representation (RFC 9110, section 8): of the file itself, or of the file coded with gzip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepresentationMetadata {
    /// Length in bytes.
    pub length: u64,
    /// When the file was last changed, by the clock of the file system.
    pub modified: SystemTime,
    /// The entity tag.
    pub etag: ETag,
    /// The media type of the file, such as `text/html`.
    pub media_type: &'static str,
    /// Whether it is coded with gzip.
    pub gzipped: bool,
    /// Whether the file has another representation, which other clients get.
    pub varies: bool,
}

/// A representation with the heads of its responses, made once per file and not per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    metadata: RepresentationMetadata,
    last_modified: HttpDate,
    /// The head of a 200 from the status line on, without the general fields.
    pub(super) full: Box<str>,
    /// The same of a 304.
    pub(super) not_modified: Box<str>,
    /// The Content-Type line.
    pub(super) content_type: Box<str>,
    /// The fields that a 206 and a 200 have in common.
    pub(super) common: Box<str>,
}

impl Representation {
    /// Makes the heads.
    #[must_use]
    pub fn new(metadata: RepresentationMetadata) -> Representation {
        let last_modified = HttpDate::of(metadata.modified);
        Representation::with(metadata, last_modified)
    }

    /// Last-Modified, in seconds since 1970, in a response with this Date. It is no later than that (RFC 9110, section 8.8.2.1):
    /// the clock of a file server may be ahead of ours, and ours may be set back.
    #[inline]
    #[must_use]
    pub fn modified_at(&self, date: &HttpDate) -> i64 {
        self.last_modified.seconds().min(date.seconds())
    }

    /// The representation for a response with this Date, if the file was last changed after that.
    #[inline]
    pub(super) fn at(&self, date: &HttpDate) -> Option<Representation> {
        (self.last_modified.seconds() > date.seconds()).then(|| Representation::with(self.metadata.clone(), *date))
    }

    fn with(metadata: RepresentationMetadata, last_modified: HttpDate) -> Representation {
        let RepresentationMetadata { length, etag, media_type, gzipped, varies, .. } = &metadata;
        let charset = if media_type.starts_with("text/") { "; charset=utf-8" } else { "" };
        let content_type = format!("Content-Type: {media_type}{charset}\r\n");
        let encoding = if *gzipped { "Content-Encoding: gzip\r\n" } else { "" };
        let vary = if *varies { "Vary: Accept-Encoding\r\n" } else { "" };
        let (etag, date) = (etag.quoted(), last_modified.as_str());
        let mut common = String::new();
        // Writing to a String cannot fail.
        let _ = write!(common, "{encoding}ETag: {etag}\r\nLast-Modified: {date}\r\n{vary}");
        common.push_str("Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n");
        let full = format!("HTTP/1.1 200 OK\r\n{SERVER}{content_type}Content-Length: {length}\r\n{common}").into();
        let not_modified = format!("HTTP/1.1 304 Not Modified\r\n{SERVER}ETag: {etag}\r\n{vary}").into();
        let (content_type, common) = (content_type.into(), common.into());
        Representation { last_modified, metadata, full, not_modified, content_type, common }
    }

    /// Its metadata.
    #[inline]
    #[must_use]
    pub fn metadata(&self) -> &RepresentationMetadata {
        &self.metadata
    }

    /// Bytes that it allocated, for the accounting of a cache.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let texts = [&self.full, &self.not_modified, &self.content_type, &self.common, &self.metadata.etag.0];
        texts.iter().map(|text| text.len()).sum()
    }
}
