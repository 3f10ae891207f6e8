//! Options that say how much of something the server takes, and smaller values with which it would fit; pure.

use std::fmt::Write;

use super::requirements::LEAST_SEGMENT_RECORDS;
use crate::base::config::Settings;
use crate::service::entry::{Entry, Saves, Tunable};

/// Options of the server itself.
const OWN: [Tunable; 4] = [
    Tunable::new("--accounts", Saves::Accounts, |settings| &mut settings.accounts),
    Tunable::new("--key-window", Saves::Keys, |settings| &mut settings.key_window),
    Tunable::new("--workers", Saves::Workers, |settings| &mut settings.workers),
    Tunable {
        least: LEAST_SEGMENT_RECORDS,
        ..Tunable::new("--segment-records", Saves::Segment, |settings| &mut settings.segment_records)
    },
];

/// The options that save one of `saves`, in that order: of the server itself, and of those of its services that `count`.
#[must_use]
pub fn that_save(services: &[Entry], saves: &[Saves], counts: impl Fn(&Entry) -> bool) -> Vec<Tunable> {
    let services = services.iter().filter(|entry| counts(entry)).flat_map(|entry| entry.tunables);
    let all: Vec<&Tunable> = OWN.iter().chain(services).collect();
    saves.iter().flat_map(|saves| all.iter().filter(|tunable| tunable.saves == *saves)).map(|one| **one).collect()
}

/// Smaller values of `tunables` with which the settings fit, as options: all in the same proportion, the largest that do, and only of those
/// options that matter. `None` where none do.
#[must_use]
pub fn fitting(settings: &Settings, tunables: &[Tunable], fits: &impl Fn(&Settings) -> bool) -> Option<String> {
    /// Each step takes a tenth off.
    const STEPS: i32 = 200;
    let value = |tunable: &Tunable, settings: &mut Settings| (tunable.field)(settings).get() / tunable.unit;
    let set = |tunable: &Tunable, settings: &mut Settings, value| (tunable.field)(settings).set(value * tunable.unit);
    let mut as_they_were = settings.clone();
    let mut smaller = (1..=STEPS).find_map(|step| {
        let mut smaller = settings.clone();
        for tunable in tunables {
            let now = value(tunable, &mut smaller);
            set(tunable, &mut smaller, rounded(scaled(now, step)).max(tunable.least).min(now));
        }
        fits(&smaller).then_some(smaller)
    })?;
    let mut text = String::new();
    for tunable in tunables {
        let (as_it_was, less) = (value(tunable, &mut as_they_were), value(tunable, &mut smaller));
        // What takes little need not be less.
        set(tunable, &mut smaller, as_it_was);
        if less < as_it_was && !fits(&smaller) {
            set(tunable, &mut smaller, less);
            // Writing to a String cannot fail.
            _ = write!(text, "{} {less} ", tunable.option);
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
