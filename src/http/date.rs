//! Dates as HTTP writes them (RFC 9110, section 5.6.7), to the second.

use std::str;
use std::time::{Duration, SystemTime};

/// The last second of the year 9999, beyond which the format has no room for the year.
const LAST_SECOND: u64 = 253_402_300_799;

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`. Making one takes a while; for the Date field once a second is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateText([u8; DateText::BYTES]);

impl DateText {
    /// Bytes of a date.
    pub const BYTES: usize = 29;

    /// The text of a time. Files can have any; what lies before 1970 or after 9999 becomes the nearest that can be written.
    #[must_use]
    pub fn of(time: SystemTime) -> DateText {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds(time));
        let mut bytes = [b' '; DateText::BYTES];
        let text = httpdate::fmt_http_date(time);
        bytes.copy_from_slice(text.as_bytes());
        DateText(bytes)
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DateText::BYTES] {
        &self.0
    }
}

/// Whole seconds since 1970, as far as a date can say.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST_SECOND)
}

/// The seconds since 1970 that a client wrote, in any of the three formats; `None`: it is no date.
pub(super) fn parse(value: &[u8]) -> Option<u64> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?).ok().map(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_has_a_text_that_reads_the_same() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (time, text) in [
            (at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (at(784_111_777) + Duration::from_nanos(999_999_999), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT"),
            (SystemTime::UNIX_EPOCH - Duration::from_secs(86_400), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (at(LAST_SECOND), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (at(LAST_SECOND + 1), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (at(1 << 40), "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let date = DateText::of(time);
            assert_eq!(str::from_utf8(date.as_bytes()), Ok(text));
            assert_eq!(parse(date.as_bytes()), Some(seconds(time)), "{text}");
        }
        for same in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(same.as_bytes()), Some(784_111_777), "{same}");
        }
        for none in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 25:49:37 GMT", "\u{e4}"] {
            assert_eq!(parse(none.as_bytes()), None, "{none}");
        }
    }
}
