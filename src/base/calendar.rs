//! Dates for people: milliseconds since 1970 as ISO 8601, in UTC.

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from the first of March of the year 0 to the first of January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day of the calendar: year, month and day of the month, the latter two from 1.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    // Years that begin in March have the odd day at their end, and months whose days a line tells: 153 in five of them.
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Such as `2025-01-31T23:59:59.999Z`; beyond the year 9999 the year has more digits.
#[must_use]
pub fn iso_utc(ms: u64) -> String {
    let (year, month, day) = civil(ms / MS_PER_DAY);
    let ms = ms % MS_PER_DAY;
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Seconds since 1970 as access logs have it, such as `31/Jan/2025:23:59:59 +0000`.
#[must_use]
pub fn log_utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / (MS_PER_DAY / 1000));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month = usize::try_from(month - 1).map_or("", |month| MONTHS[month]);
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
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
        ] {
            assert_eq!(iso_utc(ms), text);
        }
    }

    #[test]
    fn access_logs_have_the_same_dates_in_their_own_way() {
        assert_eq!(log_utc(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(log_utc(951_868_799), "29/Feb/2000:23:59:59 +0000");
        assert_eq!(log_utc(1_795_280_811), "21/Nov/2026:17:06:51 +0000");
    }

    #[test]
    fn days_follow_each_other_for_eight_hundred_years() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut day = 0;
        for year in 1970..2770 {
            for month in 1..=12 {
                for of_month in 1..=length(year, month) {
                    assert_eq!(iso_utc(day * MS_PER_DAY)[..10], format!("{year:04}-{month:02}-{of_month:02}"));
                    day += 1;
                }
            }
        }
    }
}
