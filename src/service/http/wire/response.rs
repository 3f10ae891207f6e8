//! Responses about a file: the head, and what follows it.

use std::io::Write as _;
use std::ops::Range;

use super::general_fields::{GeneralFields, SERVER};
use super::page;
use super::representation::Representation;
use super::request_line::Method;
use super::status::Status;

/// The response to a request for a file. Ranges are of the bytes that are sent, none of them empty or beyond the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileResponse {
    /// The full representation: 200.
    Full,
    /// The client has it: 304.
    NotModified,
    /// It is not the one that the client means: 412.
    PreconditionFailed,
    /// One part: 206.
    Partial(Range<u64>),
    /// Several parts that neither overlap nor touch, in the order of the request: 206, `multipart/byteranges`.
    Multipart(Vec<Range<u64>>),
    /// None of the ranges can be satisfied: 416.
    Unsatisfiable,
}

/// What is to be sent after the bytes that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes of the file.
    File(Range<u64>),
    /// These, one after the other.
    Multipart(Vec<BodyPart>),
}

/// A piece of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// A delimiter with the fields of the part that follows.
    Text(Vec<u8>),
    /// Bytes of the file.
    File(Range<u64>),
}

impl BodyPart {
    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            BodyPart::Text(text) => text.len() as u64,
            BodyPart::File(range) => range.end - range.start,
        }
    }
}

impl FileResponse {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            FileResponse::Full => Status::Ok,
            FileResponse::NotModified => Status::NotModified,
            FileResponse::PreconditionFailed => Status::PreconditionFailed,
            FileResponse::Partial(_) | FileResponse::Multipart(_) => Status::PartialContent,
            FileResponse::Unsatisfiable => Status::RangeNotSatisfiable,
        }
    }

    /// Appends the head to `out`, and the page if the response is an error; returns what is to follow.
    ///
    /// [`FileResponse::Full`] and [`FileResponse::NotModified`] copy heads that were made beforehand, and allocate nothing but
    /// room in `out`.
    pub fn write_head(
        &self,
        method: Method,
        file: &Representation,
        general: &GeneralFields,
        out: &mut Vec<u8>,
    ) -> Body {
        if let Some(file) = file.at(general.date) {
            return self.write_head(method, &file, general, out);
        }
        let length = file.metadata().length;
        let body = match self {
            FileResponse::Full => {
                out.extend_from_slice(file.full.as_bytes());
                general.write(out);
                Body::File(0..length)
            }
            FileResponse::NotModified => {
                out.extend_from_slice(file.not_modified.as_bytes());
                general.write(out);
                Body::Empty
            }
            FileResponse::Partial(part) => write_part(part, file, general, out),
            FileResponse::Multipart(parts) => write_parts(parts, file, general, out),
            FileResponse::PreconditionFailed => {
                page::write_error(Status::PreconditionFailed, method.into(), general, out);
                Body::Empty
            }
            FileResponse::Unsatisfiable => {
                let range = format!("Content-Range: bytes */{length}\r\n");
                page::write(Status::RangeNotSatisfiable, &range, method.into(), general, out);
                Body::Empty
            }
        };
        match method {
            Method::Get => body,
            Method::Head => Body::Empty,
        }
    }
}

/// Appends the Content-Range line of a part. Both of its positions are inclusive, and a part is never empty.
fn write_content_range(part: &Range<u64>, file: &Representation, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, here and below.
    let _ = write!(out, "Content-Range: bytes {}-{}/{}\r\n", part.start, part.end - 1, file.metadata().length);
}

fn write_part(part: &Range<u64>, file: &Representation, general: &GeneralFields, out: &mut Vec<u8>) -> Body {
    let _ = write!(out, "HTTP/1.1 {}\r\n{SERVER}{}", Status::PartialContent, file.content_type);
    let _ = write!(out, "Content-Length: {}\r\n", part.end - part.start);
    write_content_range(part, file, out);
    out.extend_from_slice(file.common.as_bytes());
    general.write(out);
    Body::File(part.clone())
}

/// Several parts, each with its own fields, between delimiters (RFC 9110, section 14.6).
///
/// The boundary is the entity tag. A file can hold it only if somebody wrote it there when its length and the time of the change
/// were known. That does not happen by accident, and a client relies on Content-Range.
fn write_parts(parts: &[Range<u64>], file: &Representation, general: &GeneralFields, out: &mut Vec<u8>) -> Body {
    let boundary = file.metadata().etag.opaque();
    let mut body_parts = Vec::with_capacity(2 * parts.len() + 1);
    for (at, part) in parts.iter().enumerate() {
        let mut text = Vec::new();
        let line_end = if at == 0 { "" } else { "\r\n" };
        let _ = write!(text, "{line_end}--{boundary}\r\n{}", file.content_type);
        write_content_range(part, file, &mut text);
        text.extend_from_slice(b"\r\n");
        body_parts.extend([BodyPart::Text(text), BodyPart::File(part.clone())]);
    }
    body_parts.push(BodyPart::Text(format!("\r\n--{boundary}--\r\n").into_bytes()));
    let length: u64 = body_parts.iter().map(BodyPart::length).sum();
    let _ = write!(out, "HTTP/1.1 {}\r\n{SERVER}", Status::PartialContent);
    let _ = write!(out, "Content-Type: multipart/byteranges; boundary={boundary}\r\nContent-Length: {length}\r\n");
    out.extend_from_slice(file.common.as_bytes());
    general.write(out);
    Body::Multipart(body_parts)
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
