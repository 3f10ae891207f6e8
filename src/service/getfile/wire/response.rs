//! A response: `GETFILE`, a status, a length where there is content, and an empty line; then the content.

use std::fmt;

use crate::service::getfile::wire::END;

/// The first word.
const SCHEME: &[u8] = b"GETFILE ";
/// Bytes of the longest head that a client reads: there is no use for longer ones.
pub const MAX_HEAD_BYTES: usize = 128;

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// So many bytes of content follow.
    Ok(u64),
    /// The file is not there, or not to be had.
    FileNotFound,
    /// The server, or what it has its files from, failed.
    Error,
    /// The request was not understood.
    Invalid,
}

/// Why a head is not that of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It does not begin with the protocol's name.
    Scheme,
    /// There is no such status.
    Status,
    /// A length is missing, not a decimal number, above 2⁶⁴−1, or where none is to be.
    Length,
    /// It is longer than any.
    TooLong,
}

impl Response {
    /// The words for all of them, in the order of [`Response::place`].
    pub const WORDS: [&str; 4] = ["OK", "FILE_NOT_FOUND", "ERROR", "INVALID"];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Response::WORDS[self.place()]
    }

    /// Its place among all, 0 to 3.
    #[must_use]
    pub fn place(self) -> usize {
        match self {
            Response::Ok(_) => 0,
            Response::FileNotFound => 1,
            Response::Error => 2,
            Response::Invalid => 3,
        }
    }

    /// The status of HTTP that stands for it in the access log, whose format has numbers.
    #[must_use]
    pub fn http_status(self) -> u16 {
        [200, 404, 500, 400][self.place()]
    }

    /// Writes the head.
    pub fn write_head(self, to: &mut Vec<u8>) {
        to.extend_from_slice(SCHEME);
        to.extend_from_slice(self.word().as_bytes());
        if let Response::Ok(length) = self {
            to.push(b' ');
            to.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        }
        to.extend_from_slice(END);
    }

    /// Reads the head that `bytes` begin with, and how long it is; `None` when it is not whole.
    ///
    /// Beside what [`Response::write_head`] writes it takes a space before the line's end, and a length of 0 where there is no content,
    /// which some servers send.
    ///
    /// # Errors
    /// [`BadHead`], as soon as it is known.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>, BadHead> {
        if !bytes.starts_with(SCHEME) && !SCHEME.starts_with(bytes) {
            return Err(BadHead::Scheme);
        }
        let within = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let Some(end) = within.windows(END.len()).position(|part| part == END) else {
            return if bytes.len() >= MAX_HEAD_BYTES { Err(BadHead::TooLong) } else { Ok(None) };
        };
        let line = &bytes[SCHEME.len()..end];
        let line = line.strip_suffix(b" ").unwrap_or(line);
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (status, length) = (words.next().unwrap_or_default(), words.next());
        let response = match status {
            b"OK" => Response::Ok(decimal(length.ok_or(BadHead::Length)?).ok_or(BadHead::Length)?),
            b"FILE_NOT_FOUND" => Response::FileNotFound,
            b"ERROR" => Response::Error,
            b"INVALID" => Response::Invalid,
            _ => return Err(BadHead::Status),
        };
        let may_have_length =
            matches!(response, Response::Ok(_)) || length.is_none_or(|length| decimal(length) == Some(0));
        if may_have_length { Ok(Some((response, end + END.len()))) } else { Err(BadHead::Length) }
    }
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadHead::Scheme => "the response does not begin with GETFILE",
            BadHead::Status => "the response has an unknown status",
            BadHead::Length => "the response has no length, or one that is not a number of bytes below 2^64",
            BadHead::TooLong => "the head of the response does not end",
        })
    }
}

/// A number in decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}
