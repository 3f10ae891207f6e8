//! The fields of a request that matter here, collected line by line, and what they say together about its framing.

use super::authority::is_authority;
use super::fields::{AcceptEncoding, ListField, SingletonField, digits, is_token, members, trim};
use super::status::Status;
use crate::base::limits::MAX_BODY_BYTES;

/// The longest name that is looked for.
const LONGEST_NAME: usize = "if-unmodified-since".len();

/// The conditional and range fields (RFC 9110, section 13.1 and 14.2), as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'b> {
    /// If-Match.
    pub if_match: ListField<'b>,
    /// If-None-Match.
    pub if_none_match: ListField<'b>,
    /// If-Modified-Since.
    pub if_modified_since: SingletonField<'b>,
    /// If-Unmodified-Since.
    pub if_unmodified_since: SingletonField<'b>,
    /// If-Range.
    pub if_range: SingletonField<'b>,
    /// Range.
    pub range: SingletonField<'b>,
}

/// The fields that matter here; all others are ignored.
#[derive(Default)]
pub(super) struct HeaderFields<'b> {
    pub(super) conditions: Conditions<'b>,
    pub(super) accept_encoding: AcceptEncoding,
    pub(super) referer: &'b [u8],
    pub(super) agent: &'b [u8],
    /// All lines after the request line.
    section: &'b [u8],
    host: SingletonField<'b>,
    content_length: SingletonField<'b>,
    transfer_encoding: TransferEncoding,
    expects_continue: bool,
    expects_else: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl<'b> HeaderFields<'b> {
    /// No fields yet, from the lines of `section`.
    pub(super) fn of(section: &'b [u8]) -> Self {
        HeaderFields { section, ..HeaderFields::default() }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, name: &str, value: &'b [u8]) {
        let mut lower = [0; LONGEST_NAME];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"host" => self.host.add(value),
            b"content-length" => self.content_length.add(value),
            b"transfer-encoding" => self.transfer_encoding.add(value),
            b"connection" => self.add_connection(value),
            b"expect" => self.add_expectation(value),
            b"accept-encoding" => self.accept_encoding.add(value),
            b"if-match" => self.conditions.if_match.add("if-match", value, self.section),
            b"if-none-match" => self.conditions.if_none_match.add("if-none-match", value, self.section),
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
    /// None may follow a body that the client sends only after 100 (Continue): it gets the final response instead, and may then
    /// send the body or not (RFC 9110, section 10.1.1).
    pub(super) fn keep_alive(&self, minor_version: u8, body_bytes: u64) -> bool {
        let may_omit_body = minor_version == 1 && self.expects_continue && body_bytes > 0;
        !self.says_close && !may_omit_body && (minor_version == 1 || self.says_keep_alive)
    }

    /// The value of Host (RFC 9112, section 3.2).
    ///
    /// # Errors
    /// [`Status::BadRequest`]: it is malformed, repeated, or missing in HTTP/1.1.
    pub(super) fn host(&self, minor_version: u8) -> Result<&'b [u8], Status> {
        match self.host {
            SingletonField::Once(host) if is_authority(host) => Ok(host),
            SingletonField::Absent if minor_version == 0 => Ok(b""),
            SingletonField::Absent | SingletonField::Once(_) | SingletonField::Repeated => Err(Status::BadRequest),
        }
    }

    /// The length of the body (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// [`Status::BadRequest`] where readers could disagree; [`Status::LengthRequired`] for chunked alone, and
    /// [`Status::NotImplemented`] for other codings below it; [`Status::ContentTooLarge`].
    pub(super) fn body_bytes(&self, minor_version: u8) -> Result<u64, Status> {
        match (self.transfer_encoding, self.content_length) {
            (TransferEncoding::Absent, SingletonField::Absent) => Ok(0),
            (TransferEncoding::Absent, SingletonField::Once(value)) => match digits(value) {
                Some(Some(length)) if length <= MAX_BODY_BYTES => Ok(length),
                Some(Some(_)) => Err(Status::ContentTooLarge),
                Some(None) | None => Err(Status::BadRequest),
            },
            (TransferEncoding::Chunked, SingletonField::Absent) if minor_version == 1 => Err(Status::LengthRequired),
            (TransferEncoding::ChunkedOnTop, SingletonField::Absent) if minor_version == 1 => {
                Err(Status::NotImplemented)
            }
            // An HTTP/1.0 recipient in between may not know the coding (RFC 9112, section 6.1).
            _ => Err(Status::BadRequest),
        }
    }

    /// Whether every expectation is `100-continue`, which the final response meets (RFC 9110, section 10.1.1). Expectations of
    /// HTTP/1.0 are ignored.
    ///
    /// # Errors
    /// [`Status::ExpectationFailed`].
    pub(super) fn expectations(&self, minor_version: u8) -> Result<(), Status> {
        if minor_version == 1 && self.expects_else { Err(Status::ExpectationFailed) } else { Ok(()) }
    }
}

/// What all lines of Transfer-Encoding say together (RFC 9112, section 6.1 and 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TransferEncoding {
    /// It is not there.
    #[default]
    Absent,
    /// It names no coding.
    Empty,
    /// Chunked alone.
    Chunked,
    /// Chunked as the last of several codings.
    ChunkedOnTop,
    /// Other codings, and not chunked. If this is all, then the end of the body is unknown.
    Open,
    /// A malformed coding, or one after chunked.
    Malformed,
}

impl TransferEncoding {
    fn add(&mut self, value: &[u8]) {
        if *self == TransferEncoding::Absent {
            *self = TransferEncoding::Empty;
        }
        for member in members(value) {
            let mut parts = member.split(|byte| *byte == b';').map(trim);
            let name = parts.next().unwrap_or_default();
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            // Chunked has no parameters.
            let is_coding = is_token(name) && !(is_chunked && parts.next().is_some());
            *self = match *self {
                _ if !is_coding => TransferEncoding::Malformed,
                TransferEncoding::Absent | TransferEncoding::Empty if is_chunked => TransferEncoding::Chunked,
                TransferEncoding::Open if is_chunked => TransferEncoding::ChunkedOnTop,
                TransferEncoding::Absent | TransferEncoding::Empty | TransferEncoding::Open => TransferEncoding::Open,
                TransferEncoding::Chunked | TransferEncoding::ChunkedOnTop | TransferEncoding::Malformed => {
                    TransferEncoding::Malformed
                }
            };
        }
    }
}

/// Whether every line feed follows a carriage return, and every carriage return precedes a line feed. `section` ends with a line
/// feed.
pub(super) fn lines_end_with_crlf(section: &[u8]) -> bool {
    const CR: u8 = b'\r';
    const LF: u8 = b'\n';
    // Without a branch per byte, so that the compiler compares sixteen bytes at a time.
    let pairs = section.iter().zip(section.iter().skip(1));
    section.first() != Some(&LF) && !pairs.fold(false, |bad, (one, next)| bad | ((*one == CR) != (*next == LF)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_both() {
        assert!(lines_end_with_crlf(b"a\r\n\r\n") && lines_end_with_crlf(b"\r\n"));
        for wrong in [b"a\n\r\n" as &[u8], b"\n", b"a\r\n\n", b"a\rb\r\n", b"a\r\r\n", b"a\n\n"] {
            assert!(!lines_end_with_crlf(wrong), "{wrong:?}");
        }
    }

    /// RFC 9112, section 6.1 and 6.3.
    #[test]
    fn transfer_codings_end_with_chunked_or_the_body_has_no_end() {
        for (lines, wanted) in [
            (&[] as &[&str], TransferEncoding::Absent),
            (&["chunked"], TransferEncoding::Chunked),
            (&[" CHUNKED ,"], TransferEncoding::Chunked),
            (&["", ",", "chunked"], TransferEncoding::Chunked),
            (&["gzip, chunked"], TransferEncoding::ChunkedOnTop),
            (&["gzip", "chunked"], TransferEncoding::ChunkedOnTop),
            (&["a;b=c;d=\"e\"", "chunked", ""], TransferEncoding::ChunkedOnTop),
            (&[""], TransferEncoding::Empty),
            (&["identity"], TransferEncoding::Open),
            (&["xchunked"], TransferEncoding::Open),
            (&["gzip", "deflate"], TransferEncoding::Open),
            (&["chunked, identity"], TransferEncoding::Malformed),
            (&["chunked", "gzip"], TransferEncoding::Malformed),
            (&["chunked, chunked"], TransferEncoding::Malformed),
            (&["chunked", "chunked"], TransferEncoding::Malformed),
            (&["chunked;q=1"], TransferEncoding::Malformed),
            (&["chunked;"], TransferEncoding::Malformed),
            (&["chu nked"], TransferEncoding::Malformed),
            (&["\"chunked\""], TransferEncoding::Malformed),
            (&["\u{b}chunked"], TransferEncoding::Malformed),
            (&["gzip/chunked", "chunked"], TransferEncoding::Malformed),
        ] {
            let mut transfer_encoding = TransferEncoding::default();
            lines.iter().for_each(|line| transfer_encoding.add(line.as_bytes()));
            assert_eq!(transfer_encoding, wanted, "{lines:?}");
        }
    }
}
