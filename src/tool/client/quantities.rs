//! Words of the command line that say how long or how often.

use std::time::Duration;

/// Parses a length of time: `10s`, `500ms`, `2m`, or plain seconds; decimals are allowed, which `humantime` does not read.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "ms" => Some(0.001),
        "s" | "" => Some(1.0),
        "m" => Some(60.0),
        _ => None,
    };
    let number = digits.parse::<f64>().ok().zip(seconds_per_unit);
    let (number, seconds_per_unit) = number.ok_or("write it like 500ms, 10s or 2m")?;
    // Far below what would overflow the clocks.
    let seconds = number * seconds_per_unit;
    if !(0.0..=1e8).contains(&seconds) {
        return Err("a time must lie between 0 and 10^8 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses a rate, operations per second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of operations per second, from 0.001 to 10^9".to_owned()),
    }
}
