//! Numbers in few columns.

/// A rate as a whole number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stays within the bounds of u64")]
pub(super) fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// With a comma between thousands.
pub(super) fn whole(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// A rate: with one place where that says something.
pub(super) fn rate(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 10.0 { format!("{per_s:.1}") } else { whole(rounded(per_s)) }
}

/// A time, in the unit that suits it; a dash where there was none.
pub(super) fn time(us: Option<f64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1e3 => format!("{us:.0} us"),
        Some(us) if us < 1e6 => format!("{:.1} ms", us / 1e3),
        Some(us) => format!("{:.1} s", us / 1e6),
    }
}

/// Bytes, in the unit that suits them.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

/// A part of a whole in percent; a dash where there is no whole.
pub(super) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

/// Milliseconds as a clock shows them, with days where there are.
pub(super) fn lasted(ms: u64) -> String {
    let (seconds, days) = (ms / 1000, ms / 86_400_000);
    let days = if days > 0 { format!("{days} d ") } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        assert_eq!([0, 999, 1000, 12_345_678].map(whole), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([0.0, 0.25, 9.94, 1234.5].map(rate), ["0", "0.2", "9.9", "1,235"]);
        assert_eq!([None, Some(12.4), Some(1500.0), Some(2e6)].map(time), ["-", "12 us", "1.5 ms", "2.0 s"]);
        assert_eq!([5, 2048, 3 << 20].map(bytes), ["5 B", "2 KiB", "3 MiB"]);
        assert_eq!([1000, 86_400_000 + 3_661_000].map(lasted), ["00:00:01", "1 d 01:01:01"]);
    }
}
