//! The statuses that the file service answers with, and no others (RFC 9110, section 15).

use std::fmt;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// The whole file.
    Ok = 200,
    /// One range of the file, or several.
    PartialContent = 206,
    /// A directory was asked for without its slash.
    MovedPermanently = 301,
    /// The file is the one that the client has.
    NotModified = 304,
    /// Not a request, or one that two readers could understand differently.
    BadRequest = 400,
    /// The file exists, and the service may not read it.
    Forbidden = 403,
    /// No such file, or a path that names none.
    NotFound = 404,
    /// A method that RFC 9110 or 5789 defines, and files do not have: neither GET nor HEAD.
    MethodNotAllowed = 405,
    /// The request did not come to its end in time.
    RequestTimeout = 408,
    /// A chunked body, whose length is not known beforehand.
    LengthRequired = 411,
    /// The file is not the one that the client's condition names.
    PreconditionFailed = 412,
    /// A body beyond [`MAX_BODY_BYTES`](crate::base::limits::MAX_BODY_BYTES).
    ContentTooLarge = 413,
    /// A target beyond [`MAX_TARGET_BYTES`](crate::base::limits::MAX_TARGET_BYTES).
    UriTooLong = 414,
    /// None of the ranges lies in the file.
    RangeNotSatisfiable = 416,
    /// An expectation other than `100-continue`.
    ExpectationFailed = 417,
    /// A head beyond [`MAX_HEAD_BYTES`](crate::base::limits::MAX_HEAD_BYTES) or with too many lines.
    HeadTooLarge = 431,
    /// Reading the file failed.
    InternalError = 500,
    /// A method, or a transfer coding, that this service does not know.
    NotImplemented = 501,
    /// No room for this request now.
    Unavailable = 503,
    /// Another major version than 1.
    VersionNotSupported = 505,
}

impl Status {
    /// Every status, in the order of the numbers.
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

    /// The three digits as a number.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The code and the reason phrase, as they stand in a status line: `404 Not Found`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::PartialContent => "206 Partial Content",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::LengthRequired => "411 Length Required",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::InternalError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// A sentence for people, for the page that comes with an error or a redirection.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Status::Ok | Status::PartialContent | Status::NotModified => "All is well.",
            Status::MovedPermanently => "This is a directory: its address ends with a slash.",
            Status::BadRequest => "The server could not read this request.",
            Status::Forbidden => "This file is not for reading.",
            Status::NotFound => "There is nothing at this address.",
            Status::MethodNotAllowed => "Files can be read here, with GET and HEAD, and nothing else.",
            Status::RequestTimeout => "The request did not come to its end in time.",
            Status::LengthRequired => "A request with a body must say how long it is.",
            Status::PreconditionFailed => "The file is no longer the one that was meant.",
            Status::ContentTooLarge => "The request's body is too large.",
            Status::UriTooLong => "The address is too long.",
            Status::RangeNotSatisfiable => "The file does not reach that far.",
            Status::ExpectationFailed => "The server cannot do what the request expects of it.",
            Status::HeadTooLarge => "The request's head is too large.",
            Status::InternalError => "Reading the file failed.",
            Status::NotImplemented => "The server does not know the method or the transfer coding of this request.",
            Status::Unavailable => "The server is busy. Please try again in a moment.",
            Status::VersionNotSupported => "This server speaks HTTP/1.0 and HTTP/1.1.",
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
