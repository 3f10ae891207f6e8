//! Numbers as they are shown: rates, percentiles, and tables of named counters.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::service::bank::wire::{Opcode, Status};
use crate::service::getfile::wire::response::Response;
use crate::service::http;
use crate::store::instance::histogram::Times;
use crate::store::instance::stats::{GETFILE_RESPONSES, HTTP_STATUSES};

/// Counters per opcode, in the order of [`Opcode::ALL`].
pub type ByOpcode<T> = [T; Opcode::ALL.len()];
/// Counters per status, in the order of [`Status::ALL`].
pub type ByStatus<T> = [T; Status::ALL.len()];
/// The codes of HTTP, in the order in which `WebStats` counts them.
pub(super) const HTTP_CODES: [u16; http::wire::Status::CODES.len()] = http::wire::Status::CODES;
/// Counters per status of HTTP, in the order of [`CODES`](http::wire::Status::CODES).
pub type ByCode<T> = [T; HTTP_CODES.len()];

const _: () = assert!(HTTP_CODES.len() <= HTTP_STATUSES);

/// Counters per status of GetFile, in the order of [`Response::WORDS`].
pub type ByWord<T> = [T; Response::WORDS.len()];

const _: () = assert!(Response::WORDS.len() == GETFILE_RESPONSES);

/// A counter, and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Since the instance began.
    pub total: u64,
    /// In the interval, per second.
    pub per_s: f64,
}

impl Rate {
    /// From the counter's two values.
    #[allow(clippy::cast_precision_loss, reason = "for show: exact up to 2^53")]
    pub(super) fn between(before: u64, after: u64, seconds: f64) -> Rate {
        let grown = after.saturating_sub(before) as f64;
        Rate { total: after, per_s: if seconds > 0.0 { grown / seconds } else { 0.0 } }
    }
}

/// Percentiles of times, in microseconds. A percentile is never too low, and at most an eighth too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many times were measured.
    pub count: u64,
    /// The mean; like all others `None` if nothing was measured.
    pub mean_us: Option<f64>,
    /// Half are not longer.
    pub p50_us: Option<f64>,
    /// Nine of ten are not longer.
    pub p90_us: Option<f64>,
    /// 99 of a hundred are not longer.
    pub p99_us: Option<f64>,
    /// 999 of a thousand are not longer.
    pub p999_us: Option<f64>,
    /// None is longer.
    pub max_us: Option<f64>,
}

impl From<&Times> for Percentiles {
    fn from(times: &Times) -> Self {
        let microseconds = |ns| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        let at = |per_mille| times.percentile_ns(per_mille).map(microseconds);
        let count = times.count();
        Percentiles {
            count,
            mean_us: (count > 0).then(|| ratio(times.sum_ns(), count) / 1000.0),
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: at(1000),
        }
    }
}

/// Milliseconds between two moments in nanoseconds; 0 if the second is later.
pub fn milliseconds(now_ns: u64, since_ns: u64) -> u64 {
    now_ns.saturating_sub(since_ns) / 1_000_000
}

/// The quotient of the two; 0 if both are 0.
#[allow(clippy::cast_precision_loss, reason = "for show: exact up to 2^53")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

pub(super) fn times<S: Serializer>(times: &Times, serializer: S) -> Result<S::Ok, S::Error> {
    Percentiles::from(times).serialize(serializer)
}

/// Every opcode under its name.
pub(super) fn by_opcode<S: Serializer, T: Serialize>(counts: &ByOpcode<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Opcode::ALL.iter().map(|opcode| opcode.name()).zip(counts))
}

/// Every status that was ever sent, under its name.
pub(super) fn by_status<S: Serializer, T: Counted>(counts: &ByStatus<T>, serializer: S) -> Result<S::Ok, S::Error> {
    let named = Status::ALL.iter().map(|status| status.name()).zip(counts);
    serializer.collect_map(named.filter(|(_, count)| **count != T::default()))
}

/// Every status of HTTP that was ever sent, under its code.
pub(super) fn by_code<S: Serializer, T: Counted>(counts: &ByCode<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(HTTP_CODES.iter().zip(counts).filter(|(_, count)| **count != T::default()))
}

/// Every status of GetFile under its word.
pub(super) fn by_word<S: Serializer, T: Serialize>(counts: &ByWord<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Response::WORDS.iter().zip(counts))
}

/// What a table leaves out if it is zero.
pub(super) trait Counted: Serialize + Default + PartialEq {}
impl Counted for u64 {}
impl Counted for Rate {}
