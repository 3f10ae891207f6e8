//! A request: `GETFILE GET /path`, and an empty line.

use crate::base::limits::MAX_GETFILE_PATH_BYTES;
use crate::service::getfile::wire::END;

/// What comes before the path.
const START: &[u8] = b"GETFILE GET ";
/// Bytes of the longest request: start, path, one space, and the empty line.
pub const MAX_REQUEST_BYTES: usize = START.len() + MAX_GETFILE_PATH_BYTES + 1 + END.len();

/// A path as a request has it: begins with a slash, and has neither spaces nor NUL nor line ends. Its bytes are the name; nothing in it
/// stands for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPath<'a>(&'a [u8]);

/// What the bytes of a connection begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A request that is not whole.
    Incomplete,
    /// A request for this path.
    Request(RequestPath<'a>),
    /// Bytes that no request begins with.
    Malformed,
    /// A request whose path is too long. Its end is still to be read, since the client may not read before it has sent it.
    TooLong,
}

impl<'a> RequestPath<'a> {
    /// Checks a path.
    #[must_use]
    pub fn new(path: &'a [u8]) -> Option<Self> {
        let is_good =
            path.first() == Some(&b'/') && path.len() <= MAX_GETFILE_PATH_BYTES && !path.iter().any(is_foreign);
        is_good.then_some(RequestPath(path))
    }

    /// Its bytes, with the slash that it begins with.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether one of its components is `..`, which names nothing here.
    #[must_use]
    pub fn climbs(self) -> bool {
        self.0.split(|byte| *byte == b'/').any(|component| component == b"..")
    }

    /// Writes the request for it.
    pub fn write_request(self, to: &mut Vec<u8>) {
        to.extend_from_slice(START);
        to.extend_from_slice(self.0);
        to.extend_from_slice(END);
    }
}

/// Reads the request that `bytes` begin with. What follows it is not looked at.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(rest) = bytes.strip_prefix(START) else {
        return if START.starts_with(bytes) { Parsed::Incomplete } else { Parsed::Malformed };
    };
    let length = rest.iter().position(is_foreign);
    let (path, end) = rest.split_at(length.unwrap_or(rest.len()));
    if path.first().is_some_and(|first| *first != b'/') || path.is_empty() && !end.is_empty() {
        return Parsed::Malformed;
    }
    // Some clients have a space before the line's end.
    let line_end = end.strip_prefix(b" ").unwrap_or(end);
    let is_over = line_end.starts_with(END);
    if !is_over && !END.starts_with(line_end) {
        return Parsed::Malformed;
    }
    match RequestPath::new(path) {
        _ if path.len() > MAX_GETFILE_PATH_BYTES => Parsed::TooLong,
        Some(path) if is_over => Parsed::Request(path),
        _ => Parsed::Incomplete,
    }
}

/// Whether a byte cannot be in a path.
fn is_foreign(byte: &u8) -> bool {
    matches!(byte, 0 | b' ' | b'\r' | b'\n')
}
