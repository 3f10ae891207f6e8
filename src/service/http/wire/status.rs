//! The status codes of this service, and no others (RFC 9110, section 15): there is a counter for each of them.

use std::fmt;

/// Makes the enumeration out of a table: the name, the code, the reason phrase, and a sentence for people.
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal $reason:literal, $hint:literal;)*) => {
        /// A status code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Status {
            $($(#[$doc])* $name = $code,)*
        }

        impl Status {
            /// The codes, in ascending order. Counters in shared memory stand in the same order.
            pub const CODES: [u16; Status::ALL.len()] = [$($code),*];
            /// Every status, in the same order.
            pub const ALL: [Status; [$($code),*].len()] = [$(Status::$name),*];

            /// The code and the reason phrase as they stand in a status line, such as `404 Not Found`.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Status::$name => concat!($code, " ", $reason),)*
                }
            }

            /// A sentence for people, for the page that is sent with an error or a redirection.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self {
                    $(Status::$name => $hint,)*
                }
            }
        }
    };
}

statuses! {
    /// The whole file.
    Ok = 200 "OK", "All is well.";
    /// One part of the file, or several.
    PartialContent = 206 "Partial Content", "All is well.";
    /// A directory was asked for without its slash.
    MovedPermanently = 301 "Moved Permanently", "This is a directory: its address ends with a slash.";
    /// The client has this representation.
    NotModified = 304 "Not Modified", "All is well.";
    /// A malformed request, or one that two readers could understand differently.
    BadRequest = 400 "Bad Request", "The server could not read this request.";
    /// The file exists, and may not be read.
    Forbidden = 403 "Forbidden", "This file is not for reading.";
    /// There is no such file, or the path names none.
    NotFound = 404 "Not Found", "There is nothing at this address.";
    /// A method of RFC 9110 or 5789 but GET and HEAD.
    MethodNotAllowed = 405 "Method Not Allowed", "Files can be read here, with GET and HEAD, and nothing else.";
    /// The end of the request did not come in time.
    RequestTimeout = 408 "Request Timeout", "The request did not come to its end in time.";
    /// A chunked body.
    LengthRequired = 411 "Length Required", "A request with a body must say how long it is.";
    /// A condition of the request is false.
    PreconditionFailed = 412 "Precondition Failed", "The file is no longer the one that was meant.";
    /// A body beyond [`MAX_BODY_BYTES`](crate::base::limits::MAX_BODY_BYTES).
    ContentTooLarge = 413 "Content Too Large", "The request's body is too large.";
    /// A target beyond [`MAX_TARGET_BYTES`](crate::base::limits::MAX_TARGET_BYTES).
    UriTooLong = 414 "URI Too Long", "The address is too long.";
    /// None of the ranges can be satisfied.
    RangeNotSatisfiable = 416 "Range Not Satisfiable", "The file does not reach that far.";
    /// An expectation other than `100-continue`.
    ExpectationFailed = 417 "Expectation Failed", "The server cannot do what the request expects of it.";
    /// A head beyond [`MAX_HEAD_BYTES`](crate::base::limits::MAX_HEAD_BYTES) or with too many lines.
    HeadTooLarge = 431 "Request Header Fields Too Large", "The request's head is too large.";
    /// Reading the file failed.
    InternalError = 500 "Internal Server Error", "Reading the file failed.";
    /// An unknown method, or a transfer coding below chunked.
    NotImplemented = 501 "Not Implemented", "The server does not know the method or the transfer coding of this request.";
    /// There is no room for this request now.
    Unavailable = 503 "Service Unavailable", "The server is busy. Please try again in a moment.";
    /// Another major version than 1.
    VersionNotSupported = 505 "HTTP Version Not Supported", "This server speaks HTTP/1.0 and HTTP/1.1.";
}

impl Status {
    /// The three digits as a number.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
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
    fn statuses_stand_in_the_order_of_their_codes() {
        assert!(Status::CODES.is_sorted_by(|a, b| a < b));
        assert_eq!(Status::ALL.map(Status::code), Status::CODES);
        assert_eq!(Status::ContentTooLarge.to_string(), "413 Content Too Large");
    }
}
