//! Dates: what the crate `httpdate` reads is read the same, and what is written is read again.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use bank_vault::service::http::wire::{HttpDate, parse_date};
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;

/// 2026-11-25, at noon.
const NOW: i64 = 1_795_608_000;
const YEAR: i64 = 366 * 86_400;

fuzz_target!(|data: &[u8]| {
    let ours = parse_date(data, NOW);
    let seconds = |date: i64| Duration::from_secs(date.unsigned_abs());
    if let Some(date) = ours {
        let time = if date < 0 { UNIX_EPOCH - seconds(date) } else { UNIX_EPOCH + seconds(date) };
        let written = HttpDate::of(time);
        // Of a leap second at the end of the year 9999 the second before is written.
        let read = parse_date(written.as_bytes(), NOW);
        assert!(read == Some(date) || read == Some(date - 1));
        let two_digits = data.contains(&b'-');
        assert!(!two_digits || date < NOW + 50 * YEAR && date > NOW - 101 * YEAR);
    }
    let Some(text) = text(data) else { return };
    let Ok(theirs) = httpdate::parse_http_date(text) else { return };
    let theirs = theirs.duration_since(UNIX_EPOCH).expect("it knows no others").as_secs();
    // It passes over white space around a date, and two digits of a year mean something else there.
    if text == text.trim() && !text.contains('-') {
        assert_eq!(ours, i64::try_from(theirs).ok());
    }
});
