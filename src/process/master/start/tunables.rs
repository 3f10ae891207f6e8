//! Options that say how much of something the server takes, and smaller values with which it would fit; pure.

use std::fmt::Write;

use super::requirements::LEAST_SEGMENT_RECORDS;
use crate::base::config::Settings;

/// An option that says how much of something the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunable {
    /// `--key-window`
    KeyWindow,
    /// `--max-connections`
    MaxConnections,
    /// `--http-connections`
    HttpConnections,
    /// `--accounts`
    Accounts,
    /// `--workers`
    Workers,
    /// `--http-threads`
    HttpThreads,
    /// `--segment-records`
    SegmentRecords,
    /// `--log-rotate-mb`
    LogRotateMb,
}

impl Tunable {
    /// The option, as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tunable::KeyWindow => "--key-window",
            Tunable::MaxConnections => "--max-connections",
            Tunable::HttpConnections => "--http-connections",
            Tunable::Accounts => "--accounts",
            Tunable::Workers => "--workers",
            Tunable::HttpThreads => "--http-threads",
            Tunable::SegmentRecords => "--segment-records",
            Tunable::LogRotateMb => "--log-rotate-mb",
        }
    }

    fn value(self, settings: &Settings) -> u64 {
        match self {
            Tunable::KeyWindow => settings.key_window.into(),
            Tunable::MaxConnections => settings.max_connections.into(),
            Tunable::HttpConnections => settings.http.connections.into(),
            Tunable::Accounts => settings.accounts.into(),
            Tunable::Workers => settings.workers as u64,
            Tunable::HttpThreads => settings.http.threads as u64,
            Tunable::SegmentRecords => settings.segment_records,
            Tunable::LogRotateMb => settings.http.log_rotate_bytes >> 20,
        }
    }

    /// The option's least value.
    fn least(self) -> u64 {
        if self == Tunable::SegmentRecords { LEAST_SEGMENT_RECORDS } else { 1 }
    }

    /// Gives the option another value, not above the one that it has.
    pub fn set(self, settings: &mut Settings, value: u64) {
        // Never more than it was, so it fits.
        let narrow = u32::try_from(value).unwrap_or(u32::MAX);
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match self {
            Tunable::KeyWindow => settings.key_window = narrow,
            Tunable::MaxConnections => settings.max_connections = narrow,
            Tunable::HttpConnections => settings.http.connections = narrow,
            Tunable::Accounts => settings.accounts = narrow,
            Tunable::Workers => settings.workers = count,
            Tunable::HttpThreads => settings.http.threads = count,
            Tunable::SegmentRecords => settings.segment_records = value,
            Tunable::LogRotateMb => settings.http.log_rotate_bytes = value << 20,
        }
    }

    /// Whether the option has an effect with these settings.
    fn matters(self, settings: &Settings) -> bool {
        let of_http = matches!(self, Tunable::HttpConnections | Tunable::HttpThreads | Tunable::LogRotateMb);
        !of_http || settings.http.is_on()
    }
}

/// Smaller values of `tunables` with which the settings fit, as options: all in the same proportion, the largest that do, and only of those
/// options that matter. `None` where none do.
#[must_use]
pub fn fitting(settings: &Settings, tunables: &[Tunable], fits: &impl Fn(&Settings) -> bool) -> Option<String> {
    /// Each step takes a tenth off.
    const STEPS: i32 = 200;
    let tunables: Vec<Tunable> = tunables.iter().copied().filter(|tunable| tunable.matters(settings)).collect();
    let mut smaller = (1..=STEPS).find_map(|step| {
        let mut smaller = settings.clone();
        for tunable in &tunables {
            let now = tunable.value(settings);
            tunable.set(&mut smaller, rounded(scaled(now, step)).max(tunable.least()).min(now));
        }
        fits(&smaller).then_some(smaller)
    })?;
    let mut text = String::new();
    for tunable in tunables {
        let (as_it_was, value) = (tunable.value(settings), tunable.value(&smaller));
        // What takes little need not be less.
        tunable.set(&mut smaller, as_it_was);
        if value < as_it_was && !fits(&smaller) {
            tunable.set(&mut smaller, value);
            // Writing to a String cannot fail.
            _ = write!(text, "{} {value} ", tunable.name());
        }
    }
    Some(text.trim_end().to_owned())
}

/// `value` less a tenth, `step` times.
fn scaled(value: u64, step: i32) -> u64 {
    (0..step).fold(value, |value, _| value - value.div_ceil(10).min(value))
}

/// The next number downward that has two digits and zeros.
fn rounded(value: u64) -> u64 {
    let unit = 10u64.pow(value.checked_ilog10().unwrap_or(0).saturating_sub(1));
    value - value % unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_proposed_as_people_write_them() {
        let cases = [(0, 0), (7, 7), (99, 99), (104, 100), (2_187, 2_100), (387_420, 380_000)];
        assert!(cases.iter().all(|&(value, round)| rounded(value) == round), "{cases:?}");
        assert_eq!([scaled(100, 1), scaled(100, 2), scaled(1, 1), scaled(0, 9)], [90, 81, 0, 0]);
    }
}
