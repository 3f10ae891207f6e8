//! GetFile's cache process: what it counts, and what happened to it between two moments.

use serde::{Serialize, Serializer};

use super::numbers::{Rate, milliseconds, ratio};
use crate::store::cache_channel::{CacheRow, CacheStatus};
use crate::store::instance::Instance;

/// Numbers by where an answer came from, in the order of [`CacheStatus::ALL`].
pub type BySource<T> = [T; CacheStatus::ALL.len()];

/// The cache process as it is now; samples and views show it alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheNow {
    /// `absent`, `serving` or `leaving`.
    pub state: &'static str,
    /// 0: there is no process now.
    pub pid: u32,
    /// How often a process was started for it.
    pub lives: u32,
    /// How many of these ended without having been asked to.
    pub deaths: u32,
    /// Time since its last heartbeat.
    pub heartbeat_age_ms: u64,
    /// Bytes of memory that are reserved for contents.
    pub bytes: u64,
    /// Bytes in spools.
    pub spooled_bytes: u64,
    /// Entries that have content.
    pub entries: u64,
    /// Paths that are known not to be there.
    pub negative_entries: u64,
    /// Fetches under way.
    pub fetching: u64,
    /// Fetches that wait for their turn.
    pub queued: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Requests that are given content.
    pub reading: u64,
}

/// The cache process, and all that it and those before it have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// What it is now.
    #[serde(flatten)]
    pub now: CacheNow,
    /// How often no process could be started.
    pub failed_starts: u32,
    /// Answers of all sources.
    pub answers_total: u64,
    /// Answers by where they came from.
    #[serde(serialize_with = "by_source")]
    pub answers: BySource<u64>,
    /// Answers that there is no such object, which are counted above too.
    pub not_found: u64,
    /// Answers that the upstream is in error.
    pub errors: u64,
    /// Answers that there is no room.
    pub refused: u64,
    /// Times that the upstream has said that an entry is still right.
    pub renewed: u64,
    /// Entries that had to go for others.
    pub evicted: u64,
    /// Entries that were purged.
    pub purged: u64,
    /// Fetches that were begun.
    pub fetches: u64,
    /// Fetches that failed.
    pub failed_fetches: u64,
    /// Contents that were too large to be kept.
    pub passed_through: u64,
    /// Requests that nobody waited for any more when they were taken from the queue.
    pub late_requests: u64,
    /// Messages that were no commands.
    pub malformed: u64,
    /// Bytes of contents that were given to workers.
    pub bytes_out: u64,
    /// Contents that were given to workers as a descriptor.
    pub descriptors_passed: u64,
}

impl Cache {
    /// Reads what is known of the cache process, at `now_ns`; `None` where the instance has none.
    #[must_use]
    pub fn of(instance: &Instance, now_ns: u64) -> Option<Cache> {
        let row = instance.cache_row();
        (row.life.lives.get() > 0).then(|| Cache::read(row, now_ns))
    }

    fn read(row: &CacheRow, now_ns: u64) -> Cache {
        let answers = [&row.hits, &row.misses, &row.stale, &row.revalidated, &row.coalesced].map(|count| count.get());
        let pid = row.life.pid.get();
        let state = match (pid, row.life.is_to_leave()) {
            (0, _) => "absent",
            (_, true) => "leaving",
            (_, false) => "serving",
        };
        let now = CacheNow {
            state,
            pid,
            lives: row.life.lives.get(),
            deaths: row.life.deaths.get(),
            heartbeat_age_ms: milliseconds(now_ns, row.life.heartbeat_ns.get()),
            bytes: row.bytes.get(),
            spooled_bytes: row.spooled_bytes.get(),
            entries: row.entries.get(),
            negative_entries: row.negative_entries.get(),
            fetching: row.fetching.get(),
            queued: row.queued.get(),
            waiting: row.waiting.get(),
            reading: row.reading.get(),
        };
        Cache {
            now,
            failed_starts: row.life.failed_starts.get(),
            answers_total: answers.iter().sum(),
            answers,
            not_found: row.not_found.get(),
            errors: row.errors.get(),
            refused: row.refused.get(),
            renewed: row.renewed.get(),
            evicted: row.evicted.get(),
            purged: row.purged.get(),
            fetches: row.fetches.get(),
            failed_fetches: row.failed_fetches.get(),
            passed_through: row.passed_through.get(),
            late_requests: row.late_requests.get(),
            malformed: row.malformed.get(),
            bytes_out: row.bytes_out.get(),
            descriptors_passed: row.descriptors_passed.get(),
        }
    }

    /// The share of answers that were there, and fresh, since the instance began; `None` where there were none.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        (self.answers_total > 0).then(|| ratio(self.answers[CacheStatus::Hit as usize], self.answers_total))
    }
}

/// The cache process in one interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CacheView {
    /// What it is now.
    #[serde(flatten)]
    pub now: CacheNow,
    /// Answers of all sources.
    pub answers_total: Rate,
    /// Answers by where they came from.
    #[serde(serialize_with = "by_source")]
    pub answers: BySource<Rate>,
    /// The share of answers that were there, and fresh, 0 to 1; `None` if there were none.
    pub hit_rate: Option<f64>,
    /// Answers that there is no such object, which are counted above too.
    pub not_found: Rate,
    /// Answers that the upstream is in error.
    pub errors: Rate,
    /// Answers that there is no room.
    pub refused: Rate,
    /// Entries that had to go for others.
    pub evicted: Rate,
    /// Fetches that were begun.
    pub fetches: Rate,
    /// Fetches that failed.
    pub failed_fetches: Rate,
    /// Bytes of contents that were given to workers.
    pub bytes_out: Rate,
}

impl CacheView {
    /// What happened in so many seconds. What the first sample does not have was nothing then.
    pub(super) fn between(before: Option<&Cache>, after: &Cache, seconds: f64) -> CacheView {
        let rate = |of: fn(&Cache) -> u64| Rate::between(before.map_or(0, of), of(after), seconds);
        let then = before.map_or([0; 5], |before| before.answers);
        let answers = std::array::from_fn(|place| Rate::between(then[place], after.answers[place], seconds));
        let in_interval = Cache {
            answers_total: after.answers_total.saturating_sub(before.map_or(0, |before| before.answers_total)),
            answers: std::array::from_fn(|place| after.answers[place].saturating_sub(then[place])),
            ..Cache::default()
        };
        CacheView {
            now: after.now.clone(),
            answers_total: rate(|cache| cache.answers_total),
            answers,
            hit_rate: in_interval.hit_rate(),
            not_found: rate(|cache| cache.not_found),
            errors: rate(|cache| cache.errors),
            refused: rate(|cache| cache.refused),
            evicted: rate(|cache| cache.evicted),
            fetches: rate(|cache| cache.fetches),
            failed_fetches: rate(|cache| cache.failed_fetches),
            bytes_out: rate(|cache| cache.bytes_out),
        }
    }
}

/// Every source under its name.
fn by_source<S: Serializer, T: Serialize>(numbers: &BySource<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(CacheStatus::ALL.iter().map(|status| status.name()).zip(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_the_share_of_hits_are_of_the_interval() {
        let cache = |hits: u64, misses: u64| Cache {
            answers_total: hits + misses,
            answers: [hits, misses, 0, 0, 0],
            fetches: misses,
            ..Cache::default()
        };
        let view = CacheView::between(Some(&cache(100, 50)), &cache(130, 60), 2.0);
        assert_eq!(view.answers[0], Rate { total: 130, per_s: 15.0 });
        assert_eq!((view.answers_total, view.hit_rate), (Rate { total: 190, per_s: 20.0 }, Some(0.75)));
        assert_eq!(view.fetches, Rate { total: 60, per_s: 5.0 });
        let still = CacheView::between(Some(&cache(130, 60)), &cache(130, 60), 2.0);
        assert_eq!((still.hit_rate, still.answers_total.per_s), (None, 0.0));
        assert_eq!(CacheView::between(None, &cache(3, 1), 1.0).hit_rate, Some(0.75), "it is new");
        assert_eq!((cache(0, 0).hit_rate(), cache(1, 3).hit_rate()), (None, Some(0.25)));
    }

    #[test]
    fn json_has_a_name_for_each_source() {
        let json = serde_json::to_value(Cache { answers: [1, 2, 3, 4, 5], ..Cache::default() }).unwrap();
        let answers = serde_json::json!({ "hit": 1, "miss": 2, "stale": 3, "revalidated": 4, "coalesced": 5 });
        assert_eq!((&json["answers"], &json["pid"]), (&answers, &0.into()));
    }
}
