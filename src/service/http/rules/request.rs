//! The head of a request: where it ends, and what of it matters to a service of files (RFC 9112, section 2 to 6).

use super::authority::is_authority;
use super::fields::{Line, List, is_token_byte};
use super::head::{Fields, lines_end_properly};
use super::page::Content;
use super::start_line::StartLine;
use super::status::Status;
use crate::base::limits::{MAX_HEAD_BYTES, MAX_HEADERS};

/// What can be done with a file here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    Get,
    /// Send only the head of the answer that GET would get.
    Head,
}

/// What an answer says of its connection, which is as little as the version allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It stays open, which in HTTP/1.1 goes without saying.
    Stays,
    /// It stays open, which in HTTP/1.0 must be said.
    StaysSaid,
    /// It ends after this answer.
    Ends,
}

impl Connection {
    /// The line that says so, with its line end; or nothing.
    #[inline]
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Connection::Stays => "",
            Connection::StaysSaid => "Connection: keep-alive\r\n",
            Connection::Ends => "Connection: close\r\n",
        }
    }
}

/// The fields by which a client asks for a file only if, or only a part (RFC 9110, section 13.1 and 14.2), as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'b> {
    /// If-Match.
    pub if_match: List<'b>,
    /// If-None-Match.
    pub if_none_match: List<'b>,
    /// If-Modified-Since.
    pub if_modified_since: Line<'b>,
    /// If-Unmodified-Since.
    pub if_unmodified_since: Line<'b>,
    /// If-Range.
    pub if_range: Line<'b>,
    /// Range.
    pub range: Line<'b>,
}

/// A request whose head is whole and right. It borrows from the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// What is to be done.
    pub method: Method,
    /// The target as sent, from its path on; begins with a slash, or is one if the client sent an authority alone.
    pub target: &'b [u8],
    /// Host and port that the client meant: of the target where that has one, else of Host; empty where HTTP/1.0 has none.
    pub authority: &'b [u8],
    /// The request line as sent, for a log. It may hold any byte from 0x80 on.
    pub line: &'b [u8],
    /// 0 or 1: the version is HTTP/1.0, or HTTP/1.1 or one that says to be later and is the same for this service (RFC 9110,
    /// section 2.5).
    pub minor_version: u8,
    /// Bytes from the first of the buffer to the end of the head.
    pub head_bytes: usize,
    /// Bytes of body behind the head, which are to be read and thrown away; at most
    /// [`MAX_BODY_BYTES`](crate::base::limits::MAX_BODY_BYTES).
    pub body_bytes: u64,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// Conditions and ranges.
    pub conditions: Conditions<'b>,
    /// Whether the client understands gzip.
    pub accepts_gzip: bool,
    /// Referer as sent, for a log; empty where there is none.
    pub referer: &'b [u8],
    /// User-Agent as sent, for a log; empty where there is none.
    pub agent: &'b [u8],
}

impl Request<'_> {
    /// What the answer is to say of the connection, if the server has no reason of its own to end it.
    #[inline]
    #[must_use]
    pub fn connection(&self) -> Connection {
        match (self.keep_alive, self.minor_version) {
            (false, _) => Connection::Ends,
            (true, 0) => Connection::StaysSaid,
            (true, _) => Connection::Stays,
        }
    }
}

/// Bytes that are no request of this service. The connection ends with the answer, always: where the next request would
/// begin is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: `{}`", line.escape_ascii())]
pub struct Rejection<'b> {
    /// What to answer.
    pub status: Status,
    /// The request line, or as much of it as there is, for a log. It may hold any byte but CR and LF.
    pub line: &'b [u8],
}

/// Reads the request whose first byte is the first of `bytes`; `None`: its head is not complete yet. What follows it (its
/// body, further requests) is not looked at.
///
/// One empty line before the request is passed over (RFC 9112, section 2.2).
///
/// # Errors
/// A [`Rejection`], as soon as it is certain: for whatever is malformed or larger than [`limits`](crate::base::limits) allow, for
/// every method but GET and HEAD, and for other major versions than 1. Its status depends on the bytes alone, and not on how
/// many of them there were when it was asked for.
pub fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Rejection<'_>> {
    let skipped = empty_line_before(bytes);
    let input = &bytes[skipped..];
    let input = &input[..input.len().min(MAX_HEAD_BYTES)];
    let judged = if bytes == b"\r" { Ok(None) } else { judge(input, skipped) };
    judged.map_err(|status| Rejection { status, line: first_line(input) })
}

/// What of its page an error may carry that answers a request of which `bytes` are all that is known. A HEAD must be answered
/// without a page, so when not even the method is there, there is none.
#[must_use]
pub fn content_for(bytes: &[u8]) -> Content {
    let input = &bytes[empty_line_before(bytes)..];
    let end = input.iter().position(|byte| !is_token_byte(byte));
    match (end, &input[..end.unwrap_or(input.len())]) {
        (Some(_), b"HEAD") => Content::Described,
        (None, begun) if b"HEAD".starts_with(begun) => Content::Absent,
        _ => Content::Sent,
    }
}

/// Bytes of the empty line that may stand before a request.
fn empty_line_before(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Goes through the head from its first byte to its last, and stops at the first that no head can have there; then asks what
/// the whole means.
fn judge(input: &[u8], skipped: usize) -> Result<Option<Request<'_>>, Status> {
    let Some(start) = StartLine::read(input)? else { return Ok(None) };
    let rest = &input[start.bytes..];
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let (length, parsed) = match httparse::parse_headers(rest, &mut lines) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let lines = &rest[..length];
    // The crate takes a line feed alone for a line end.
    if !lines_end_properly(lines) {
        return Err(Status::BadRequest);
    }
    let mut fields = Fields::of(lines);
    parsed.iter().for_each(|line| fields.add(line.name, line.value));
    let mut request = understand(&start, &fields)?;
    request.line = first_line(input);
    request.head_bytes = skipped + start.bytes + length;
    Ok(Some(request))
}

/// What a head says whose lines have the right form.
fn understand<'b>(start: &StartLine<'b>, fields: &Fields<'b>) -> Result<Request<'b>, Status> {
    let minor_version = start.minor_version;
    let host = fields.host(minor_version)?;
    let body_bytes = fields.body_bytes(minor_version);
    // Whatever the method: that nobody knows where the request ends is worse than that it cannot be done.
    if body_bytes == Err(Status::BadRequest) {
        return Err(Status::BadRequest);
    }
    let method = start.method()?;
    let body_bytes = body_bytes?;
    fields.expectations(minor_version)?;
    let (authority, target) = split_target(start.target, host)?;
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
        accepts_gzip: fields.codings.prefer_gzip(),
        referer: fields.referer,
        agent: fields.agent,
    })
}

/// Authority and path of a target in origin form or absolute form (RFC 9112, section 3.2), where the authority of the target
/// counts and Host does not. The other two forms are for CONNECT and OPTIONS.
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
    // A query behind an empty path belongs to the root, and queries mean nothing to files.
    Ok((authority, if path.first() == Some(&b'/') { path } else { b"/" }))
}

/// Up to the first line end or what could be one.
fn first_line(input: &[u8]) -> &[u8] {
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    &input[..end]
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
