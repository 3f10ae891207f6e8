//! The request line (RFC 9112, section 3).
//!
//! It is parsed here and not by `httparse`, which refuses all versions but 1.0 and 1.1, wants targets of UTF-8, and has no limit
//! for a target. It is read from left to right, and the first error decides. Therefore the status of the response does not
//! depend on how many bytes of a malformed line are there.

use super::fields::is_token_byte;
use super::status::Status;
use crate::base::limits::{MAX_METHOD_BYTES, MAX_TARGET_BYTES};

/// A method that files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file is sent.
    Get,
    /// Only the head of the response to GET is sent.
    Head,
}

/// Methods that are known and not allowed for files (RFC 9110, section 9, and RFC 5789): 405. An unknown method is 501 (RFC 9110,
/// section 15.5.6 and 15.6.2).
const NOT_ALLOWED: [&[u8]; 7] = [b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// A request line of HTTP/1.
pub(super) struct RequestLine<'b> {
    method: &'b [u8],
    /// As it was sent: any bytes but spaces and control characters.
    pub(super) target: &'b [u8],
    /// 0 or 1. A later minor version is served as 1 (RFC 9110, section 2.5).
    pub(super) minor_version: u8,
    /// Length in bytes, with the line end.
    pub(super) bytes: usize,
}

impl<'b> RequestLine<'b> {
    /// Parses the line that `input` begins with; `None`: it is not complete, and well-formed so far.
    ///
    /// # Errors
    /// The status to answer, as soon as it is certain.
    pub(super) fn parse(input: &'b [u8]) -> Result<Option<RequestLine<'b>>, Status> {
        let is_target_byte = |byte: &u8| *byte > b' ' && *byte != 0x7f;
        let Some((method, rest)) = word(input, is_token_byte, MAX_METHOD_BYTES, Status::NotImplemented)? else {
            return Ok(None);
        };
        let Some((target, rest)) = word(rest, is_target_byte, MAX_TARGET_BYTES, Status::UriTooLong)? else {
            return Ok(None);
        };
        let Some([major, minor]) = version(rest)? else { return Ok(None) };
        if major != b'1' {
            return Err(Status::VersionNotSupported);
        }
        let bytes = method.len() + 1 + target.len() + 1 + VERSION.len();
        Ok(Some(RequestLine { method, target, minor_version: u8::from(minor > b'0'), bytes }))
    }

    /// The method, if it is implemented. Methods are case-sensitive.
    ///
    /// # Errors
    /// [`Status::MethodNotAllowed`], [`Status::NotImplemented`].
    pub(super) fn method(&self) -> Result<Method, Status> {
        match self.method {
            b"GET" => Ok(Method::Get),
            b"HEAD" => Ok(Method::Head),
            method if NOT_ALLOWED.contains(&method) => Err(Status::MethodNotAllowed),
            _ => Err(Status::NotImplemented),
        }
    }
}

/// A word and what follows the space after it.
type Word<'b> = (&'b [u8], &'b [u8]);

/// Parses a word that ends with a space; `None`: there is no space yet.
fn word(
    input: &[u8],
    allowed: impl Fn(&u8) -> bool,
    most: usize,
    too_long: Status,
) -> Result<Option<Word<'_>>, Status> {
    let end = input.iter().position(|byte| !allowed(byte));
    match end {
        _ if end.unwrap_or(input.len()) > most => Err(too_long),
        None => Ok(None),
        Some(end) if end > 0 && input[end] == b' ' => Ok(Some((&input[..end], &input[end + 1..]))),
        Some(_) => Err(Status::BadRequest),
    }
}

/// The end of the line; `d` stands for a digit.
const VERSION: &[u8; 10] = b"HTTP/d.d\r\n";

/// The two digits of the version that `input` begins with; `None`: it is not complete, and well-formed so far.
fn version(input: &[u8]) -> Result<Option<[u8; 2]>, Status> {
    let agrees = |(wanted, byte): (&u8, &u8)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    if !VERSION.iter().zip(input).all(agrees) {
        return Err(Status::BadRequest);
    }
    Ok((input.len() >= VERSION.len()).then(|| [input[5], input[7]]))
}
