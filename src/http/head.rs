//! What the header lines of a request say, gathered line by line, and whether they say it in a way that can be trusted.

use super::fields::{Codings, Line, digits, members};
use super::request::Conditions;
use super::status::Status;
use crate::limits::MAX_BODY_BYTES;

/// The longest name that is looked for.
const LONGEST_NAME: usize = "if-unmodified-since".len();

/// The lines that matter here; all others are passed over.
#[derive(Default)]
pub(super) struct Fields<'b> {
    pub(super) conditions: Conditions<'b>,
    pub(super) codings: Codings,
    pub(super) referer: &'b [u8],
    pub(super) agent: &'b [u8],
    host: Line<'b>,
    content_length: Line<'b>,
    transfer_encoding: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl<'b> Fields<'b> {
    /// Takes note of one line.
    pub(super) fn add(&mut self, name: &str, value: &'b [u8]) {
        let mut lower = [0; LONGEST_NAME];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"host" => self.host.add(value),
            b"content-length" => self.content_length.add(value),
            b"transfer-encoding" => self.transfer_encoding = true,
            b"connection" => self.add_connection(value),
            b"accept-encoding" => self.codings.add(value),
            b"if-match" => self.conditions.if_match.add(value),
            b"if-none-match" => self.conditions.if_none_match.add(value),
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

    /// Whether another request may follow (RFC 9112, section 9.3).
    pub(super) fn keep_alive(&self, minor_version: u8) -> bool {
        !self.says_close && (minor_version == 1 || self.says_keep_alive)
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
    /// [`Status::BadRequest`] where readers could disagree, and [`Status::LengthRequired`] and [`Status::ContentTooLarge`].
    pub(super) fn body_bytes(&self, minor_version: u8) -> Result<u64, Status> {
        match (self.transfer_encoding, self.content_length) {
            (false, Line::Absent) => Ok(0),
            (false, Line::Once(value)) => match digits(value) {
                Some(Some(length)) if length <= MAX_BODY_BYTES => Ok(length),
                Some(Some(_)) => Err(Status::ContentTooLarge),
                Some(None) | None => Err(Status::BadRequest),
            },
            (true, Line::Absent) if minor_version == 1 => Err(Status::LengthRequired),
            (true, _) | (false, Line::Repeated) => Err(Status::BadRequest),
        }
    }
}

/// Whether every line feed has its carriage return, and the other way round. `head` ends with a line feed.
pub(super) fn lines_end_properly(head: &[u8]) -> bool {
    const CR: u8 = b'\r';
    const LF: u8 = b'\n';
    // Without a branch per byte, so that it is done sixteen bytes at a time.
    let pairs = head.iter().zip(head.iter().skip(1));
    head.first() != Some(&LF) && !pairs.fold(false, |bad, (one, next)| bad | ((*one == CR) != (*next == LF)))
}

/// Whether a text is `host` or `host:port`, without a user's name before it (RFC 3986, section 3.2).
///
/// An encoded character in a name is refused: no name that a resolver knows has one.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let is_literal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'..=b',' | b';' | b'='
            )
    };
    let (host_is_right, port) = if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        (end > 0 && rest[..end].iter().all(is_literal), &rest[end + 1..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        (end > 0 && text[..end].iter().all(is_name), &text[end..])
    };
    host_is_right
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_told_from_other_texts() {
        for right in
            ["a", "localhost", "localhost:8080", "127.0.0.1:80", "[::1]", "[::1]:8080", "a_b.c-d", "a:", "A.b."]
        {
            assert!(is_authority(right.as_bytes()), "{right}");
        }
        for wrong in [
            "", ":80", "a:b", "a:123456", "a b", "a,b c", "a/b", "a@b", "u:p@b", "[::1", "[]", "[::1]a", "[::1]:x",
            "[g::]", "a#", "a?b", "a\\b", "a\tb", "a%2fb", "<a>", "a\"", "\u{e4}", "a:1:2", "::1",
        ] {
            assert!(!is_authority(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_line_ends_with_both() {
        assert!(lines_end_properly(b"a\r\n\r\n"));
        for wrong in [b"a\n\r\n" as &[u8], b"\n", b"a\r\n\n", b"a\rb\r\n", b"a\r\r\n", b"a\n\n"] {
            assert!(!lines_end_properly(wrong), "{wrong:?}");
        }
    }
}
