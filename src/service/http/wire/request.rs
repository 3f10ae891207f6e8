//! The head of a request: where it ends, and what of it matters to a service of files (RFC 9112, section 2 to 6).

use super::authority::is_authority;
use super::fields::is_token_byte;
use super::general_fields::ConnectionField;
use super::header_fields::{Conditions, HeaderFields, lines_end_with_crlf};
use super::page::PageContent;
use super::request_line::{Method, RequestLine};
use super::status::Status;
use crate::base::limits::{MAX_HEAD_BYTES, MAX_HEADERS};

/// A request whose head is complete and well-formed. It borrows from the bytes that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// The method.
    pub method: Method,
    /// The target from its path on, as it was sent; a slash if the client sent an authority alone. It begins with a slash.
    pub target: &'b [u8],
    /// Host and port: of the target if that has them, else of Host; empty if HTTP/1.0 has neither.
    pub authority: &'b [u8],
    /// The request line as it was sent, for a log. It may hold any byte from 0x80 on.
    pub line: &'b [u8],
    /// 0 or 1. A later minor version is served as 1 (RFC 9110, section 2.5).
    pub minor_version: u8,
    /// Length of the head in bytes, with an empty line before it.
    pub head_bytes: usize,
    /// Length of the body in bytes, which is to be read and discarded; at most
    /// [`MAX_BODY_BYTES`](crate::base::limits::MAX_BODY_BYTES).
    pub body_bytes: u64,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// The conditional and range fields.
    pub conditions: Conditions<'b>,
    /// Whether the response is to be coded with gzip, if it can be.
    pub accepts_gzip: bool,
    /// Referer as it was sent, for a log; empty if there is none.
    pub referer: &'b [u8],
    /// User-Agent as it was sent, for a log; empty if there is none.
    pub agent: &'b [u8],
}

impl Request<'_> {
    /// The Connection field of the response, unless the server has a reason of its own to close the connection.
    #[inline]
    #[must_use]
    pub fn connection(&self) -> ConnectionField {
        match (self.keep_alive, self.minor_version) {
            (false, _) => ConnectionField::Close,
            (true, 0) => ConnectionField::KeepAlive,
            (true, _) => ConnectionField::Omitted,
        }
    }
}

/// A request that is malformed, or that this service does not implement. The connection is always closed after the response,
/// since it is not known where the next request would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: `{}`", line.escape_ascii())]
pub struct Rejection<'b> {
    /// The status to answer.
    pub status: Status,
    /// The request line, or the part of it that is there, for a log. It may hold any byte but CR and LF.
    pub line: &'b [u8],
}

/// Parses the request that `bytes` begin with; `None`: its head is not complete. What follows the head (its body, further
/// requests) is not read.
///
/// One empty line before the request is skipped (RFC 9112, section 2.2).
///
/// # Errors
/// A [`Rejection`], as soon as it is certain: for whatever is malformed or larger than [`limits`](crate::base::limits) allow, for
/// every method but GET and HEAD, and for other major versions than 1. Its status depends on the bytes alone, and not on the
/// pieces in which they came.
pub fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Rejection<'_>> {
    let skipped = empty_line_before(bytes);
    let input = &bytes[skipped..];
    let input = &input[..input.len().min(MAX_HEAD_BYTES)];
    let parsed = if bytes == b"\r" { Ok(None) } else { parse_head(input, skipped) };
    parsed.map_err(|status| Rejection { status, line: first_line(input) })
}

/// Whether an error has a page, if `bytes` are all that is known of the request. The response to HEAD must have none, so there is
/// none before the method is complete.
#[must_use]
pub fn content_for(bytes: &[u8]) -> PageContent {
    let input = &bytes[empty_line_before(bytes)..];
    let end = input.iter().position(|byte| !is_token_byte(byte));
    match (end, &input[..end.unwrap_or(input.len())]) {
        (Some(_), b"HEAD") => PageContent::Omitted,
        (None, begun) if b"HEAD".starts_with(begun) => PageContent::Empty,
        _ => PageContent::Sent,
    }
}

/// Bytes of the empty line that may stand before a request.
fn empty_line_before(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Parses the head from its first byte to its last, stops at the first byte that no head can have there, and then interprets
/// the whole.
fn parse_head(input: &[u8], skipped: usize) -> Result<Option<Request<'_>>, Status> {
    let Some(request_line) = RequestLine::parse(input)? else { return Ok(None) };
    let rest = &input[request_line.bytes..];
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let (length, parsed) = match httparse::parse_headers(rest, &mut lines) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let section = &rest[..length];
    // `httparse` accepts a line feed alone as a line end.
    if !lines_end_with_crlf(section) {
        return Err(Status::BadRequest);
    }
    let mut fields = HeaderFields::of(section);
    parsed.iter().for_each(|line| fields.add(line.name, line.value));
    let mut request = interpret(&request_line, &fields)?;
    request.line = first_line(input);
    request.head_bytes = skipped + request_line.bytes + length;
    Ok(Some(request))
}

/// Interprets a head whose lines are well-formed.
fn interpret<'b>(line: &RequestLine<'b>, fields: &HeaderFields<'b>) -> Result<Request<'b>, Status> {
    let minor_version = line.minor_version;
    let host = fields.host(minor_version)?;
    let body_bytes = fields.body_bytes(minor_version);
    // This comes before errors of the method: that the end of the request is unknown is the worse error.
    if body_bytes == Err(Status::BadRequest) {
        return Err(Status::BadRequest);
    }
    let method = line.method()?;
    let body_bytes = body_bytes?;
    fields.expectations(minor_version)?;
    let (authority, target) = split_target(line.target, host)?;
    Ok(Request {
        method,
        target,
        authority,
        line: b"",
        minor_version,
        head_bytes: 0,
        body_bytes,
        keep_alive: fields.keep_alive(minor_version, body_bytes),
        conditions: fields.conditions,
        accepts_gzip: fields.accept_encoding.prefer_gzip(),
        referer: fields.referer,
        agent: fields.agent,
    })
}

/// Authority and path of a target in origin form or absolute form (RFC 9112, section 3.2). In absolute form the authority of the
/// target replaces Host. The other two forms are for CONNECT and OPTIONS.
fn split_target<'b>(target: &'b [u8], host: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), Status> {
    const SCHEME: &[u8] = b"http://";
    if target.first() == Some(&b'/') {
        return Ok((host, target));
    }
    let rest = match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
        _ => return Err(Status::BadRequest),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority) {
        return Err(Status::BadRequest);
    }
    // A query after an empty path belongs to the root, and queries mean nothing to files.
    Ok((authority, if path.first() == Some(&b'/') { path } else { b"/" }))
}

/// The bytes before the first CR or LF.
fn first_line(input: &[u8]) -> &[u8] {
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    &input[..end]
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
