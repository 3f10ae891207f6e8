//! A file as HTTP sees it: its length, its validators, its type; and the part of an answer's head that follows from them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::date::DateText;

/// A strong validator: two states of a file with the same tag have the same bytes, as far as a file system can tell.
///
/// It is made of the time of the last change in nanoseconds, the length and the inode number. A file that is overwritten in
/// place twice within one tick of the kernel's clock (some milliseconds), to the same length, keeps its tag; one that is
/// replaced by renaming does not, as the inode is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(Box<str>);

impl ETag {
    /// The tag of a file, or of its form compressed with gzip, whose bytes are others.
    #[must_use]
    pub fn of(modified: SystemTime, length: u64, inode: u64, gzipped: bool) -> ETag {
        let (sign, distance) = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => ("", after),
            Err(before) => ("-", before.duration()),
        };
        let form = if gzipped { "-gz" } else { "" };
        ETag(format!("\"{sign}{:x}-{length:x}-{inode:x}{form}\"", distance.as_nanos()).into())
    }

    /// With its quotes, as it stands in a field.
    #[inline]
    #[must_use]
    pub fn quoted(&self) -> &str {
        &self.0
    }

    /// Without its quotes: digits, small letters and hyphens, at most 70 of them.
    pub(super) fn bare(&self) -> &str {
        self.0.trim_matches('"')
    }
}

/// Types that were registered anew, by RFC 8081 (fonts) and RFC 9239 (scripts), and that `mime_guess` has by older names.
const REGISTERED: [(&str, &str); 8] = [
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("otf", "font/otf"),
    ("sfnt", "font/sfnt"),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

/// The type of a file, by the extension of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// Such as `text/html`.
    essence: &'static str,
    /// Whether it is text whose character set must be told.
    text: bool,
}

impl ContentType {
    /// The type of the file at `path` (without `.gz`, where a compressed form stands in for it); what is not known is
    /// `application/octet-stream`. Text is UTF-8.
    #[must_use]
    pub fn of(path: &[u8]) -> ContentType {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
        let extension = dot.and_then(|dot| str::from_utf8(&name[dot + 1..]).ok()).unwrap_or_default();
        let registered = REGISTERED.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        let essence = registered.map(|(_, essence)| *essence).or_else(|| mime_guess::from_ext(extension).first_raw());
        let essence = essence.unwrap_or("application/octet-stream");
        ContentType { essence, text: essence.starts_with("text/") }
    }

    /// What follows the type in its field.
    fn parameters(self) -> &'static str {
        if self.text { "; charset=utf-8" } else { "" }
    }
}

/// What is known of a file, or of the form of it that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Bytes of the form that is sent.
    pub length: u64,
    /// When the file was last changed, as the file system says it.
    pub modified: SystemTime,
    /// Its validator, of the form that is sent.
    pub etag: ETag,
    /// Its type, before compression.
    pub content_type: ContentType,
    /// Whether the form that is sent is compressed with gzip.
    pub gzipped: bool,
    /// Whether there is another form, which other clients get.
    pub varies: bool,
}

/// An entity with the heads of its answers made beforehand, as far as they do not change: once per file, not per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    pub(super) entity: Entity,
    /// The Last-Modified that the heads have.
    modified: DateText,
    /// From the status line of a 200 to its last field but Date and Connection.
    pub(super) whole: Box<str>,
    /// The same of a 304.
    pub(super) not_modified: Box<str>,
    /// Type and encoding, for the parts of an answer.
    pub(super) content_type: Box<str>,
    /// The fields of a 206 that are those of the 200: validators and what else goes with them.
    pub(super) common: Box<str>,
}

impl Sheet {
    /// Makes the heads.
    #[must_use]
    pub fn of(entity: Entity) -> Sheet {
        let modified = DateText::of(entity.modified);
        Sheet::with(entity, modified)
    }

    /// When the file was last changed, in seconds since 1970, for an answer with this Date: no later than that (RFC 9110, section
    /// 8.8.2.1). Clocks of file servers differ from ours, and ours may be set back.
    #[inline]
    pub(super) fn modified_at(&self, date: &DateText) -> i64 {
        self.modified.seconds().min(date.seconds())
    }

    /// The sheet for an answer with this Date, where it is another: that of a file that was last changed later than that.
    #[inline]
    pub(super) fn at(&self, date: &DateText) -> Option<Sheet> {
        (self.modified.seconds() > date.seconds()).then(|| Sheet::with(self.entity.clone(), *date))
    }

    fn with(entity: Entity, modified: DateText) -> Sheet {
        let kind = entity.content_type;
        let content_type = format!("Content-Type: {}{}\r\n", kind.essence, kind.parameters());
        let encoding = if entity.gzipped { "Content-Encoding: gzip\r\n" } else { "" };
        let vary = if entity.varies { "Vary: Accept-Encoding\r\n" } else { "" };
        let etag = entity.etag.quoted();
        let date = modified.as_str();
        let mut common = String::new();
        // Writing to a String cannot fail.
        let _ = write!(common, "{encoding}ETag: {etag}\r\nLast-Modified: {date}\r\n{vary}");
        common.push_str("Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n");
        let whole = format!(
            "HTTP/1.1 200 OK\r\n{SERVER}{content_type}Content-Length: {length}\r\n{common}",
            length = entity.length
        );
        let not_modified = format!("HTTP/1.1 304 Not Modified\r\n{SERVER}ETag: {etag}\r\n{vary}");
        Sheet {
            modified,
            entity,
            whole: whole.into(),
            not_modified: not_modified.into(),
            content_type: content_type.into(),
            common: common.into(),
        }
    }

    /// What it was made of.
    #[inline]
    #[must_use]
    pub fn entity(&self) -> &Entity {
        &self.entity
    }

    /// Bytes of memory that it takes, for the account of a cache; those of its own structure not among them.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        [&self.whole, &self.not_modified, &self.content_type, &self.common, &self.entity.etag.0]
            .map(|text| text.len())
            .iter()
            .sum()
    }
}

/// The field by which the server names itself.
pub(super) const SERVER: &str = "Server: bank-vault\r\n";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_difference_makes_another_tag() {
        let time = UNIX_EPOCH + Duration::new(784_111_777, 5);
        let tag = ETag::of(time, 10, 20, false);
        assert_eq!(tag.quoted(), "\"ae1b981bc490a05-a-14\"");
        assert_eq!(tag, ETag::of(time, 10, 20, false));
        let before = UNIX_EPOCH - Duration::new(784_111_777, 5);
        let others = [
            ETag::of(time + Duration::from_nanos(1), 10, 20, false),
            ETag::of(before, 10, 20, false),
            ETag::of(time, 11, 20, false),
            ETag::of(time, 10, 21, false),
            ETag::of(time, 10, 20, true),
            ETag::of(time, 0x1020, 0, false),
        ];
        assert!(others.iter().all(|other| *other != tag));
        let longest = ETag::of(UNIX_EPOCH - Duration::new(i64::MAX.unsigned_abs(), 0), u64::MAX, u64::MAX, true);
        assert!(longest.bare().len() <= 70, "it serves as a boundary: {longest:?}");
        assert!(longest.bare().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }

    #[test]
    fn the_extension_tells_the_type() {
        for (path, wanted) in [
            ("a/index.html", "text/html; charset=utf-8"),
            ("INDEX.HTM", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.b.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.MJS", "text/javascript; charset=utf-8"),
            ("a.ttf", "font/ttf"),
            ("a.otf", "font/otf"),
            ("a.ttc", "font/collection"),
            ("a.sfnt", "font/sfnt"),
            ("a.woff", "font/woff"),
            ("a.woff2", "font/woff2"),
            ("a.pdf", "application/pdf"),
            ("Makefile", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.html/b", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.nobody-knows", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            let kind = ContentType::of(path.as_bytes());
            assert_eq!(format!("{}{}", kind.essence, kind.parameters()), wanted, "{path}");
        }
        assert_eq!(ContentType::of(b"a.\xff").essence, "application/octet-stream");
    }
}
