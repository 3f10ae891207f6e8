//! The head of an answer about a file, and what follows it.

use std::io::Write as _;
use std::ops::Range;

use super::date::DateText;
use super::decide::Answer;
use super::entity::{SERVER, Sheet};
use super::page;
use super::request::{Connection, Method};
use super::status::Status;

/// What every head ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail<'a> {
    /// When the answer is given.
    pub date: &'a DateText,
    /// What becomes of the connection.
    pub connection: Connection,
}

impl Tail<'_> {
    /// Appends Date, Connection and the empty line.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(self.date.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.connection.line().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// What is to be sent behind what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing more.
    Nothing,
    /// Bytes of the file.
    Bytes(Range<u64>),
    /// These, one after the other.
    Pieces(Vec<Piece>),
}

/// A piece of a body of several parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(Vec<u8>),
    /// Bytes of the file.
    Bytes(Range<u64>),
}

impl Piece {
    /// Bytes that it is sent as.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Piece::Text(text) => text.len() as u64,
            Piece::Bytes(range) => range.end - range.start,
        }
    }
}

impl Answer {
    /// The status that it is sent with.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Answer::Whole => Status::Ok,
            Answer::NotModified => Status::NotModified,
            Answer::PreconditionFailed => Status::PreconditionFailed,
            Answer::Part(_) | Answer::Parts(_) => Status::PartialContent,
            Answer::Unsatisfiable => Status::RangeNotSatisfiable,
        }
    }

    /// Appends the head to `out`, and the page where the answer is an error; says what of the file is to follow.
    ///
    /// For [`Answer::Whole`] and [`Answer::NotModified`] these are copies of what was made beforehand; `out` is the only thing
    /// that may have to grow.
    pub fn write_head(&self, method: Method, sheet: &Sheet, tail: &Tail, out: &mut Vec<u8>) -> Body {
        if let Some(sheet) = sheet.at(tail.date) {
            return self.write_head(method, &sheet, tail, out);
        }
        let length = sheet.entity.length;
        let body = match self {
            Answer::Whole => {
                out.extend_from_slice(sheet.whole.as_bytes());
                tail.write(out);
                Body::Bytes(0..length)
            }
            Answer::NotModified => {
                out.extend_from_slice(sheet.not_modified.as_bytes());
                tail.write(out);
                Body::Nothing
            }
            Answer::Part(part) => write_part(part, sheet, tail, out),
            Answer::Parts(parts) => write_parts(parts, sheet, tail, out),
            Answer::PreconditionFailed => {
                page::write_error(Status::PreconditionFailed, method.into(), tail, out);
                Body::Nothing
            }
            Answer::Unsatisfiable => {
                let range = format!("Content-Range: bytes */{length}\r\n");
                page::write(Status::RangeNotSatisfiable, &range, method.into(), tail, out);
                Body::Nothing
            }
        };
        match method {
            Method::Get => body,
            Method::Head => Body::Nothing,
        }
    }
}

/// The field that says which part of the file this is. Its ends are inclusive; a part is never empty.
fn write_content_range(part: &Range<u64>, sheet: &Sheet, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, here and below.
    let _ = write!(out, "Content-Range: bytes {}-{}/{}\r\n", part.start, part.end - 1, sheet.entity.length);
}

fn write_part(part: &Range<u64>, sheet: &Sheet, tail: &Tail, out: &mut Vec<u8>) -> Body {
    let _ = write!(out, "HTTP/1.1 {}\r\n{SERVER}{}", Status::PartialContent, sheet.content_type);
    let _ = write!(out, "Content-Length: {}\r\n", part.end - part.start);
    write_content_range(part, sheet, out);
    out.extend_from_slice(sheet.common.as_bytes());
    tail.write(out);
    Body::Bytes(part.clone())
}

/// Several parts, each with its own head, between boundaries (RFC 9110, section 14.6).
///
/// The boundary is made of the entity's tag. Text that holds it must have been written to the file after its length and the
/// time of the writing were known: nothing that happens by accident, and a reader goes by Content-Range.
fn write_parts(parts: &[Range<u64>], sheet: &Sheet, tail: &Tail, out: &mut Vec<u8>) -> Body {
    let boundary = sheet.entity.etag.bare();
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    for (at, part) in parts.iter().enumerate() {
        let mut text = Vec::new();
        let line_end = if at == 0 { "" } else { "\r\n" };
        let _ = write!(text, "{line_end}--{boundary}\r\n{}", sheet.content_type);
        write_content_range(part, sheet, &mut text);
        text.extend_from_slice(b"\r\n");
        pieces.extend([Piece::Text(text), Piece::Bytes(part.clone())]);
    }
    pieces.push(Piece::Text(format!("\r\n--{boundary}--\r\n").into_bytes()));
    let length: u64 = pieces.iter().map(Piece::length).sum();
    let _ = write!(out, "HTTP/1.1 {}\r\n{SERVER}", Status::PartialContent);
    let _ = write!(out, "Content-Type: multipart/byteranges; boundary={boundary}\r\nContent-Length: {length}\r\n");
    out.extend_from_slice(sheet.common.as_bytes());
    tail.write(out);
    Body::Pieces(pieces)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
