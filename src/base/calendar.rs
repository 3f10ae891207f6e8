//! Dates for people, in UTC, from the time since 1970. After the year 9999 they stay at its last moment.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

type Format = &'static [BorrowedFormatItem<'static>];
const ISO_8601: Format =
    format_description!(version = 2, "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const ACCESS_LOG: Format =
    format_description!(version = 2, "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

fn text(ms: u64, format: Format) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    // Formatting does not fail: a time in UTC has all of these components.
    time.unwrap_or(PrimitiveDateTime::MAX.assume_utc()).format(format).unwrap_or_default()
}

/// Milliseconds since 1970 as ISO 8601, such as `2025-01-31T23:59:59.999Z`.
#[must_use]
pub fn iso_utc(ms: u64) -> String {
    text(ms, ISO_8601)
}

/// Seconds since 1970 as access logs have it, such as `31/Jan/2025:23:59:59 +0000`.
#[must_use]
pub fn log_utc(seconds: u64) -> String {
    text(seconds.saturating_mul(1000), ACCESS_LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(iso_utc(ms), text);
        }
    }

    #[test]
    fn access_logs_have_the_same_dates_in_their_own_way() {
        assert_eq!(log_utc(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(log_utc(951_868_799), "29/Feb/2000:23:59:59 +0000");
        assert_eq!(log_utc(1_795_280_811), "21/Nov/2026:17:06:51 +0000");
        assert_eq!(log_utc(u64::MAX), "31/Dec/9999:23:59:59 +0000");
    }
}
