//! What happened between two moments, as people want to see it: rates, percentiles, shares.

use serde::Serialize;

use super::activity::Activity;
use super::cache::CacheView;
use super::cluster::Cluster;
use super::events;
use super::kv::KvView;
use super::numbers::{self, ByCode, ByOpcode, ByStatus, ByWord, HTTP_CODES, Percentiles, Rate, ratio};
use super::sample::{Journal, JournalNow, Sample, Summary, Worker, WorkerNow};
use super::services::{BANK, GETFILE, KV};
use crate::base::vocab::Lsn;
use crate::store::instance::Instance;
use crate::store::instance::histogram::Times;

/// An instance in one interval; also the schema of each event of `/_vault/events`.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// The instance, at the interval's end.
    pub instance: Summary,
    /// How long the interval was.
    pub seconds: f64,
    /// Whether the master waits for room in a lane.
    pub accept_paused: bool,
    /// Whether the instance is stopping.
    pub stopping: bool,
    /// What the bank did.
    pub bank: BankView,
    /// What the HTTP service did.
    pub web: WebView,
    /// What the GetFile service did.
    pub getfile: GetFileView,
    /// The key-value store; `None` where there is none.
    pub kv: Option<KvView>,
    /// Each worker that there ever was.
    pub workers: Vec<WorkerView>,
    /// The journal.
    pub journal: JournalView,
    /// GetFile's cache process; `None` where there is none.
    pub cache: Option<CacheView>,
    /// The cluster, at the interval's end; `None` where the instance is alone.
    pub cluster: Option<Cluster>,
    /// Processes that died, and the consequences.
    pub crashes: Crashes,
    /// What the accounts did; `None` without a journal, or where it was not looked at.
    pub activity: Option<Activity>,
    /// What happened in words: deaths, returns, changes of state.
    pub events: Vec<String>,
}

/// What all workers together did for the bank.
#[derive(Clone, Debug, Serialize)]
pub struct BankView {
    /// Connections now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: Rate,
    /// Connections turned away.
    pub refused: Rate,
    /// Requests.
    pub requests: Rate,
    /// Requests by opcode.
    #[serde(serialize_with = "numbers::by_opcode")]
    pub opcodes: ByOpcode<Rate>,
    /// Answers by status; those that were ever given.
    #[serde(serialize_with = "numbers::by_status")]
    pub answers: ByStatus<Rate>,
    /// Bytes received.
    pub bytes_in: Rate,
    /// Bytes sent.
    pub bytes_out: Rate,
    /// From when a request was there to be read to when its reply was free to be sent.
    pub times: Percentiles,
}

/// What all workers together did for HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct WebView {
    /// Connections now.
    pub connections: u64,
    /// Connections turned away.
    pub refused: Rate,
    /// Answers.
    pub answers: Rate,
    /// Answers by status; those that were ever given.
    #[serde(serialize_with = "numbers::by_code")]
    pub codes: ByCode<Rate>,
    /// Answers by the status' first digit, 2 to 5.
    #[serde(serialize_with = "by_class")]
    pub classes: [Rate; 4],
    /// Bytes sent.
    pub bytes_out: Rate,
    /// Requests that the cache had the file for.
    pub cache_hits: Rate,
    /// Requests that it did not.
    pub cache_misses: Rate,
    /// The share of hits, 0 to 1; `None` if nothing was requested.
    pub cache_hit_rate: Option<f64>,
    /// Files put out for others.
    pub cache_evictions: Rate,
    /// Bytes that the caches hold now.
    pub cache_bytes: u64,
    /// Files that they hold now.
    pub cache_entries: u64,
    /// Files that are being read, or wait for a thread, now.
    pub queued: u64,
    /// Requests refused because too many waited.
    pub overloaded: Rate,
    /// Streams of events that are open now.
    pub streams: u64,
    /// From when a request was whole to when its answer was sent.
    pub times: Percentiles,
}

/// What all workers together did for GetFile.
#[derive(Clone, Debug, Serialize)]
pub struct GetFileView {
    /// Connections now.
    pub connections: u64,
    /// Connections turned away.
    pub refused: Rate,
    /// Responses.
    pub answers: Rate,
    /// Responses by status.
    #[serde(serialize_with = "numbers::by_word")]
    pub statuses: ByWord<Rate>,
    /// Bytes sent.
    pub bytes_out: Rate,
    /// Requests refused because too many waited for a thread.
    pub overloaded: Rate,
    /// From when a request was whole to when its answer was sent.
    pub times: Percentiles,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// What it is now.
    #[serde(flatten)]
    pub now: WorkerNow,
    /// Connections of HTTP now.
    pub web_connections: u64,
    /// Requests to the bank.
    pub requests: Rate,
    /// Answers over HTTP.
    pub web_answers: Rate,
    /// Calls of the key-value store.
    pub kv_calls: Rate,
    /// Its share of the work of all workers in the interval, 0 to 1.
    pub share: f64,
    /// Connections that it took over from others.
    pub resumed: Rate,
    /// Between the master's accept and the worker, mean of the interval; `None` where no connection came.
    pub dispatch_wait_us: Option<f64>,
}

impl WorkerView {
    /// What counts as work, per second: requests to the bank, answers over HTTP, calls of the key-value store.
    #[must_use]
    pub fn work_per_s(&self) -> f64 {
        self.requests.per_s + self.web_answers.per_s + self.kv_calls.per_s
    }
}

/// The journal.
#[derive(Clone, Debug, Serialize)]
pub struct JournalView {
    /// What it is now.
    #[serde(flatten)]
    pub now: JournalNow,
    /// Records made durable.
    pub records: Rate,
    /// Groups that one sync each made durable.
    pub groups: Rate,
    /// Records to a group, mean of the interval; `None` where there was none.
    pub group_size: Option<f64>,
    /// How long groups took to be written and synced.
    pub sync_times: Percentiles,
}

/// Processes that died since the instance began, and the consequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Crashes {
    /// Processes, the journal's, the cache's and the replica process too, that ended and were replaced, also those that were asked to.
    pub deaths: u64,
    /// Operations that they had begun, and that were finished or dropped.
    pub repairs: u64,
    /// Connections that went on with another worker.
    pub resumed: u64,
}

/// Takes views, each of what happened since the one before.
#[derive(Debug)]
pub struct Watcher {
    before: Sample,
}

impl Watcher {
    /// Begins now.
    pub fn new(instance: &Instance) -> Watcher {
        Watcher { before: Sample::take(instance) }
    }

    /// What happened since the last call.
    pub fn look(&mut self, instance: &Instance) -> View {
        let after = Sample::take(instance);
        let mut view = View::between(&self.before, &after);
        let [since, until] = [&self.before, &after].map(|sample| Lsn(sample.journal.now.committed_lsn));
        view.activity = Activity::between(instance, since, until);
        self.before = after;
        view
    }
}

impl View {
    /// What happened between two samples of one instance, without the activity of the accounts.
    pub fn between(before: &Sample, after: &Sample) -> View {
        let seconds = std::time::Duration::from_nanos(after.taken_ns.saturating_sub(before.taken_ns)).as_secs_f64();
        let span = Span { before, after, seconds };
        let workers = span.workers();
        View {
            instance: after.instance.clone(),
            seconds,
            accept_paused: after.accept_paused,
            stopping: after.stopping,
            bank: span.bank(),
            web: span.web(),
            getfile: span.getfile(),
            kv: span.kv(),
            crashes: Crashes {
                deaths: workers
                    .iter()
                    .map(|worker| worker.now.deaths)
                    .chain([after.journal.now.deaths])
                    .chain(after.cache.as_ref().map(|cache| cache.now.deaths))
                    .chain(after.cluster.as_ref().map(|cluster| cluster.process.deaths))
                    .map(u64::from)
                    .sum(),
                repairs: workers.iter().map(|worker| u64::from(worker.now.repairs)).sum(),
                resumed: workers.iter().map(|worker| worker.resumed.total).sum(),
            },
            workers,
            journal: span.journal(),
            cache: span.cache(),
            cluster: after.cluster.clone(),
            activity: None,
            events: events::between(before, after),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Two samples and the time between them.
struct Span<'a> {
    before: &'a Sample,
    after: &'a Sample,
    seconds: f64,
}

/// The sum over all workers of a sample.
fn sum(sample: &Sample, of: impl Fn(&Worker) -> u64) -> u64 {
    sample.workers.iter().map(of).sum()
}

impl Span<'_> {
    fn rate(&self, of: impl Fn(&Worker) -> u64) -> Rate {
        Rate::between(sum(self.before, &of), sum(self.after, &of), self.seconds)
    }

    fn rates<const N: usize>(&self, of: impl Fn(&Worker) -> &[u64; N]) -> [Rate; N] {
        std::array::from_fn(|place| self.rate(|worker| of(worker)[place]))
    }

    /// The times of the interval, of all workers.
    fn times(&self, of: impl Fn(&Worker) -> &Times) -> Percentiles {
        let [before, after] = [self.before, self.after].map(|sample| {
            let mut all = Times::default();
            sample.workers.iter().for_each(|worker| all.add(of(worker)));
            all
        });
        Percentiles::from(&after.since(&before))
    }

    fn bank(&self) -> BankView {
        BankView {
            connections: sum(self.after, |worker| worker.connections_of(BANK)),
            accepted: self.rate(|worker| worker.accepted),
            refused: self.rate(|worker| worker.refused),
            requests: self.rate(|worker| worker.requests_total),
            opcodes: self.rates(|worker| &worker.requests),
            answers: self.rates(|worker| &worker.answers),
            bytes_in: self.rate(|worker| worker.bytes_in),
            bytes_out: self.rate(|worker| worker.bytes_out),
            times: self.times(|worker| &worker.answer_times),
        }
    }

    fn web(&self) -> WebView {
        let codes = self.rates(|worker| &worker.web.answers);
        let of_class = |class: u16| {
            let of_it = HTTP_CODES.iter().zip(&codes).filter(|(code, _)| **code / 100 == class);
            of_it.fold(Rate::default(), |sum, (_, rate)| Rate {
                total: sum.total + rate.total,
                per_s: sum.per_s + rate.per_s,
            })
        };
        let cache_hits = self.rate(|worker| worker.web.cache_hits);
        let cache_misses = self.rate(|worker| worker.web.cache_misses);
        let asked = cache_hits.per_s + cache_misses.per_s;
        WebView {
            connections: sum(self.after, |worker| worker.web.connections),
            refused: self.rate(|worker| worker.web.refused),
            answers: self.rate(|worker| worker.web.answers_total),
            codes,
            classes: [2, 3, 4, 5].map(of_class),
            bytes_out: self.rate(|worker| worker.web.bytes_out),
            cache_hits,
            cache_misses,
            cache_hit_rate: (asked > 0.0).then(|| cache_hits.per_s / asked),
            cache_evictions: self.rate(|worker| worker.web.cache_evictions),
            cache_bytes: sum(self.after, |worker| worker.web.cache_bytes),
            cache_entries: sum(self.after, |worker| worker.web.cache_entries),
            queued: sum(self.after, |worker| worker.web.queued),
            overloaded: self.rate(|worker| worker.web.overloaded),
            streams: sum(self.after, |worker| worker.web.streams),
            times: self.times(|worker| &worker.web.answer_times),
        }
    }

    fn getfile(&self) -> GetFileView {
        GetFileView {
            connections: sum(self.after, |worker| worker.connections_of(GETFILE)),
            refused: self.rate(|worker| worker.count_of(GETFILE, |service| service.refused)),
            answers: self.rate(|worker| worker.getfile.answers_total),
            statuses: self.rates(|worker| &worker.getfile.answers),
            bytes_out: self.rate(|worker| worker.getfile.bytes_out),
            overloaded: self.rate(|worker| worker.getfile.overloaded),
            times: self.times(|worker| &worker.getfile.answer_times),
        }
    }

    fn kv(&self) -> Option<KvView> {
        let table = self.after.kv.clone()?;
        Some(KvView {
            table,
            connections: sum(self.after, |worker| worker.connections_of(KV)),
            waiting: sum(self.after, |worker| worker.count_of(KV, |service| service.waiting)),
            refused: self.rate(|worker| worker.count_of(KV, |service| service.refused)),
            calls_total: self.rate(|worker| worker.kv.calls_total),
            calls: self.rates(|worker| &worker.kv.calls),
            results: self.rates(|worker| &worker.kv.results),
            faults: self.rate(|worker| worker.kv.faults),
            bad_records: self.rate(|worker| worker.kv.bad_records),
            scans_refused: self.rate(|worker| worker.kv.scans_refused),
            bytes_in: self.rate(|worker| worker.kv.bytes_in),
            bytes_out: self.rate(|worker| worker.kv.bytes_out),
            times: self.times(|worker| &worker.kv.answer_times),
        })
    }

    fn workers(&self) -> Vec<WorkerView> {
        let mut workers: Vec<_> = self.after.workers.iter().map(|worker| self.worker(worker)).collect();
        let all: f64 = workers.iter().map(WorkerView::work_per_s).sum();
        for worker in workers.iter_mut().filter(|_| all > 0.0) {
            worker.share = worker.work_per_s() / all;
        }
        workers
    }

    fn worker(&self, now: &Worker) -> WorkerView {
        let then = self.before.workers.iter().find(|then| then.now.worker == now.now.worker);
        let rate = |of: fn(&Worker) -> u64| Rate::between(then.map_or(0, of), of(now), self.seconds);
        let grown = |of: fn(&Worker) -> u64| of(now).saturating_sub(then.map_or(0, of));
        let accepted = grown(|worker| worker.services.iter().map(|service| service.accepted).sum());
        WorkerView {
            now: now.now.clone(),
            web_connections: now.web.connections,
            requests: rate(|worker| worker.requests_total),
            web_answers: rate(|worker| worker.web.answers_total),
            kv_calls: rate(|worker| worker.kv.calls_total),
            share: 0.0,
            resumed: rate(|worker| worker.resumed),
            dispatch_wait_us: (accepted > 0).then(|| ratio(grown(|worker| worker.dispatch_wait_sum_us), accepted)),
        }
    }

    fn journal(&self) -> JournalView {
        let (then, now) = (&self.before.journal, &self.after.journal);
        let rate = |of: fn(&Journal) -> u64| Rate::between(of(then), of(now), self.seconds);
        let (groups, records) = (now.groups.saturating_sub(then.groups), now.records.saturating_sub(then.records));
        JournalView {
            now: now.now.clone(),
            records: rate(|journal| journal.records),
            groups: rate(|journal| journal.groups),
            group_size: (groups > 0).then(|| ratio(records, groups)),
            sync_times: Percentiles::from(&now.sync_times.since(&then.sync_times)),
        }
    }

    fn cache(&self) -> Option<CacheView> {
        let before = self.before.cache.as_ref();
        self.after.cache.as_ref().map(|after| CacheView::between(before, after, self.seconds))
    }
}

fn by_class<S: serde::Serializer>(classes: &[Rate; 4], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(["2xx", "3xx", "4xx", "5xx"].into_iter().zip(classes))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
