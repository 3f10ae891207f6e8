//! `vaultctl cache stats`: what the cache process counts, how full its queue is, and who has the segments.

use std::fmt;

use serde::{Serialize, Serializer};

use super::instance::instance_with_cache;
use crate::ipc::segment::Access;
use crate::status::cache::Cache;
use crate::store::cache_channel::{CacheChannel, CacheStatus};
use crate::store::transfer::{Pool, repair};
use crate::tool::vaultctl::failure::{Failure, say, say_json};
use crate::tool::vaultctl::source::InstanceName;

#[derive(Debug, clap::Args)]
pub(super) struct Stats {
    #[command(flatten)]
    instance: InstanceName,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// What is shown; also the schema of `--json`.
#[derive(Serialize)]
struct Report {
    /// As `stats.json` has it.
    #[serde(flatten)]
    cache: Cache,
    /// The share of answers that were there, and fresh, since the instance began.
    hit_rate: Option<f64>,
    queue: Queue,
    segments: Segments,
}

#[derive(Serialize)]
struct Queue {
    /// Commands in it.
    queued: usize,
    /// Commands that it may hold.
    depth: usize,
}

#[derive(Serialize)]
struct Segments {
    count: usize,
    /// Bytes of each.
    bytes: usize,
    #[serde(serialize_with = "by_state")]
    states: [usize; STATES.len()],
}

/// The states of a segment, in the order in which they are counted.
const STATES: [&str; 7] = ["free", "claimed", "offered", "writing", "written", "abandoned", "broken"];

fn by_state<S: Serializer>(counts: &[usize; STATES.len()], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(STATES.iter().zip(counts))
}

pub(super) fn run(stats: &Stats) -> Result<(), Failure> {
    let (instance, cache) = instance_with_cache(&stats.instance)?;
    let generation = instance.generation();
    let queue = CacheChannel::sender(generation)?.attributes()?;
    let pool = Pool::open(generation, Access::Read)?;
    let report = Report {
        hit_rate: cache.hit_rate(),
        cache,
        queue: Queue { queued: queue.queued, depth: queue.depth },
        segments: Segments {
            count: pool.shape().segments(),
            bytes: pool.shape().segment_bytes(),
            states: repair::count(&pool),
        },
    };
    if stats.json { say_json(&report) } else { say(&report.to_string()) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { cache, hit_rate, queue, segments } = self;
        let now = &cache.now;
        let process = if now.pid == 0 { "no process".to_owned() } else { format!("pid {}", now.pid) };
        writeln!(
            f,
            "cache process: {}, {process}, lives {}, deaths {}, failed starts {}, heartbeat {} ms ago",
            now.state, now.lives, now.deaths, cache.failed_starts, now.heartbeat_age_ms
        )?;
        let sources = named(CacheStatus::ALL.iter().map(|status| status.name()).zip(cache.answers));
        let hits = hit_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
        writeln!(f, "  answers   {}: {sources}; hit ratio {hits}", cache.answers_total)?;
        writeln!(
            f,
            "            {} of them that there is no such object; besides {} errors of the upstream, {} refused for want of room",
            cache.not_found, cache.errors, cache.refused
        )?;
        writeln!(f, "  requests  {} wait, {} are given content", now.waiting, now.reading)?;
        writeln!(f, "  entries   {} with content, {} known not to be there", now.entries, now.negative_entries)?;
        writeln!(f, "            {} evicted, {} purged, {} renewed", cache.evicted, cache.purged, cache.renewed)?;
        writeln!(f, "  memory    {} bytes, {} more in spools", now.bytes, now.spooled_bytes)?;
        writeln!(
            f,
            "  fetches   {} under way, {} queued; {} begun, {} failed, {} passed through",
            now.fetching, now.queued, cache.fetches, cache.failed_fetches, cache.passed_through
        )?;
        writeln!(f, "  sent      {} bytes; {} descriptors passed", cache.bytes_out, cache.descriptors_passed)?;
        let Queue { queued, depth } = queue;
        writeln!(
            f,
            "  queue     {queued} of {depth} commands; {} came late, {} were malformed",
            cache.late_requests, cache.malformed
        )?;
        let Segments { count, bytes, states } = segments;
        writeln!(f, "  segments  {count} of {bytes} bytes: {}", named(STATES.into_iter().zip(*states)))
    }
}

/// Names and numbers as a list.
fn named(numbers: impl Iterator<Item = (&'static str, impl fmt::Display)>) -> String {
    numbers.map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::transfer::header::State;

    #[test]
    fn each_state_has_its_name() {
        let all = [
            State::Free,
            State::Claimed,
            State::Offered,
            State::Writing,
            State::Written,
            State::Abandoned,
            State::Broken,
        ];
        for state in all {
            assert_eq!(STATES[state as usize], format!("{state:?}").to_lowercase());
        }
    }
}
