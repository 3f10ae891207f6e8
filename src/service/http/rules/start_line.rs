//! The request line (RFC 9112, section 3).
//!
//! It is read here and not by `httparse`, which knows no version but 1.0 and 1.1 and no bound for a target. It is gone through
//! from left to right, and the first thing that is wrong decides: so what is wrong with a line is the same however many of
//! its bytes are there.

use super::fields::is_token_byte;
use super::request::Method;
use super::status::Status;
use crate::base::limits::{MAX_METHOD_BYTES, MAX_TARGET_BYTES};

/// Methods that are known, and not allowed for files (RFC 9110, section 9, and RFC 5789); those that are not known are answered
/// otherwise (RFC 9110, section 15.5.6 and 15.6.2).
const NOT_FOR_FILES: [&[u8]; 7] = [b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// A request line of HTTP/1.
pub(super) struct StartLine<'b> {
    method: &'b [u8],
    /// As sent. It may hold any byte but spaces and control characters.
    pub(super) target: &'b [u8],
    /// 0 or 1. Later ones are served as the latest that is known (RFC 9110, section 2.5).
    pub(super) minor_version: u8,
    /// Its bytes, line end included.
    pub(super) bytes: usize,
}

impl<'b> StartLine<'b> {
    /// Reads the line that `input` begins with; `None`: it is not complete yet, and right so far.
    ///
    /// # Errors
    /// What to answer, as soon as it is certain.
    pub(super) fn read(input: &'b [u8]) -> Result<Option<StartLine<'b>>, Status> {
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
        Ok(Some(StartLine { method, target, minor_version: u8::from(minor > b'0'), bytes }))
    }

    /// The method, if files have it. Methods are case-sensitive.
    ///
    /// # Errors
    /// [`Status::MethodNotAllowed`], [`Status::NotImplemented`].
    pub(super) fn method(&self) -> Result<Method, Status> {
        match self.method {
            b"GET" => Ok(Method::Get),
            b"HEAD" => Ok(Method::Head),
            method if NOT_FOR_FILES.contains(&method) => Err(Status::MethodNotAllowed),
            _ => Err(Status::NotImplemented),
        }
    }
}

/// What comes before the next space, and what behind it; `None`: there is no space yet.
#[allow(clippy::type_complexity, reason = "a name for it would not say more")]
fn word(
    input: &[u8],
    allowed: impl Fn(&u8) -> bool,
    most: usize,
    too_long: Status,
) -> Result<Option<(&[u8], &[u8])>, Status> {
    let end = input.iter().position(|byte| !allowed(byte));
    match end {
        _ if end.unwrap_or(input.len()) > most => Err(too_long),
        None => Ok(None),
        Some(end) if end > 0 && input[end] == b' ' => Ok(Some((&input[..end], &input[end + 1..]))),
        Some(_) => Err(Status::BadRequest),
    }
}

/// What the line ends with; `d` stands for a digit.
const VERSION: &[u8; 10] = b"HTTP/d.d\r\n";

/// The two digits of the version that `input` begins with; `None`: it is not complete yet, and right so far.
fn version(input: &[u8]) -> Result<Option<[u8; 2]>, Status> {
    let agrees = |(wanted, byte): (&u8, &u8)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    if !VERSION.iter().zip(input).all(agrees) {
        return Err(Status::BadRequest);
    }
    Ok((input.len() >= VERSION.len()).then(|| [input[5], input[7]]))
}
