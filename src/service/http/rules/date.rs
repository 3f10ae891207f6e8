//! Dates as HTTP writes them (RFC 9110, section 5.6.7), to the second.
//!
//! They are read here because the crate `httpdate` knows no year before 1970 and no leap second, and takes two-digit years for
//! 1970 to 2069 whatever year it is. It is the oracle of the tests for all other dates.

use std::str;
use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime};

/// The first second of the year 0000 and the last of 9999: the format has no room for others.
const FIRST_SECOND: i64 = -62_167_219_200;
const LAST_SECOND: i64 = 253_402_300_799;
/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;
/// Years that a date with a two-digit year may seem to lie in the future.
const FUTURE_YEARS: i32 = 50;

const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_DAYS: [&[u8]; 7] = [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];
const MONTHS: [(&[u8; 3], Month); 12] = [
    (b"Jan", Month::January),
    (b"Feb", Month::February),
    (b"Mar", Month::March),
    (b"Apr", Month::April),
    (b"May", Month::May),
    (b"Jun", Month::June),
    (b"Jul", Month::July),
    (b"Aug", Month::August),
    (b"Sep", Month::September),
    (b"Oct", Month::October),
    (b"Nov", Month::November),
    (b"Dec", Month::December),
];

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`. Making one takes a while; for the Date field once a second is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateText {
    seconds: i64,
    text: [u8; DateText::BYTES],
}

impl DateText {
    /// Bytes of a date.
    pub const BYTES: usize = 29;

    /// The text of a time. Files can have any; what lies before the year 0 or after 9999 becomes the nearest that can be
    /// written.
    #[must_use]
    pub fn of(time: SystemTime) -> DateText {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let distance = before.duration();
                let whole = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
                -whole.saturating_add(i64::from(distance.subsec_nanos() > 0))
            }
        };
        DateText::of_seconds(seconds.clamp(FIRST_SECOND, LAST_SECOND))
    }

    fn of_seconds(seconds: i64) -> DateText {
        let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut text = *b"Www, DD Mmm YYYY hh:mm:ss GMT";
        text[..3].copy_from_slice(DAYS[usize::from(time.weekday().number_days_from_monday())]);
        text[8..11].copy_from_slice(MONTHS[usize::from(u8::from(time.month()) - 1)].0);
        write_digits(&mut text[12..16], time.year().unsigned_abs());
        for (at, number) in [(5, time.day()), (17, time.hour()), (20, time.minute()), (23, time.second())] {
            write_digits(&mut text[at..at + 2], number.into());
        }
        DateText { seconds, text }
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DateText::BYTES] {
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

fn write_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

/// A date and a time of day, as a client wrote them.
struct Parts {
    year: i32,
    month: Month,
    day: u8,
    /// Seconds of the day. A leap second is the first one after it, as everywhere in POSIX.
    seconds: i64,
}

/// The seconds since 1970 that a client wrote, in any of the three formats, if it is `now` (which decides the century of
/// a two-digit year); `None`: it is no date.
#[must_use]
pub fn parse_date(value: &[u8], now: i64) -> Option<i64> {
    let parts = match value.len() {
        29 if value[3] == b',' => fixdate(value),
        24 => asctime(value),
        _ => rfc850(value, now),
    }?;
    let date = Date::from_calendar_date(parts.year, parts.month, parts.day).ok()?;
    Some((i64::from(date.to_julian_day()) - JULIAN_1970) * 86_400 + parts.seconds)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn fixdate(text: &[u8]) -> Option<Parts> {
    let right = is_day(&text[..3]) && &text[3..5] == b", " && text[7] == b' ' && text[11] == b' ' && text[16] == b' ';
    Some(Parts {
        year: number(&text[12..16])?,
        month: month(&text[8..11])?,
        day: day(&text[5..7])?,
        seconds: time_of_day(&text[17..25])?,
    })
    .filter(|_| right && &text[25..] == b" GMT")
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Parts> {
    let right = is_day(&text[..3]) && [3, 7, 10, 19].iter().all(|at| text[*at] == b' ');
    let of_month = if text[8] == b' ' { &text[9..10] } else { &text[8..10] };
    Some(Parts {
        year: number(&text[20..])?,
        month: month(&text[4..7])?,
        day: day(of_month)?,
        seconds: time_of_day(&text[11..19])?,
    })
    .filter(|_| right)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], now: i64) -> Option<Parts> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (name, text) = text.split_at(comma);
    let text: &[u8; 24] = text.try_into().ok()?;
    let right =
        LONG_DAYS.contains(&name) && &text[..2] == b", " && text[4] == b'-' && text[8] == b'-' && text[11] == b' ';
    let mut parts = Parts {
        year: number(&text[9..11])?,
        month: month(&text[5..8])?,
        day: day(&text[2..4])?,
        seconds: time_of_day(&text[12..20])?,
    };
    parts.year = full_year(&parts, now);
    Some(parts).filter(|_| right && &text[20..] == b" GMT")
}

/// The last year with these two digits that does not lie more than fifty years in the future.
fn full_year(parts: &Parts, now: i64) -> i32 {
    let today = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let moment = |year, month: Month, day, seconds| (year, u8::from(month), day, seconds);
    let latest = moment(today.year() + FUTURE_YEARS, today.month(), today.day(), now.rem_euclid(86_400));
    let century = today.year() - today.year().rem_euclid(100);
    let too_late = |year: &i32| moment(*year, parts.month, parts.day, parts.seconds) > latest;
    [100, 0]
        .map(|offset| century + offset + parts.year)
        .into_iter()
        .find(|year| !too_late(year))
        .unwrap_or(century - 100 + parts.year)
}

fn is_day(text: &[u8]) -> bool {
    DAYS.iter().any(|day| *day == text)
}

fn month(text: &[u8]) -> Option<Month> {
    MONTHS.iter().find(|(name, _)| *name == text).map(|(_, month)| *month)
}

fn day(text: &[u8]) -> Option<u8> {
    number(text).and_then(|day| u8::try_from(day).ok())
}

/// `08:49:37`; the second may be 60.
fn time_of_day(text: &[u8]) -> Option<i64> {
    let [hour, minute, second] = [number(&text[..2])?, number(&text[3..5])?, number(&text[6..])?];
    let right = text[2] == b':' && text[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    right.then(|| i64::from(hour * 3600 + minute * 60 + second))
}

/// Digits alone, at most four of them.
fn number(text: &[u8]) -> Option<i32> {
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i32::from(byte - b'0')))
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
