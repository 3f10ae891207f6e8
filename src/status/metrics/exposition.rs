//! The text format of Prometheus, version 0.0.4.
//!
//! It is written here because `prometheus-client` writes OpenMetrics, where HELP and TYPE name counters without `_total`, and the
//! values of `prometheus` are `f64`, which would round large counters and the bounds of buckets.

use std::fmt::{self, Display, Write};

use crate::store::instance::histogram::{BUCKETS, Times, longest_of};

/// Buckets of the sample that are summed up in one of the text: half a doubling.
const STEP: usize = 4;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// It never decreases.
    Counter,
    /// It increases and decreases.
    Gauge,
    /// Times, counted in buckets.
    Histogram,
}

/// A metric of which each `T` has one value: its name, type, help and value.
pub(super) type Of<T, V = u64> = (&'static str, Type, &'static str, fn(&T) -> V);

/// A label and its value.
pub(super) type Label<'a> = (&'static str, &'a dyn Display);

/// The text, while it is written.
#[derive(Default)]
pub(super) struct Exposition {
    pub(super) text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric; its values follow. `help` has neither backslashes nor line ends.
    pub(super) fn metric(&mut self, name: &'static str, kind: Type, help: &'static str) {
        // The format's names are those of the type, in small letters.
        let kind = format!("{kind:?}").to_ascii_lowercase();
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self.name = name;
    }

    /// One value of the metric.
    pub(super) fn value(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, value);
    }

    /// Metrics of which `item` has the only value.
    pub(super) fn of_one<T>(&mut self, item: &T, metrics: &[Of<T>]) {
        for (name, kind, help, value) in metrics {
            self.metric(name, *kind, help);
            self.value(&[], value(item));
        }
    }

    /// One histogram of the metric, in seconds. The bound of a bucket is the longest time that is counted in it, to the nanosecond,
    /// so the counts are exact.
    pub(super) fn times(&mut self, labels: &[Label<'_>], times: &Times) {
        let with_bound = |out: &mut Self, bound: &str, seen: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", &bound as &dyn Display)]).collect();
            out.line("_bucket", &labels, seen);
        };
        let mut seen = 0;
        for (bucket, count) in times.buckets().iter().enumerate() {
            seen += count;
            // The last bucket counts all longer times, so it is shown as `+Inf`.
            if bucket % STEP == STEP - 1 && bucket < BUCKETS - 1 {
                with_bound(self, &seconds(longest_of(bucket)), seen);
            }
        }
        with_bound(self, "+Inf", seen);
        self.line("_sum", labels, seconds(times.sum_ns()));
        self.line("_count", labels, seen);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (label, content)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let content = content.to_string().replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            self.write(format_args!("{before}{label}=\"{content}\""));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{end} {value}\n"));
    }

    fn write(&mut self, what: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(what);
    }
}

/// Nanoseconds as seconds, exactly, without trailing zeros.
pub(super) fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_line_or_a_label_is_escaped() {
        let mut exposition = Exposition::default();
        exposition.metric("a", Type::Gauge, "of it.");
        exposition.value(&[("name", &"q\"\\\n")], 1);
        let text = "# HELP a of it.\n# TYPE a gauge\na{name=\"q\\\"\\\\\\n\"} 1\n";
        assert_eq!(exposition.text, text);
    }

    #[test]
    fn seconds_are_exact() {
        for (ns, text) in [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (20_000_000_000, "20")] {
            assert_eq!(seconds(ns), text);
        }
    }
}
