use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// 2026-11-25, at noon.
const NOW: i64 = 1_795_608_000;

fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[test]
fn any_time_has_a_text_that_reads_the_same() {
    for (time, text) in [
        (at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"),
        (at(784_111_777) + Duration::from_nanos(999_999_999), "Sun, 06 Nov 1994 08:49:37 GMT"),
        (at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT"),
        (at(-1), "Wed, 31 Dec 1969 23:59:59 GMT"),
        (UNIX_EPOCH - Duration::from_nanos(1), "Wed, 31 Dec 1969 23:59:59 GMT"),
        (at(-2_208_988_800), "Mon, 01 Jan 1900 00:00:00 GMT"),
        (at(FIRST_SECOND), "Sat, 01 Jan 0000 00:00:00 GMT"),
        (at(FIRST_SECOND - 1), "Sat, 01 Jan 0000 00:00:00 GMT"),
        (at(LAST_SECOND), "Fri, 31 Dec 9999 23:59:59 GMT"),
        (at(LAST_SECOND + 1), "Fri, 31 Dec 9999 23:59:59 GMT"),
        (at(1 << 40), "Fri, 31 Dec 9999 23:59:59 GMT"),
        (at(-(1 << 40)), "Sat, 01 Jan 0000 00:00:00 GMT"),
    ] {
        let date = HttpDate::of(time);
        assert_eq!(str::from_utf8(date.as_bytes()), Ok(text));
        assert_eq!(parse_date(date.as_bytes(), NOW), Some(date.seconds()), "{text}");
    }
}

/// Each with the seconds since 1970, by `date -d … +%s`.
#[test]
fn every_valid_date_is_one() {
    for (text, seconds) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        ("Sun Nov  6 08:49:37 1994", 784_111_777),
        ("Sun Nov 06 08:49:37 1994", 784_111_777),
        ("Tue Nov 15 12:45:26 1994", 784_903_526),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Fri, 13 Dec 1901 20:45:52 GMT", -2_147_483_648),
        ("Mon, 01 Jan 1601 00:00:00 GMT", -11_644_473_600),
        ("Sat, 01 Jan 0000 00:00:00 GMT", FIRST_SECOND),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LAST_SECOND),
        ("Sat Dec 31 23:59:59 1966", -94_694_401),
        // Leap seconds: the second after, as the clocks of files and of this server have it.
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        ("Saturday, 31-Dec-16 23:59:60 GMT", 1_483_228_800),
        ("Sat Dec 31 23:59:60 2016", 1_483_228_800),
        ("Fri, 31 Dec 9999 23:59:60 GMT", LAST_SECOND + 1),
        // A name of a day that is another's is a valid name.
        ("Mon, 06 Nov 1994 08:49:37 GMT", 784_111_777),
    ] {
        assert_eq!(parse_date(text.as_bytes(), NOW), Some(seconds), "{text}");
    }
}

#[test]
fn what_is_no_date_is_none() {
    for none in [
        "",
        "yesterday",
        "0",
        "-1",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 1900 00:00:00 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "SUN, 06 Nov 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun; 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov +994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:+7 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sunday 06-Nov-94 08:49:37 GMT",
        "Sunday, 6-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  x 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 \u{e4}T",
        ", 06-Nov-94 08:49:37 GMT",
    ] {
        assert_eq!(parse_date(none.as_bytes(), NOW), None, "{none}");
    }
}

/// RFC 9110, section 5.6.7: what seems to lie more than fifty years in the future is the last year with these digits.
#[test]
fn two_digits_of_a_year_mean_the_nearest_that_is_not_far_ahead() {
    let of = |year: &str| format!("Wed, 25 Nov {year} 12:00:00 GMT");
    for (now, date, wanted) in [
        ("2026", "25-Nov-76 12:00:00", "2076"),
        ("2026", "25-Nov-76 12:00:01", "1976"),
        ("2026", "26-Nov-76 00:00:00", "1976"),
        ("2026", "25-Nov-77 12:00:00", "1977"),
        ("2026", "25-Nov-26 12:00:00", "2026"),
        ("2026", "25-Nov-00 12:00:00", "2000"),
        ("2026", "25-Nov-99 12:00:00", "1999"),
        ("1994", "25-Nov-94 12:00:00", "1994"),
        ("1994", "25-Nov-44 12:00:00", "2044"),
        ("1994", "25-Nov-45 12:00:00", "1945"),
        ("2090", "25-Nov-05 12:00:00", "2105"),
        ("2090", "25-Nov-41 12:00:00", "2041"),
        ("2000", "25-Nov-50 12:00:00", "2050"),
        ("2000", "25-Nov-51 12:00:00", "1951"),
    ] {
        let now = parse_date(of(now).as_bytes(), NOW).unwrap();
        let read = parse_date(format!("Wednesday, {date} GMT").as_bytes(), now).unwrap();
        let year = OffsetDateTime::from_unix_timestamp(read).unwrap().year();
        assert_eq!(year.to_string(), wanted, "{date} in {now}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(value: Vec<u8>, now in FIRST_SECOND..=LAST_SECOND) {
        let _ = parse_date(&value, now);
    }

    #[test]
    fn dates_that_others_know_are_the_same(seconds in 0..=LAST_SECOND) {
        let text = httpdate::fmt_http_date(at(seconds));
        let own = HttpDate::of(at(seconds));
        prop_assert_eq!(own.as_str(), &text);
        prop_assert_eq!(parse_date(text.as_bytes(), NOW), Some(seconds));
    }

    #[test]
    fn every_second_reads_as_it_was_written(seconds in FIRST_SECOND..=LAST_SECOND) {
        prop_assert_eq!(parse_date(HttpDate::of(at(seconds)).as_bytes(), NOW), Some(seconds));
    }

    /// Texts that are nearly dates: no other reader knows one that this one does not, but for its own rules of two-digit years.
    #[test]
    fn whatever_is_a_date_to_others_is_one(
        text in "(Sun|Mon), ?[0-9]{2}[ -](Nov|Feb)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT|Sun Nov [ 0-9][0-9] [0-2][0-9]:[0-5][0-9]:[0-9]{2} [0-9]{4}"
    ) {
        if let Ok(theirs) = httpdate::parse_http_date(&text) {
            let theirs = i64::try_from(theirs.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
            prop_assert_eq!(parse_date(text.as_bytes(), NOW), Some(theirs), "{}", text);
        }
    }
}
