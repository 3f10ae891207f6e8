//! The status codes of this service, and no others (RFC 9110, section 15): there is a counter for each of them.

use std::fmt;

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// The whole file.
    Ok = 200,
    /// One part of the file, or several.
    PartialContent = 206,
    /// A directory was asked for without its slash.
    MovedPermanently = 301,
    /// The client has this representation.
    NotModified = 304,
    /// A malformed request, or one that two readers could understand differently.
    BadRequest = 400,
    /// The file exists, and may not be read.
    Forbidden = 403,
    /// There is no such file, or the path names none.
    NotFound = 404,
    /// A method of RFC 9110 or 5789 but GET and HEAD.
    MethodNotAllowed = 405,
    /// The end of the request did not come in time.
    RequestTimeout = 408,
    /// A chunked body.
    LengthRequired = 411,
    /// A condition of the request is false.
    PreconditionFailed = 412,
    /// A body beyond [`MAX_BODY_BYTES`](crate::base::limits::MAX_BODY_BYTES).
    ContentTooLarge = 413,
    /// A target beyond [`MAX_TARGET_BYTES`](crate::base::limits::MAX_TARGET_BYTES).
    UriTooLong = 414,
    /// None of the ranges can be satisfied.
    RangeNotSatisfiable = 416,
    /// An expectation other than `100-continue`.
    ExpectationFailed = 417,
    /// A head beyond [`MAX_HEAD_BYTES`](crate::base::limits::MAX_HEAD_BYTES) or with too many lines.
    HeadTooLarge = 431,
    /// Reading the file failed.
    InternalError = 500,
    /// An unknown method, or a transfer coding below chunked.
    NotImplemented = 501,
    /// There is no room for this request now.
    Unavailable = 503,
    /// Another major version than 1.
    VersionNotSupported = 505,
}

impl Status {
    /// Every status, in the order of the codes. Counters in shared memory stand in the same order.
    pub const ALL: [Status; 20] = [
        Status::Ok,
        Status::PartialContent,
        Status::MovedPermanently,
        Status::NotModified,
        Status::BadRequest,
        Status::Forbidden,
        Status::NotFound,
        Status::MethodNotAllowed,
        Status::RequestTimeout,
        Status::LengthRequired,
        Status::PreconditionFailed,
        Status::ContentTooLarge,
        Status::UriTooLong,
        Status::RangeNotSatisfiable,
        Status::ExpectationFailed,
        Status::HeadTooLarge,
        Status::InternalError,
        Status::NotImplemented,
        Status::Unavailable,
        Status::VersionNotSupported,
    ];

    /// The codes of [`Status::ALL`].
    pub const CODES: [u16; Status::ALL.len()] = {
        let mut codes = [0; Status::ALL.len()];
        let mut place = 0;
        while place < codes.len() {
            codes[place] = Status::ALL[place].code();
            place += 1;
        }
        codes
    };

    /// The three digits as a number.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The code and the reason phrase as they stand in a status line, such as `404 Not Found`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.texts().0
    }

    /// A sentence for people, for the page that is sent with an error or a redirection.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        self.texts().1
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Status::Ok => ("200 OK", "All is well."),
            Status::PartialContent => ("206 Partial Content", "All is well."),
            Status::MovedPermanently => {
                ("301 Moved Permanently", "This is a directory: its address ends with a slash.")
            }
            Status::NotModified => ("304 Not Modified", "All is well."),
            Status::BadRequest => ("400 Bad Request", "The server could not read this request."),
            Status::Forbidden => ("403 Forbidden", "This file is not for reading."),
            Status::NotFound => ("404 Not Found", "There is nothing at this address."),
            Status::MethodNotAllowed => {
                ("405 Method Not Allowed", "Files can be read here, with GET and HEAD, and nothing else.")
            }
            Status::RequestTimeout => ("408 Request Timeout", "The request did not come to its end in time."),
            Status::LengthRequired => ("411 Length Required", "A request with a body must say how long it is."),
            Status::PreconditionFailed => ("412 Precondition Failed", "The file is no longer the one that was meant."),
            Status::ContentTooLarge => ("413 Content Too Large", "The request's body is too large."),
            Status::UriTooLong => ("414 URI Too Long", "The address is too long."),
            Status::RangeNotSatisfiable => ("416 Range Not Satisfiable", "The file does not reach that far."),
            Status::ExpectationFailed => {
                ("417 Expectation Failed", "The server cannot do what the request expects of it.")
            }
            Status::HeadTooLarge => ("431 Request Header Fields Too Large", "The request's head is too large."),
            Status::InternalError => ("500 Internal Server Error", "Reading the file failed."),
            Status::NotImplemented => {
                ("501 Not Implemented", "The server does not know the method or the transfer coding of this request.")
            }
            Status::Unavailable => ("503 Service Unavailable", "The server is busy. Please try again in a moment."),
            Status::VersionNotSupported => {
                ("505 HTTP Version Not Supported", "This server speaks HTTP/1.0 and HTTP/1.1.")
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_begins_with_its_code() {
        for status in Status::ALL {
            assert_eq!(status.text().split_once(' ').unwrap().0, status.code().to_string());
        }
        assert!(Status::ALL.is_sorted_by(|a, b| a.code() < b.code()));
    }
}
