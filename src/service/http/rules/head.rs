//! What the header lines of a request say, gathered line by line, and whether they say it in a way that can be trusted.

use super::authority::is_authority;
use super::fields::{Codings, Line, digits, is_token, members, trim};
use super::request::Conditions;
use super::status::Status;
use crate::base::limits::MAX_BODY_BYTES;

/// The longest name that is looked for.
const LONGEST_NAME: usize = "if-unmodified-since".len();

/// The lines that matter here; all others are passed over.
#[derive(Default)]
pub(super) struct Fields<'b> {
    pub(super) conditions: Conditions<'b>,
    pub(super) codings: Codings,
    pub(super) referer: &'b [u8],
    pub(super) agent: &'b [u8],
    /// All lines, behind the request line.
    lines: &'b [u8],
    host: Line<'b>,
    content_length: Line<'b>,
    transfer: Transfer,
    expects_continue: bool,
    expects_else: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl<'b> Fields<'b> {
    /// Nothing yet, of these lines.
    pub(super) fn of(lines: &'b [u8]) -> Self {
        Fields { lines, ..Fields::default() }
    }

    /// Takes note of one line.
    pub(super) fn add(&mut self, name: &str, value: &'b [u8]) {
        let mut lower = [0; LONGEST_NAME];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"host" => self.host.add(value),
            b"content-length" => self.content_length.add(value),
            b"transfer-encoding" => self.transfer.add(value),
            b"connection" => self.add_connection(value),
            b"expect" => self.add_expectation(value),
            b"accept-encoding" => self.codings.add(value),
            b"if-match" => self.conditions.if_match.add("if-match", value, self.lines),
            b"if-none-match" => self.conditions.if_none_match.add("if-none-match", value, self.lines),
            b"if-modified-since" => self.conditions.if_modified_since.add(value),
            b"if-unmodified-since" => self.conditions.if_unmodified_since.add(value),
            b"if-range" => self.conditions.if_range.add(value),
            b"range" => self.conditions.range.add(value),
            b"referer" => self.referer = value,
            b"user-agent" => self.agent = value,
            _ => (),
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in members(value) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn add_expectation(&mut self, value: &[u8]) {
        for expectation in members(value) {
            let known = expectation.eq_ignore_ascii_case(b"100-continue");
            self.expects_continue |= known;
            self.expects_else |= !known;
        }
    }

    /// Whether another request may follow (RFC 9112, section 9.3).
    ///
    /// Not behind a body that the client keeps back until it is told to send it: the answer comes instead of that, and
    /// whether the body comes then is up to the client (RFC 9110, section 10.1.1).
    pub(super) fn keep_alive(&self, minor_version: u8, body_bytes: u64) -> bool {
        let kept_back = minor_version == 1 && self.expects_continue && body_bytes > 0;
        !self.says_close && !kept_back && (minor_version == 1 || self.says_keep_alive)
    }

    /// The value of Host (RFC 9112, section 3.2).
    ///
    /// # Errors
    /// [`Status::BadRequest`]: it is malformed, there twice, or missing in HTTP/1.1.
    pub(super) fn host(&self, minor_version: u8) -> Result<&'b [u8], Status> {
        match self.host {
            Line::Once(host) if is_authority(host) => Ok(host),
            Line::Absent if minor_version == 0 => Ok(b""),
            Line::Absent | Line::Once(_) | Line::Repeated => Err(Status::BadRequest),
        }
    }

    /// Bytes of the body behind the head (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// [`Status::BadRequest`] where readers could disagree; [`Status::NotImplemented`] for a coding but chunked;
    /// [`Status::LengthRequired`] for that; [`Status::ContentTooLarge`].
    pub(super) fn body_bytes(&self, minor_version: u8) -> Result<u64, Status> {
        match (self.transfer, self.content_length) {
            (Transfer::Absent, Line::Absent) => Ok(0),
            (Transfer::Absent, Line::Once(value)) => match digits(value) {
                Some(Some(length)) if length <= MAX_BODY_BYTES => Ok(length),
                Some(Some(_)) => Err(Status::ContentTooLarge),
                Some(None) | None => Err(Status::BadRequest),
            },
            (Transfer::Chunked, Line::Absent) if minor_version == 1 => Err(Status::LengthRequired),
            (Transfer::ChunkedOnTop, Line::Absent) if minor_version == 1 => Err(Status::NotImplemented),
            // In HTTP/1.0 a coding means that somebody in between does not know it (RFC 9112, section 6.1).
            _ => Err(Status::BadRequest),
        }
    }

    /// Whether all that the client expects can be done (RFC 9110, section 10.1.1): to be told whether to go on, by the answer
    /// itself. HTTP/1.0 has no expectations.
    ///
    /// # Errors
    /// [`Status::ExpectationFailed`].
    pub(super) fn expectations(&self, minor_version: u8) -> Result<(), Status> {
        if minor_version == 1 && self.expects_else { Err(Status::ExpectationFailed) } else { Ok(()) }
    }
}

/// What the lines of Transfer-Encoding say together (RFC 9112, section 6.1 and 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Transfer {
    /// It is not there.
    #[default]
    Absent,
    /// It is there, and names no coding.
    Empty,
    /// Chunked alone.
    Chunked,
    /// Chunked as the last of several codings.
    ChunkedOnTop,
    /// Other codings so far. If this is all, nobody knows where the body ends.
    Open,
    /// Something that is no coding, or stands behind chunked.
    Malformed,
}

impl Transfer {
    fn add(&mut self, value: &[u8]) {
        if *self == Transfer::Absent {
            *self = Transfer::Empty;
        }
        for member in members(value) {
            let mut parts = member.split(|byte| *byte == b';').map(trim);
            let name = parts.next().unwrap_or_default();
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            // Chunked has no parameters.
            let is_coding = is_token(name) && !(is_chunked && parts.next().is_some());
            *self = match *self {
                _ if !is_coding => Transfer::Malformed,
                Transfer::Absent | Transfer::Empty if is_chunked => Transfer::Chunked,
                Transfer::Open if is_chunked => Transfer::ChunkedOnTop,
                Transfer::Absent | Transfer::Empty | Transfer::Open => Transfer::Open,
                Transfer::Chunked | Transfer::ChunkedOnTop | Transfer::Malformed => Transfer::Malformed,
            };
        }
    }
}

/// Whether every line feed has its carriage return, and the other way round. `lines` ends with a line feed.
pub(super) fn lines_end_properly(lines: &[u8]) -> bool {
    const CR: u8 = b'\r';
    const LF: u8 = b'\n';
    // Without a branch per byte, so that it is done sixteen bytes at a time.
    let pairs = lines.iter().zip(lines.iter().skip(1));
    lines.first() != Some(&LF) && !pairs.fold(false, |bad, (one, next)| bad | ((*one == CR) != (*next == LF)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_both() {
        assert!(lines_end_properly(b"a\r\n\r\n") && lines_end_properly(b"\r\n"));
        for wrong in [b"a\n\r\n" as &[u8], b"\n", b"a\r\n\n", b"a\rb\r\n", b"a\r\r\n", b"a\n\n"] {
            assert!(!lines_end_properly(wrong), "{wrong:?}");
        }
    }

    /// RFC 9112, section 6.1 and 6.3.
    #[test]
    fn transfer_codings_end_with_chunked_or_the_body_has_no_end() {
        for (lines, wanted) in [
            (&[] as &[&str], Transfer::Absent),
            (&["chunked"], Transfer::Chunked),
            (&[" CHUNKED ,"], Transfer::Chunked),
            (&["", ",", "chunked"], Transfer::Chunked),
            (&["gzip, chunked"], Transfer::ChunkedOnTop),
            (&["gzip", "chunked"], Transfer::ChunkedOnTop),
            (&["a;b=c;d=\"e\"", "chunked", ""], Transfer::ChunkedOnTop),
            (&[""], Transfer::Empty),
            (&["identity"], Transfer::Open),
            (&["xchunked"], Transfer::Open),
            (&["gzip", "deflate"], Transfer::Open),
            (&["chunked, identity"], Transfer::Malformed),
            (&["chunked", "gzip"], Transfer::Malformed),
            (&["chunked, chunked"], Transfer::Malformed),
            (&["chunked", "chunked"], Transfer::Malformed),
            (&["chunked;q=1"], Transfer::Malformed),
            (&["chunked;"], Transfer::Malformed),
            (&["chu nked"], Transfer::Malformed),
            (&["\"chunked\""], Transfer::Malformed),
            (&["\u{b}chunked"], Transfer::Malformed),
            (&["gzip/chunked", "chunked"], Transfer::Malformed),
        ] {
            let mut transfer = Transfer::default();
            lines.iter().for_each(|line| transfer.add(line.as_bytes()));
            assert_eq!(transfer, wanted, "{lines:?}");
        }
    }
}
