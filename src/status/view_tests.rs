use crate::service::bank::wire::{Opcode, Status};
use crate::status::kv::KvTable;
use crate::status::sample::Web;
use crate::status::services::ServiceCounts;
use crate::store::instance::histogram::Histogram;

use super::*;

/// Times of which `count` are of `ns` nanoseconds.
fn times(ns: u64, count: u64) -> Times {
    let histogram = Histogram::default();
    histogram.record(ns, count);
    histogram.read()
}

fn counts(name: &str, connections: u64) -> ServiceCounts {
    ServiceCounts { name: name.to_owned(), connections, ..ServiceCounts::default() }
}

/// A worker that has done `requests` transfers, each within 50 microseconds, and `files` answers over HTTP.
fn worker(number: usize, requests: u64, files: u64) -> Worker {
    let now = WorkerNow { worker: number, pid: 100, lives: 1, connections: 12, ..WorkerNow::default() };
    let mut worker = Worker { now, ..Worker::default() };
    worker.requests[Opcode::Transfer.index()] = requests;
    worker.requests_total = requests;
    worker.answers[Status::Ok.index()] = requests;
    worker.answer_times = times(50_000, requests);
    worker.services = [("bank", 10), ("http", 2)].map(|(name, connections)| counts(name, connections)).into();
    worker.web = Web { connections: 2, answers_total: files, cache_hits: files, ..Web::default() };
    worker.web.answers[0] = files;
    worker
}

fn sample(second: u64, workers: Vec<Worker>) -> Sample {
    let now = JournalNow { state: "open", pid: 99, lives: 1, capacity: 1024, ..JournalNow::default() };
    let journal = Journal { now, groups: second * 10, records: second * 250, ..Journal::default() };
    Sample { taken_ns: second * 1_000_000_000, workers, journal, ..Sample::default() }
}

#[test]
fn rates_are_of_the_interval_and_totals_are_not() {
    let before = sample(10, vec![worker(0, 1000, 0), worker(1, 5000, 0)]);
    let after = sample(12, vec![worker(0, 2500, 100), worker(1, 5400, 0)]);
    let view = View::between(&before, &after);
    assert_eq!((view.seconds, view.bank.requests), (2.0, Rate { total: 7900, per_s: 950.0 }));
    assert_eq!(view.bank.opcodes[Opcode::Transfer.index()], view.bank.requests);
    assert_eq!(view.web.classes[0], Rate { total: 100, per_s: 50.0 });
    assert_eq!((view.bank.connections, view.web.connections), (20, 4));
    assert_eq!((view.web.cache_hit_rate, view.journal.group_size), (Some(1.0), Some(25.0)));
    assert_eq!(view.bank.times.count, 1900, "times before the interval are not of it");
    let shares: Vec<f64> = view.workers.iter().map(|worker| worker.share).collect();
    assert_eq!(shares, [0.8, 0.2]);
    assert_eq!(view.events, Vec::<String>::new());
}

#[test]
fn what_the_key_value_store_did_is_of_the_interval_and_counts_as_work() {
    let with = |second, calls: u64| {
        let mut workers = vec![worker(0, 1000, 0), worker(1, calls, 0)];
        let kv = &mut workers[1].kv;
        (kv.calls_total, kv.calls[1], kv.results[0], kv.answer_times) = (calls, calls, calls, times(70_000, calls));
        workers[1].requests_total = 0;
        workers[1].services.push(ServiceCounts { waiting: 2, refused: calls, ..counts("kv", 3) });
        let table = KvTable { keys: 5, blocks: 25, capacity: 100, free_blocks: 80, block_bytes: 256 };
        Sample { kv: Some(table), ..sample(second, workers) }
    };
    let view = View::between(&with(10, 100), &with(12, 700));
    let kv = view.kv.unwrap();
    assert_eq!((kv.calls_total, kv.calls[1]), (Rate { total: 700, per_s: 300.0 }, kv.results[0]));
    assert_eq!((kv.connections, kv.waiting, kv.refused.per_s, kv.times.count), (3, 2, 300.0, 600));
    assert_eq!((kv.table.keys, kv.table.share()), (5, 0.25));
    assert_eq!((view.workers[0].share, view.workers[1].share), (0.0, 1.0));
    let json = serde_json::to_value(View::between(&with(10, 100), &with(12, 700))).unwrap();
    assert_eq!(json["kv"]["calls"]["KV_GET"], serde_json::json!({ "total": 700, "per_s": 300.0 }));
    assert_eq!(json["kv"]["results"], serde_json::json!({ "KV_OK": { "total": 700, "per_s": 300.0 } }));
    assert!(View::between(&sample(1, vec![]), &sample(2, vec![])).kv.is_none());
}

#[test]
fn where_nothing_happened_there_is_no_rate_and_no_percentile() {
    let still = sample(10, vec![worker(0, 1000, 7)]);
    let view = View::between(&still, &sample(10, vec![worker(0, 1000, 7)]));
    assert_eq!((view.bank.requests.per_s, view.bank.times.p50_us, view.workers[0].share), (0.0, None, 0.0));
    assert_eq!((view.web.cache_hit_rate, view.journal.group_size), (None, None));
}

#[test]
fn a_death_is_counted_and_told_with_what_went_on() {
    let before = sample(1, vec![worker(0, 0, 0), worker(1, 0, 0)]);
    let mut after = sample(2, vec![worker(0, 0, 0), worker(1, 0, 0)]);
    let now = &mut after.workers[1].now;
    (now.pid, now.lives, now.deaths, now.repairs) = (101, 2, 1, 1);
    after.workers[0].resumed = 25;
    let view = View::between(&before, &after);
    assert_eq!((view.workers[0].now.deaths, view.workers[1].now.deaths), (0, 1));
    assert_eq!(view.crashes, Crashes { deaths: 1, repairs: 1, resumed: 25 });
    assert_eq!(
        view.events,
        ["worker 1 died and is back, pid 100 → 101, 25 connections went on", "1 operation of worker 1 settled"]
    );
    let unasked = View::between(&after, &after);
    assert_eq!((unasked.crashes, unasked.events.len()), (view.crashes, 0), "counted for ever, told once");
}

#[test]
fn a_worker_that_is_new_has_done_nothing_before() {
    let view = View::between(&sample(1, vec![worker(0, 5, 0)]), &sample(2, vec![worker(0, 5, 0), worker(1, 30, 0)]));
    assert_eq!((view.workers[1].requests.per_s, view.bank.requests.per_s), (30.0, 30.0));
    assert_eq!(view.events, ["worker 1 is new, pid 100"]);
}

#[test]
fn json_is_one_line_with_names_for_tables() {
    let view = View::between(&sample(1, vec![worker(0, 1, 0)]), &sample(2, vec![worker(0, 4, 2)]));
    let line = view.json();
    assert!(!line.contains('\n'));
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["bank"]["opcodes"]["TRANSFER"], serde_json::json!({ "total": 4, "per_s": 3.0 }));
    assert_eq!(json["bank"]["answers"], serde_json::json!({ "OK": { "total": 4, "per_s": 3.0 } }));
    assert_eq!(json["web"]["codes"], serde_json::json!({ "200": { "total": 2, "per_s": 2.0 } }));
    assert_eq!(json["web"]["classes"]["2xx"]["total"], 2);
    assert_eq!(json["activity"], serde_json::Value::Null);
}
