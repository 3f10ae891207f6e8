use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::status::activity::Activity;
use crate::status::cache::{Cache, CacheNow};
use crate::status::cluster::{Cluster, Member, ReplicaProcess};
use crate::status::kv::{KvCalls, KvTable};
use crate::status::sample::{Journal, JournalNow, Web, Worker, WorkerNow};
use crate::status::services::ServiceAddress;
use crate::status::{Sample, ServiceCounts};
use crate::store::instance::histogram::Histogram;

use super::*;

/// A view of two workers, of which one has died, with a journal, HTTP and one operation.
fn shown() -> DisplayState {
    let times = |count| {
        let histogram = Histogram::default();
        histogram.record(500_000, count);
        histogram.read()
    };
    let service =
        |name: &str, connections| ServiceCounts { name: name.to_owned(), connections, ..ServiceCounts::default() };
    let process = |worker, pid, lives| WorkerNow { worker, pid, lives, ..WorkerNow::default() };
    let worker = |number: usize, pid, lives, requests: u64| Worker {
        now: WorkerNow {
            state: "serving",
            deaths: lives - 1,
            connections: 8,
            lane_depth: 3,
            lane_capacity: 128,
            ..process(number, pid, lives)
        },
        // Beside two of HTTP.
        services: [("bank", 5), ("third", 1)].map(|(name, count)| service(name, count)).into(),
        requests_total: requests,
        answer_times: times(requests),
        web: Web { connections: 2, answers_total: requests / 100, cache_hits: 3, cache_misses: 1, ..Web::default() },
        ..Worker::default()
    };
    let sample = |second: u64, workers| Sample {
        taken_ns: second * 1_000_000_000,
        instance: Summary {
            name: "golden".to_owned(),
            address: "127.0.0.1:7777".to_owned(),
            http_address: Some("127.0.0.1:8080".to_owned()),
            accept_mode: "dispatch".to_owned(),
            uptime_ms: second * 1000,
            ..Summary::default()
        },
        workers,
        journal: Journal {
            now: JournalNow {
                state: "open",
                pid: 4242,
                lives: 1,
                capacity: 1024,
                committed_lsn: 1_234_567,
                ..JournalNow::default()
            },
            groups: second * 4,
            records: second * 100,
            ..Journal::default()
        },
        ..Sample::default()
    };
    let idle = |worker, pid| Worker { now: process(worker, pid, 1), ..Worker::default() };
    let before = sample(60, vec![idle(0, 1001), idle(1, 1002)]);
    let after = sample(61, vec![worker(0, 1001, 1, 30_000), worker(1, 2002, 2, 10_000)]);
    let mut view = View::between(&before, &after);
    let operation = Operation {
        lsn: 1_234_567,
        time: "2025-01-31T23:59:58.123Z".to_owned(),
        kind: "transfer",
        done: true,
        account: 12,
        to: Some(34),
        amount_cents: 5678,
    };
    view.activity = Some(Activity { last: vec![operation], ..Activity::default() });
    let mut shown = DisplayState::default();
    shown.take(view);
    shown
}

/// The one line of `text` that begins with `beginning`, with one blank where there are several.
fn line(text: &str, beginning: &str) -> String {
    let squeezed = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines = squeezed.filter(|line| line.starts_with(beginning));
    let line = lines.next().unwrap_or_else(|| panic!("no {beginning} in\n{text}"));
    assert_eq!(lines.next(), None, "another {beginning} in\n{text}");
    line
}

#[test]
fn every_number_is_where_it_should_be_in_every_size() {
    for paper in [(80, 24), (140, 50)] {
        let text = draw_text(&shown(), paper).unwrap();
        let line = |beginning| line(&text, beginning);
        assert_eq!(line("vault"), "vault golden 127.0.0.1:7777 dispatch pid 0 up 00:01:01 running");
        assert!(line("requests").starts_with("requests 40,400/s bank 40,000 http 400 clients 16 "), "{text}");
        assert!(line("latency").starts_with("latency p50 524 us p90 524 us p99 524 us"), "{text}");
        assert!(line("worker").starts_with("worker pid state req/s load clients http lane deaths fixed"), "{text}");
        let unbarred = |line: String| line.replace('█', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unbarred(line("0 1001")).starts_with("0 1001 serving 30,300 75 % 6 2 3/128 0 0"), "{text}");
        assert!(unbarred(line("1 2002")).starts_with("1 2002 serving 10,100 25 % 6 2 3/128 1 0"), "{text}");
        assert!(line("journal").starts_with("journal open pid 4242 committed 1,234,567 behind 0"), "{text}");
        assert!(line("records").starts_with("records 100/s syncs 4.0/s group 25"), "{text}");
        assert!(line("cache hits").starts_with("cache hits 75 %"), "{text}");
        assert_eq!(line("1234567"), "1234567 23:59:58.123 transfer 12 -> 34 56.78");
        assert_eq!(line("crashes"), "crashes processes 1 operations settled 0 connections went on 0");
        assert_eq!(line("00:01:01"), "00:01:01 worker 1 died and is back, pid 1002 → 2002");
        let (columns, lines) = (text.lines().map(|line| line.chars().count()).max().unwrap(), text.lines().count());
        assert!(columns <= usize::from(paper.0) && lines <= usize::from(paper.1), "{columns} x {lines}");
        let bars = text.lines().find(|line| line.contains(" 1001 ")).unwrap().matches('█').count();
        assert_eq!(bars, if paper.0 == 80 { 5 } else { 23 }, "three quarters of the columns for it: {text}");
    }
}

#[test]
fn the_cache_process_has_a_line_where_there_is_one() {
    let mut shown = shown();
    assert!(!draw_text(&shown, (80, 24)).unwrap().contains("fetching"));
    let now = CacheNow { pid: 77, bytes: 3 << 20, entries: 1200, fetching: 4, waiting: 5, ..CacheNow::default() };
    let cache = Cache { now, answers_total: 400, answers: [300, 100, 0, 0, 0], ..Cache::default() };
    let [before, after] = [None, Some(cache)].map(|cache| Sample { cache, ..Sample::default() });
    let after = Sample { taken_ns: 2_000_000_000, ..after };
    shown.view.as_mut().unwrap().cache = View::between(&before, &after).cache;
    for paper in [(80, 24), (140, 50)] {
        let text = draw_text(&shown, paper).unwrap();
        let wanted = "cache 200/s hits 75 % holds 3 MiB in 1,200 fetching 4 waiting 5";
        assert_eq!(line(&text, "cache 200"), wanted);
        assert!(text.contains("crashes  "), "{text}");
    }
    shown.view.as_mut().unwrap().cache.as_mut().unwrap().now.pid = 0;
    assert!(line(&draw_text(&shown, (80, 24)).unwrap(), "cache no").starts_with("cache no process 200/s hits"));
}

#[test]
fn the_cluster_has_a_line_where_there_are_peers() {
    let mut shown = shown();
    assert!(!draw_text(&shown, (80, 24)).unwrap().contains("cluster"));
    let member = |replica, lag, heard_ms| Member { replica, lag, heard_ms, ..Member::default() };
    let cluster = Cluster {
        replica: 2,
        role: "primary",
        primary: Some(2),
        term: 5,
        members: vec![member(1, Some(1200), Some(40)), member(2, Some(0), Some(0)), member(3, Some(9), Some(7100))],
        process: ReplicaProcess { pid: 9, ..ReplicaProcess::default() },
        ..Cluster::default()
    };
    let mut draw = |cluster: Cluster, paper| {
        shown.view.as_mut().unwrap().cluster = Some(cluster);
        draw_text(&shown, paper).unwrap()
    };
    for paper in [(80, 24), (140, 50)] {
        let text = draw(cluster.clone(), paper);
        let wanted = "cluster primary 2 term 5 others 1:lag 1,200 3:silent 7 s";
        assert_eq!(line(&text, "cluster"), wanted);
        assert!(text.contains("crashes  ") && text.contains("running"), "{text}");
    }
    let gone = Cluster { process: ReplicaProcess::default(), primary: None, role: "follower", ..cluster.clone() };
    assert!(
        line(&draw(gone, (80, 24)), "cluster")
            .starts_with("cluster no process follower 2 term 5 primary none to apply 0")
    );
    let text = draw(Cluster { remaking: true, ..cluster }, (140, 50));
    assert!(line(&text, "vault").ends_with("remaking its books: operations and balances mean nothing"), "{text}");
}

#[test]
fn the_key_value_store_has_lines_where_there_is_one() {
    let mut shown = shown();
    assert!(!draw_text(&shown, (80, 24)).unwrap().contains("blocks"));
    let sample = |second: u64, calls: u64, refused: u64| {
        let mut kv = KvCalls { calls_total: calls, bytes_in: calls << 10, ..KvCalls::default() };
        kv.calls[KvProcedure::Get.index()] = calls;
        (kv.results[0], kv.results[KvStatus::NotFound.index()]) = (calls - 2 * refused, refused);
        kv.results[KvStatus::NoQuorum.index()] = refused;
        let services =
            vec![ServiceCounts { name: "kv".to_owned(), connections: 7, waiting: 3, ..ServiceCounts::default() }];
        let workers = vec![Worker { kv, services, ..Worker::default() }];
        let table = KvTable { keys: 1200, blocks: 65_536, capacity: 262_144, ..KvTable::default() };
        Sample { taken_ns: second * 1_000_000_000, workers, kv: Some(table), ..Sample::default() }
    };
    let address = ServiceAddress { name: "kv".to_owned(), address: "127.0.0.1:9001".to_owned() };
    shown.view.as_mut().unwrap().instance.services.push(address);
    for (refused, lines) in [(0, 2), (20, 3)] {
        shown.view.as_mut().unwrap().kv = View::between(&sample(0, 0, 0), &sample(2, 5000, refused)).kv;
        for paper in [(80, 24), (140, 50)] {
            let text = draw_text(&shown, paper).unwrap();
            let line = |beginning| line(&text, beginning);
            assert_eq!(line("kv "), "kv 127.0.0.1:9001 get 2,500 put 0 delete 0 scan 0 p99 -");
            assert_eq!(line("keys"), "keys 1,200 blocks 65,536 of 262,144 (25 %) clients 7 waiting 3");
            assert!(line("requests").starts_with("requests 42,900/s bank 40,000 http 400 kv 2,500 clients"), "{text}");
            if lines == 3 {
                assert_eq!(line("refused"), "refused NO_QUORUM 20 NOT_FOUND 20");
            } else {
                assert!(!text.contains("refused "), "{text}");
            }
            assert!(text.contains("crashes  ") && text.contains("1234567") && text.contains("00:01:01  "), "{text}");
        }
    }
}

#[test]
fn all_that_an_instance_can_have_finds_room_on_the_smallest_terminal() {
    let mut shown = shown();
    let view = shown.view.as_mut().unwrap();
    view.instance.services.push(ServiceAddress { name: "getfile".to_owned(), address: "127.0.0.1:9".to_owned() });
    let after = Sample { kv: Some(KvTable::default()), cache: Some(Cache::default()), ..Sample::default() };
    let others = View::between(&Sample::default(), &after);
    (view.kv, view.cache, view.cluster) = (others.kv, others.cache, Some(Cluster::default()));
    let text = draw_text(&shown, (80, 24)).unwrap();
    for beginning in
        ["requests", "latency", "worker", "1 2002", "journal", "cluster", "http", "getfile", "kv", "crashes"]
    {
        line(&text, beginning);
    }
    let cache = text.lines().filter(|line| line.starts_with("cache ")).count();
    assert!(cache == 1 && text.contains("1234567  ") && text.contains("died and is back"), "{text}");
}

#[test]
fn headings_stand_over_their_numbers() {
    let text = draw_text(&shown(), (80, 24)).unwrap();
    let end_of = |beginning: &str, word: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(beginning)).unwrap();
        let at = line.find(word).unwrap() + word.len();
        line[..at].chars().count()
    };
    for (heading, number) in [("pid", "1001"), ("req/s", "30,300"), ("lane", "3/128")] {
        assert_eq!(end_of("worker", heading), end_of("0    1001", number), "{heading} in {text}");
    }
}

#[test]
fn no_size_is_too_small_and_no_view_too_empty() {
    for (columns, lines) in [(1, 1), (1, 50), (200, 1), (7, 3), (79, 23), (300, 100)] {
        for shown in [shown(), DisplayState::default()] {
            draw_text(&shown, (columns, lines)).unwrap();
        }
    }
    let mut absent = shown();
    let view = absent.view.as_mut().unwrap();
    (view.activity, view.journal.now.capacity, view.instance.http_address) = (None, 0, None);
    let text = draw_text(&absent, (80, 24)).unwrap();
    assert!(text.contains("the ledger is in memory only") && text.contains("no journal, no record of it"), "{text}");
    assert_eq!(line(&text, "http"), "http off");
}
