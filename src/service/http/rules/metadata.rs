//! How the metadata of a representation follows from what the file system says about a file.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::service::http::wire::ETag;

/// Media types that RFC 8081 (fonts) and RFC 9239 (scripts) registered, and for which `mime_guess` has older names.
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

/// The entity tag of a file, or of the file coded with gzip. Two states of a file with the same tag have the same bytes, as far as
/// a file system can tell.
///
/// It is made of the time of the last change in nanoseconds, the length and the inode number. A file that is overwritten in
/// place twice within one tick of the kernel's clock (some milliseconds), to the same length, keeps its tag. A file that is
/// replaced by renaming does not, since the inode is another.
#[must_use]
pub fn etag(modified: SystemTime, length: u64, inode: u64, gzipped: bool) -> ETag {
    let (sign, distance) = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => ("", after),
        Err(before) => ("-", before.duration()),
    };
    let coding = if gzipped { "-gz" } else { "" };
    ETag::new(&format!("{sign}{:x}-{length:x}-{inode:x}{coding}", distance.as_nanos()))
}

/// The media type of the file at `path` (without `.gz`, if a file coded beforehand is sent), by the extension of its name.
#[must_use]
pub fn media_type(path: &[u8]) -> &'static str {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let extension = dot.and_then(|dot| str::from_utf8(&name[dot + 1..]).ok()).unwrap_or_default();
    let registered = REGISTERED.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    let media_type = registered.map(|(_, media_type)| *media_type);
    media_type.or_else(|| mime_guess::from_ext(extension).first_raw()).unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_difference_makes_another_tag() {
        let time = UNIX_EPOCH + Duration::new(784_111_777, 5);
        let tag = etag(time, 10, 20, false);
        assert_eq!(tag.quoted(), "\"ae1b981bc490a05-a-14\"");
        assert_eq!(tag, etag(time, 10, 20, false));
        let before = UNIX_EPOCH - Duration::new(784_111_777, 5);
        let others = [
            etag(time + Duration::from_nanos(1), 10, 20, false),
            etag(before, 10, 20, false),
            etag(time, 11, 20, false),
            etag(time, 10, 21, false),
            etag(time, 10, 20, true),
            etag(time, 0x1020, 0, false),
        ];
        assert!(others.iter().all(|other| *other != tag));
        let longest = etag(UNIX_EPOCH - Duration::new(i64::MAX.unsigned_abs(), 0), u64::MAX, u64::MAX, true);
        assert!(longest.opaque().len() <= 70, "it is also a boundary: {longest:?}");
        assert!(longest.opaque().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }

    #[test]
    fn the_extension_tells_the_type() {
        for (path, wanted) in [
            ("a/index.html", "text/html"),
            ("INDEX.HTM", "text/html"),
            ("a.css", "text/css"),
            ("a.js", "text/javascript"),
            ("a.txt", "text/plain"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.b.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.mjs", "text/javascript"),
            ("a.MJS", "text/javascript"),
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
            assert_eq!(media_type(path.as_bytes()), wanted, "{path}");
        }
        assert_eq!(media_type(b"a.\xff"), "application/octet-stream");
    }
}
