//! The request target as a path below the root. Nothing that a client writes leads out of it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::status::Status;

/// All that a path may not hold (RFC 3986, section 3.3).
const ESCAPED_IN_PATH: &AsciiSet = &all_but(b"-._~!$&'()*+,;=:@/");
/// All that a query may not hold (section 3.4). It comes with its question mark, and with its escapes.
const ESCAPED_IN_QUERY: &AsciiSet = &all_but(b"-._~!$&'()*+,;=:@/?%");

/// Everything but letters, digits and these.
const fn all_but(mut plain: &[u8]) -> AsciiSet {
    let mut kept = NON_ALPHANUMERIC.complement();
    while let [byte, rest @ ..] = plain {
        kept = kept.add(*byte);
        plain = rest;
    }
    kept.complement()
}

/// The path below the root that a target names, in bytes, since names of files need not be UTF-8.
///
/// It is relative. None of its segments is empty, `.` or `..`. It has no NUL, no control character and no backslash. Therefore
/// two different paths name two different files, and joined to a root a path stays below it. (Symbolic links are checked by the
/// code that opens the file.)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetPath<'b> {
    path: Cow<'b, [u8]>,
    directory: bool,
    /// The query with its question mark. It means nothing to files.
    query: &'b [u8],
}

impl<'b> TargetPath<'b> {
    /// Parses a target in origin form (`/path?query`). The escapes of the path are decoded once.
    ///
    /// Without escapes the path borrows from the target, and nothing is allocated.
    ///
    /// # Errors
    /// [`Status::BadRequest`]: there is a malformed escape, a control character (also an escaped one) or a fragment, or no slash at
    /// the beginning. [`Status::NotFound`]: there is an empty segment, `.` or `..`, an escaped slash, or a backslash. That is the
    /// status of a file that does not exist, too, so that the response tells nothing about what is outside of the root.
    ///
    /// Dot segments are refused and not resolved: clients resolve them before they send a request (RFC 3986, section 5.2.4), so a
    /// client that sends them tries to leave the root. Empty segments are refused so that each file has one address.
    pub fn parse(target: &'b [u8]) -> Result<TargetPath<'b>, Status> {
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        if target[end..].contains(&b'#') {
            return Err(Status::BadRequest);
        }
        let raw = target[..end].strip_prefix(b"/").ok_or(Status::BadRequest)?;
        let (raw, directory) = match raw.strip_suffix(b"/") {
            Some(before) => (before, true),
            None => (raw, raw.is_empty()),
        };
        if raw.is_empty() && end > 1 {
            return Err(Status::NotFound);
        }
        let path = decode(raw)?;
        check(&path)?;
        Ok(TargetPath { path, directory, query: &target[end..] })
    }

    /// The path from the root on, without a slash at either end; empty for the root itself.
    #[inline]
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether the target ended with a slash, as addresses of directories do.
    #[inline]
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The address of this directory for a Location field: the path, escaped again and with a slash at its end, and the query
    /// as it was sent, except that bytes which no query may hold are escaped.
    ///
    /// It begins with exactly one slash: `//host/` would lead to another server.
    #[must_use]
    pub fn directory_location(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        format!(
            "/{}{slash}{}",
            percent_encode(&self.path, ESCAPED_IN_PATH),
            percent_encode(self.query, ESCAPED_IN_QUERY)
        )
    }
}

/// Decodes the escapes. An escaped slash is refused: it would separate segments for the file system, but does not for the client.
///
/// The crate `percent_encoding` leaves malformed escapes as they are, so they are looked for first.
fn decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, Status> {
    for escape in raw.split(|byte| *byte == b'%').skip(1) {
        match escape {
            [b'2', b'F' | b'f', ..] => return Err(Status::NotFound),
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => (),
            _ => return Err(Status::BadRequest),
        }
    }
    Ok(percent_decode(raw).into())
}

/// Checks a path as the file system will see it.
fn check(path: &[u8]) -> Result<(), Status> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(Status::BadRequest);
    }
    let is_wrong = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    if path.contains(&b'\\') || (!path.is_empty() && path.split(|byte| *byte == b'/').any(is_wrong)) {
        return Err(Status::NotFound);
    }
    Ok(())
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
