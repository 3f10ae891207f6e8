//! The metrics of GetFile's cache process. Where there is none, they are not there.

use super::exposition::Type::{Counter, Gauge};
use super::exposition::{Exposition, Of, seconds};
use crate::status::cache::Cache;
use crate::store::cache_channel::CacheStatus;

const OF_CACHE: &[Of<Cache>] = &[
    ("vault_cache_up", Gauge, "Whether there is a cache process.", |c| u64::from(c.now.pid != 0)),
    ("vault_cache_starts_total", Counter, "Cache processes started.", |c| c.now.lives.into()),
    ("vault_cache_deaths_total", Counter, "Cache processes that ended without having been asked to.", |c| {
        c.now.deaths.into()
    }),
    ("vault_cache_failed_starts_total", Counter, "Cache processes that could not be started.", |c| {
        c.failed_starts.into()
    }),
    ("vault_cache_not_found_total", Counter, "Answers that there is no such object.", |c| c.not_found),
    ("vault_cache_errors_total", Counter, "Answers that the upstream is in error.", |c| c.errors),
    ("vault_cache_refused_total", Counter, "Answers that there is no room.", |c| c.refused),
    ("vault_cache_renewed_total", Counter, "Entries that the upstream has said are still right.", |c| c.renewed),
    ("vault_cache_evicted_total", Counter, "Entries put out for others.", |c| c.evicted),
    ("vault_cache_purged_total", Counter, "Entries that were purged.", |c| c.purged),
    ("vault_cache_fetches_total", Counter, "Fetches that were begun.", |c| c.fetches),
    ("vault_cache_failed_fetches_total", Counter, "Fetches that failed.", |c| c.failed_fetches),
    ("vault_cache_passed_through_total", Counter, "Contents that were too large to be kept.", |c| c.passed_through),
    (
        "vault_cache_late_requests_total",
        Counter,
        "Requests that nobody waited for any more when they were read.",
        |c| c.late_requests,
    ),
    ("vault_cache_malformed_total", Counter, "Messages that were no commands.", |c| c.malformed),
    ("vault_cache_sent_bytes_total", Counter, "Bytes of contents given to workers.", |c| c.bytes_out),
    ("vault_cache_descriptors_passed_total", Counter, "Contents given to workers as a descriptor.", |c| {
        c.descriptors_passed
    }),
    ("vault_cache_bytes", Gauge, "Bytes of memory that are reserved for contents.", |c| c.now.bytes),
    ("vault_cache_spooled_bytes", Gauge, "Bytes in spools.", |c| c.now.spooled_bytes),
    ("vault_cache_entries", Gauge, "Entries that have content.", |c| c.now.entries),
    ("vault_cache_negative_entries", Gauge, "Paths that are known not to be there.", |c| c.now.negative_entries),
    ("vault_cache_fetching", Gauge, "Fetches under way.", |c| c.now.fetching),
    ("vault_cache_queued_fetches", Gauge, "Fetches that wait for their turn.", |c| c.now.queued),
    ("vault_cache_waiting_requests", Gauge, "Requests that wait.", |c| c.now.waiting),
    ("vault_cache_reading_requests", Gauge, "Requests that are given content.", |c| c.now.reading),
];

/// Writes them.
pub(super) fn of_cache(out: &mut Exposition, cache: &Cache) {
    out.of_one(cache, OF_CACHE);
    out.metric("vault_cache_answers_total", Counter, "Answers of the cache process, by where they came from.");
    for (status, count) in CacheStatus::ALL.iter().zip(cache.answers) {
        out.value(&[("status", &status.name())], count);
    }
    out.metric("vault_cache_heartbeat_age_seconds", Gauge, "Time since the cache process last came by.");
    out.value(&[], seconds(cache.now.heartbeat_age_ms.saturating_mul(1_000_000)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Sample, metrics};

    #[test]
    fn they_are_there_where_there_is_a_cache_process() {
        let with = |cache| metrics(&Sample { cache, ..Sample::default() });
        assert!(!with(None).contains("vault_cache_"));
        let text = with(Some(Cache { answers: [7, 0, 0, 0, 2], evicted: 3, ..Cache::default() }));
        for line in [
            "vault_cache_answers_total{status=\"hit\"} 7",
            "vault_cache_answers_total{status=\"coalesced\"} 2",
            "vault_cache_evicted_total 3",
            "vault_cache_up 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
