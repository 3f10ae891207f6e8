//! From the target of a request to a path below the root, which nothing that a client writes can leave.

use std::borrow::Cow;

use super::status::Status;

/// Where a target points to: a path below the root, in bytes, since names of files need not be UTF-8.
///
/// It is relative; none of its segments is empty, `.` or `..`; it has no NUL, no control character and no backslash. So two
/// different places are two different paths, and joined to a root a place stays below it (symbolic links aside: those are
/// for whoever opens it).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place<'b> {
    path: Cow<'b, [u8]>,
    directory: bool,
    /// What stands behind the path, with its question mark; means nothing to files.
    query: &'b [u8],
}

/// Why a target points nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An escape that is none, a control character (also an escaped one), a fragment, or no slash at its beginning.
    #[error("the target is malformed")]
    Malformed,
    /// An empty segment, `.` or `..`, an escaped slash, or a backslash.
    #[error("the target is not the name of a file")]
    Nowhere,
}

impl TargetError {
    /// What to answer. [`TargetError::Nowhere`] is answered as a file that does not exist is, so that nothing is told of what
    /// lies around the root.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            TargetError::Malformed => Status::BadRequest,
            TargetError::Nowhere => Status::NotFound,
        }
    }
}

impl<'b> Place<'b> {
    /// The place that a target in origin form (`/path?query`) points to. Escapes of the path are decoded, once.
    ///
    /// Borrows from the target, without an allocation, unless it has escapes.
    ///
    /// # Errors
    /// [`TargetError`]. Dots are not resolved but refused: clients resolve them before they ask (RFC 3986, section 5.2.4),
    /// so who sends them is after something else. The same goes for empty segments, so that a file has one address.
    pub fn of(target: &'b [u8]) -> Result<Place<'b>, TargetError> {
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        if target[end..].contains(&b'#') {
            return Err(TargetError::Malformed);
        }
        let raw = target[..end].strip_prefix(b"/").ok_or(TargetError::Malformed)?;
        let (raw, directory) = match raw.strip_suffix(b"/") {
            Some(before) => (before, true),
            None => (raw, raw.is_empty()),
        };
        if raw.is_empty() && end > 1 {
            return Err(TargetError::Nowhere);
        }
        let path = if raw.contains(&b'%') { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
        judge(&path)?;
        Ok(Place { path, directory, query: &target[end..] })
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

    /// The address of this place as a directory, for a Location field: the path escaped anew and with a slash at its end, and
    /// the query as it was sent, but for bytes that no address may hold (RFC 3986, section 3.4), which are escaped.
    ///
    /// It begins with exactly one slash, so it never leads to another server, as `//host/` would.
    #[must_use]
    pub fn directory_address(&self) -> String {
        let mut address = String::with_capacity(self.path.len() + self.query.len() + 2);
        address.push('/');
        push_escaped(&self.path, b"-._~!$&'()*+,;=:@/", &mut address);
        if !self.path.is_empty() {
            address.push('/');
        }
        push_escaped(self.query, b"-._~!$&'()*+,;=:@/?%", &mut address);
        address
    }
}

/// Appends a text with every byte escaped but letters, digits and those of `plain`.
fn push_escaped(text: &[u8], plain: &[u8], address: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if byte.is_ascii_alphanumeric() || plain.contains(byte) {
            address.push(char::from(*byte));
        } else {
            let digit = |half: u8| char::from(HEX[usize::from(half)]);
            address.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Decodes the escapes. A slash that comes out of one would be a slash for the file system, but was none for the client.
fn decode(raw: &[u8]) -> Result<Vec<u8>, TargetError> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut path = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        if *byte != b'%' {
            path.push(*byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(TargetError::Malformed) };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(TargetError::Malformed) };
        let byte = high << 4 | low;
        if byte == b'/' {
            return Err(TargetError::Nowhere);
        }
        path.push(byte);
        rest = after;
    }
    Ok(path)
}

/// Looks at a path as the file system will see it.
fn judge(path: &[u8]) -> Result<(), TargetError> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(TargetError::Malformed);
    }
    let is_wrong = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    if path.contains(&b'\\') || (!path.is_empty() && path.split(|byte| *byte == b'/').any(is_wrong)) {
        return Err(TargetError::Nowhere);
    }
    Ok(())
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
