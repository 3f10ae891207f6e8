//! Responses that are no file: errors and redirections with a small page for people, and content that the program generates.
//! A page holds nothing that a client sent.

use std::io::Write as _;

use super::general_fields::{GeneralFields, SERVER};
use super::request_line::Method;
use super::status::Status;
use super::target::TargetPath;

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

/// Whether a page is sent (RFC 9110, section 9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageContent {
    /// It is sent.
    Sent,
    /// It is omitted, and the head describes it: the request was HEAD.
    Omitted,
    /// There is none, and the head says so: it is not known whether the request was HEAD.
    Empty,
}

impl From<Method> for PageContent {
    fn from(method: Method) -> PageContent {
        match method {
            Method::Get => PageContent::Sent,
            Method::Head => PageContent::Omitted,
        }
    }
}

/// Appends the response to a request that failed.
pub fn write_error(status: Status, content: PageContent, general: &GeneralFields, out: &mut Vec<u8>) {
    let more = match status {
        Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
        Status::Unavailable => "Retry-After: 1\r\n",
        _ => "",
    };
    write(status, more, content, general, out);
}

/// Appends the response to a request for a directory without its slash: 301, to the same address with the slash.
pub fn write_redirect(path: &TargetPath, method: Method, general: &GeneralFields, out: &mut Vec<u8>) {
    let location = format!("Location: {}\r\n", path.directory_location());
    write(Status::MovedPermanently, &location, method.into(), general, out);
}

/// Content that the program generates for one request.
#[derive(Clone, Copy, Debug)]
pub struct Generated<'a> {
    /// The status.
    pub status: Status,
    /// The value of Content-Type.
    pub content_type: &'a str,
    /// Further fields, each with its line end.
    pub fields: &'a str,
    /// The text; `None` if it is a stream that ends with the connection.
    pub text: Option<&'a str>,
}

/// Appends a response with generated content, which no cache may store.
pub fn write_generated(generated: &Generated, method: Method, general: &GeneralFields, out: &mut Vec<u8>) {
    let Generated { status, content_type, fields, text } = generated;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {status}\r\n{SERVER}Content-Type: {content_type}\r\nCache-Control: no-store\r\n");
    if let Some(text) = text {
        let _ = write!(out, "Content-Length: {}\r\n", text.len());
    }
    let _ = write!(out, "X-Content-Type-Options: nosniff\r\n{fields}");
    general.write(out);
    if method == Method::Get {
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
}

/// Appends a response with a page and further fields, each with its line end.
pub(super) fn write(status: Status, more: &str, content: PageContent, general: &GeneralFields, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {status}\r\n{SERVER}");
    if content == PageContent::Empty {
        let _ = write!(out, "Content-Length: 0\r\n{more}");
        return general.write(out);
    }
    let page = [BEFORE_TITLE, status.text(), BEFORE_HEADING, status.text(), BEFORE_HINT, status.hint(), AFTER_HINT];
    let length: usize = page.iter().map(|text| text.len()).sum();
    let _ = write!(out, "Content-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n");
    let _ = write!(out, "X-Content-Type-Options: nosniff\r\n{more}");
    general.write(out);
    if content == PageContent::Sent {
        page.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
}
