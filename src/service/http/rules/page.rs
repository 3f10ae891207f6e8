//! Answers that are no file: errors and redirections, each with a small page for people. Nothing that a client sent stands in
//! a page.

use std::io::Write as _;

use super::answer::Tail;
use super::entity::SERVER;
use super::request::Method;
use super::status::Status;
use super::target::Place;

const BEFORE_TITLE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>";
const BEFORE_HEADING: &str = "</title>\n<style>\n\
    :root { color-scheme: light dark }\n\
    body { max-width: 34em; margin: 22vh auto 0; padding: 0 1.5em; font: 1.05em/1.6 system-ui, sans-serif }\n\
    h1 { margin: 0; font-size: 1.6em; font-weight: 600; letter-spacing: -.01em }\n\
    p { margin: .4em 0 2em; opacity: .75 }\n\
    footer { border-top: 1px solid #8886; padding-top: .6em; font-size: .8em; opacity: .55 }\n\
    </style>\n<h1>";
const BEFORE_HINT: &str = "</h1>\n<p>";
const AFTER_HINT: &str = "</p>\n<footer>bank-vault</footer>\n";

/// What of its page an error is sent with (RFC 9110, section 9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Sent,
    /// Nothing, behind a head that describes it: the request was HEAD.
    Described,
    /// Nothing, behind a head that says so: the request may have been HEAD, for all that is known.
    Absent,
}

impl From<Method> for Content {
    fn from(method: Method) -> Content {
        match method {
            Method::Get => Content::Sent,
            Method::Head => Content::Described,
        }
    }
}

/// Appends the whole answer to a request that failed.
pub fn write_error(status: Status, content: Content, tail: &Tail, out: &mut Vec<u8>) {
    let more = match status {
        Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
        Status::Unavailable => "Retry-After: 1\r\n",
        _ => "",
    };
    write(status, more, content, tail, out);
}

/// Appends the whole answer to a request for a directory without its slash: 301, to where the slash is, with the same query.
pub fn write_redirect(place: &Place, method: Method, tail: &Tail, out: &mut Vec<u8>) {
    let location = format!("Location: {}\r\n", place.directory_address());
    write(Status::MovedPermanently, &location, method.into(), tail, out);
}

/// What a program has made just now: its type, further fields, each with its line end, and the text itself.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// What came of it.
    pub status: Status,
    /// The value of Content-Type.
    pub content_type: &'a str,
    /// Further fields, each with its line end.
    pub fields: &'a str,
    /// The text; `None` where it comes bit by bit, until the connection ends.
    pub text: Option<&'a str>,
}

/// Appends an answer that is made for this one request, and is not to be kept by anybody.
pub fn write_made(made: &Made, method: Method, tail: &Tail, out: &mut Vec<u8>) {
    let Made { status, content_type, fields, text } = made;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {status}\r\n{SERVER}Content-Type: {content_type}\r\nCache-Control: no-store\r\n");
    if let Some(text) = text {
        let _ = write!(out, "Content-Length: {}\r\n", text.len());
    }
    let _ = write!(out, "X-Content-Type-Options: nosniff\r\n{fields}");
    tail.write(out);
    if method == Method::Get {
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
}

/// Appends a page with any further fields, each with its line end.
pub(super) fn write(status: Status, more: &str, content: Content, tail: &Tail, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {status}\r\n{SERVER}");
    if content == Content::Absent {
        let _ = write!(out, "Content-Length: 0\r\n{more}");
        return tail.write(out);
    }
    let page = [BEFORE_TITLE, status.text(), BEFORE_HEADING, status.text(), BEFORE_HINT, status.hint(), AFTER_HINT];
    let length: usize = page.iter().map(|text| text.len()).sum();
    let _ = write!(out, "Content-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n");
    let _ = write!(out, "X-Content-Type-Options: nosniff\r\n{more}");
    tail.write(out);
    if content == Content::Sent {
        page.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
}
