//! The head of a request: where it ends, and what of it matters to a service of files (RFC 9112, section 2 to 6).

use std::mem::MaybeUninit;

use super::fields::Line;
use super::head::{Fields, is_authority, lines_end_properly};
use super::status::Status;
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES};

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
    pub if_match: Line<'b>,
    /// If-None-Match.
    pub if_none_match: Line<'b>,
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
    /// 0 or 1: the version is HTTP/1.0 or HTTP/1.1.
    pub minor_version: u8,
    /// Bytes from the first of the buffer to the end of the head.
    pub head_bytes: usize,
    /// Bytes of body behind the head, which are to be read and thrown away; at most
    /// [`MAX_BODY_BYTES`](crate::limits::MAX_BODY_BYTES).
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
/// A [`Rejection`], as soon as it is certain: for whatever is malformed or larger than [`limits`](crate::limits) allow, for
/// every method but GET and HEAD, and for other versions.
pub fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Rejection<'_>> {
    let skipped = match bytes {
        [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let input = &bytes[skipped..];
    let input = &input[..input.len().min(MAX_HEAD_BYTES)];
    judge(input, skipped).map_err(|status| Rejection { status, line: first_line(input) })
}

fn judge(input: &[u8], skipped: usize) -> Result<Option<Request<'_>>, Status> {
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(Status::BadRequest);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(input, &mut lines) {
        Ok(httparse::Status::Complete(length)) => {
            let mut request = understand(&parsed, &input[..length])?;
            request.head_bytes = skipped + length;
            Ok(Some(request))
        }
        Ok(httparse::Status::Partial) => incomplete(input).map(|()| None),
        Err(httparse::Error::Version) => other_version(input).map(|()| None),
        Err(httparse::Error::TooManyHeaders) => Err(Status::HeadTooLarge),
        Err(_) => Err(Status::BadRequest),
    }
}

/// What a head says, whose lines have the right form for `httparse`, which is more lenient than this service.
fn understand<'b>(parsed: &httparse::Request<'_, 'b>, head: &'b [u8]) -> Result<Request<'b>, Status> {
    let (Some(method), Some(target), Some(minor_version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest);
    };
    if !lines_end_properly(head) {
        return Err(Status::BadRequest);
    }
    let mut fields = Fields::default();
    for line in &*parsed.headers {
        fields.add(line.name, line.value);
    }
    let host = fields.host(minor_version)?;
    let body_bytes = fields.body_bytes(minor_version);
    if body_bytes == Err(Status::BadRequest) {
        return Err(Status::BadRequest);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Status::MethodNotAllowed),
    };
    if target.len() > MAX_TARGET_BYTES {
        return Err(Status::UriTooLong);
    }
    let (authority, target) = split_target(target.as_bytes(), host)?;
    Ok(Request {
        method,
        target,
        authority,
        line: first_line(head),
        minor_version,
        head_bytes: head.len(),
        body_bytes: body_bytes?,
        keep_alive: fields.keep_alive(minor_version),
        conditions: fields.conditions,
        accepts_gzip: fields.codings.accept_gzip(),
        referer: fields.referer,
        agent: fields.agent,
    })
}

/// Authority and path of a target in origin form or absolute form (RFC 9112, section 3.2). The other two forms are for
/// CONNECT and OPTIONS.
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

/// Whether a head of which more is to come is too large already.
fn incomplete(input: &[u8]) -> Result<(), Status> {
    let ends = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n');
    let target = first_line(input).splitn(2, ends).nth(1).unwrap_or_default();
    if target.split(ends).next().is_some_and(|target| target.len() > MAX_TARGET_BYTES) {
        return Err(Status::UriTooLong);
    }
    if input.len() == MAX_HEAD_BYTES { Err(Status::HeadTooLarge) } else { Ok(()) }
}

/// A line that does not end as one of HTTP/1.0 or HTTP/1.1 does. `Ok`: which way it is wrong can be said when it is whole.
fn other_version(input: &[u8]) -> Result<(), Status> {
    let line = first_line(input);
    if line.len() == input.len() {
        return incomplete(input);
    }
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let is_version = |word: &[u8]| matches!(word, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']);
    let known = |word: &[u8]| matches!(word, b"HTTP/1.0" | b"HTTP/1.1");
    match (words.next(), words.next()) {
        (Some(word), None) if is_version(word) && !known(word) => Err(Status::VersionNotSupported),
        _ => Err(Status::BadRequest),
    }
}

/// Up to the first line end or what could be one.
fn first_line(input: &[u8]) -> &[u8] {
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len());
    &input[..end]
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
