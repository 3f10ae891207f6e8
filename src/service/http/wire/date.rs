//! HTTP-date (RFC 9110, section 5.6.7), to the second.
//!
//! The crate `time` reads and writes the formats. The crate `httpdate` would be shorter, but it knows no year before 1970 and no
//! leap second, and takes two-digit years for 1970 to 2069 whatever year it is; tests compare all other dates with it.

use std::str;
use std::time::SystemTime;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::parsing::Parsed;
use time::{Date, Month, OffsetDateTime};

/// The first second of the year 0000 and the last of 9999: the format has no room for others.
const FIRST_SECOND: i64 = -62_167_219_200;
const LAST_SECOND: i64 = 253_402_300_799;
/// A date with a two-digit year that seems to lie more years than this in the future lies in the past.
const FUTURE_YEARS: i32 = 50;

type Format = &'static [BorrowedFormatItem<'static>];
const IMF_FIXDATE: Format = format_description!(
    version = 2,
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
const RFC_850: Format = format_description!(
    version = 2,
    "[weekday], [day]-[month repr:short]-[year repr:last_two] [hour]:[minute]:[second] GMT"
);
const ASCTIME: Format = format_description!(
    version = 2,
    "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
);

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`. Making one takes a while; for the Date field once a second is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate {
    seconds: i64,
    text: [u8; HttpDate::BYTES],
}

impl HttpDate {
    /// Bytes of a date.
    pub const BYTES: usize = 29;

    /// The text of a time. The time of a file can be any; one before the year 0 or after 9999 becomes the nearest that can be
    /// written.
    #[must_use]
    pub fn of(time: SystemTime) -> HttpDate {
        let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let distance = before.duration();
                let whole = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
                -whole.saturating_add(i64::from(distance.subsec_nanos() > 0))
            }
        };
        let seconds = seconds.clamp(FIRST_SECOND, LAST_SECOND);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        // Neither can fail: `time` knows these years, and the text has room for all of them.
        if let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds) {
            let _ = time.format_into(&mut text.as_mut_slice(), IMF_FIXDATE);
        }
        HttpDate { seconds, text }
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HttpDate::BYTES] {
        &self.text
    }

    /// The same.
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Seconds since 1970.
    #[inline]
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

/// The seconds since 1970 that a client wrote, in any of the three formats; `None`: it is no date. `now` decides the century
/// of a two-digit year.
///
/// The name of the day is not compared with the date. A leap second is the first one after it, as everywhere in POSIX.
#[must_use]
pub fn parse_date(value: &[u8], now: i64) -> Option<i64> {
    // Only the length of the first two formats is fixed. It leaves no room for a sign before the year, which `time` would accept.
    let format = match value.len() {
        29 => IMF_FIXDATE,
        24 => ASCTIME,
        _ => RFC_850,
    };
    let mut parsed = Parsed::new();
    let rest = parsed.parse_items(value, format).ok()?;
    let (month, day) = (parsed.month()?, parsed.day()?.get());
    let [hour, minute, second] = [parsed.hour_24()?, parsed.minute()?, parsed.second()?].map(i64::from);
    let second_of_day = hour * 3600 + minute * 60 + second;
    let year = match parsed.year_last_two() {
        Some(two_digits) => full_year(two_digits.into(), (month, day, second_of_day), now),
        None => parsed.year()?,
    };
    let date = Date::from_calendar_date(year, month, day).ok()?;
    rest.is_empty().then(|| date.midnight().assume_utc().unix_timestamp() + second_of_day)
}

/// The last year with these two digits in which the rest of the date is not more than fifty years in the future.
fn full_year(two_digits: i32, rest: (Month, u8, i64), now: i64) -> i32 {
    let moment = |year, (month, day, second_of_day): (Month, u8, i64)| (year, u8::from(month), day, second_of_day);
    let today = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let latest = moment(today.year() + FUTURE_YEARS, (today.month(), today.day(), now.rem_euclid(86_400)));
    let century = today.year() - today.year().rem_euclid(100);
    let candidates = [century + 100, century].map(|century| century + two_digits);
    let year = candidates.into_iter().find(|year| moment(*year, rest) <= latest);
    year.unwrap_or(century - 100 + two_digits)
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
