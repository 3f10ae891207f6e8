//! What can be seen of a real server: samples and views under load, metrics, readiness, and that the document tells of all of it.

use crate::{exposition, kv, load, server, tools};

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use bank_vault::service::kv::wire::{KvProcedure, KvRefusal, KvStatus};
use bank_vault::status::cache::Cache;
use bank_vault::status::cluster::{Cluster, Member};
use bank_vault::status::kv::KvTable;
use bank_vault::status::numbers::{Percentiles, Rate};
use bank_vault::status::{Sample, Unready, View, Watcher, metrics, readiness};
use bank_vault::store::instance::{Instance, stale};
use kv::{Answer, Kv, delete, get, kv_server, put};
use load::Load;
use nix::sys::signal::Signal;
use serde_json::Value;
use server::{Server, await_that};
use tools::tool;

const ACCOUNTS: [&str; 4] = ["--accounts", "100", "--initial-balance", "1000.00"];

fn start(args: &[&str]) -> (Server, Instance) {
    let server = Server::start(&[&ACCOUNTS, args].concat());
    let instance = stale::open_running(&server.instance).unwrap();
    // The server is ready for connections as soon as it listens; its workers serve a moment later.
    await_that("a worker serves", || readiness(&instance).is_ok());
    (server, instance)
}

/// What a command says that must end well.
fn vaultctl(words: &[&str]) -> String {
    let output = assert_cmd::Command::cargo_bin("vaultctl").unwrap().args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What must hold of any view.
fn must_be_consistent(view: &View) {
    let sum = |rates: &mut dyn Iterator<Item = Rate>| rates.map(|rate| rate.total).sum::<u64>();
    assert_eq!(sum(&mut view.workers.iter().map(|worker| worker.requests)), view.bank.requests.total);
    assert_eq!(sum(&mut view.bank.opcodes.into_iter()), view.bank.requests.total);
    assert_eq!(sum(&mut view.web.codes.into_iter()), view.web.answers.total);
    let rates: f64 = view.workers.iter().map(|worker| worker.requests.per_s).sum();
    assert!((rates - view.bank.requests.per_s).abs() < 0.001 * rates.max(1.0), "{}", view.json());
    let share: f64 = view.workers.iter().map(|worker| worker.share).sum();
    assert!(share == 0.0 || (share - 1.0).abs() < 1e-9, "{}", view.json());
    for times in [view.bank.times, view.web.times, view.journal.sync_times] {
        let Percentiles { p50_us, p90_us, p99_us, p999_us, max_us, count, .. } = times;
        assert!([p50_us, p90_us, p99_us, p999_us, max_us].is_sorted(), "{times:?}");
        assert_eq!(p50_us.is_some(), count > 0, "{times:?}");
    }
    assert!(
        view.journal.now.committed_lsn <= view.journal.now.last_lsn
            && view.journal.now.waiting <= view.journal.now.capacity
    );
    let activity = view.activity.as_ref().expect("there is a journal");
    let done: u64 = activity.kinds.iter().map(|kind| kind.done + kind.refused).sum();
    assert!(done == activity.looked_at && activity.looked_at <= activity.operations, "{activity:?}");
    assert!(activity.last.is_sorted_by(|newer, older| newer.lsn == older.lsn + 1), "{activity:?}");
    assert!(activity.busiest.is_sorted_by(|more, less| more.operations >= less.operations), "{activity:?}");
}

#[test]
fn views_of_a_server_under_load_grow_and_fit_together() {
    let (server, instance) = start(&["--workers", "2"]);
    let mut watcher = Watcher::new(&instance);
    let mut load = Load::start(server.address, 8, 1000);
    let (mut requests, mut moved, mut busy) = (0, 0, 0);
    while !load.is_over() {
        let view = watcher.look(&instance);
        must_be_consistent(&view);
        assert!(view.bank.requests.total >= requests && view.seconds > 0.0, "{}", view.json());
        requests = view.bank.requests.total;
        let activity = view.activity.unwrap();
        moved += activity.operations;
        busy += u64::from(view.bank.times.count > 0 && activity.looked_at > 0);
    }
    let brought = load.finish();
    let last = watcher.look(&instance);
    must_be_consistent(&last);
    moved += last.activity.unwrap().operations;
    assert!(busy > 0, "work was seen while it was done");
    assert_eq!(moved, last.journal.now.committed_lsn, "each durable operation is of one interval");
    assert!(
        last.bank.requests.total > brought.count("total_ops"),
        "logging in, and what proves the books, comes in addition"
    );
    drop(server.stop());
}

#[test]
fn a_killed_worker_shows_within_two_views_and_the_load_goes_on() {
    let (server, instance) = start(&["--workers", "2"]);
    let mut load = Load::start(server.address, 6, 3000);
    await_that("the load has begun", || load.has_begun());
    let mut watcher = Watcher::new(&instance);
    let killed = instance.workers()[1].life.pid.get();
    server::send(killed, Signal::SIGKILL);
    await_that("it has a successor", || ![0, killed].contains(&instance.workers()[1].life.pid.get()));
    let view = watcher.look(&instance);
    assert_eq!(
        (view.workers[1].now.lives, view.workers[1].now.deaths, view.crashes.deaths),
        (2, 1, 1),
        "{}",
        view.json()
    );
    let told = format!("worker 1 died and is back, pid {killed} → {}", view.workers[1].now.pid);
    assert!(view.events.iter().any(|event| event.starts_with(&told)), "{:?}", view.events);
    assert_eq!(view.workers[0].now.deaths, 0);
    assert!(watcher.look(&instance).events.iter().all(|event| !event.contains("died")), "it is told once");
    await_that("its connections go on", || watcher.look(&instance).crashes.resumed >= 3 || load.is_over());
    load.finish().must_have_all_answers();
    drop(server.stop());
}

#[test]
fn top_agrees_with_what_the_client_has_counted() {
    let (server, _) = start(&["--workers", "2"]);
    let brought = Load::start_with(server.address, &["--connections", "4", "--ops", "250"]).finish();
    let once = ["top", "--instance", &server.instance, "--interval", "0.1", "--once"];
    let view: Value = serde_json::from_str(&vaultctl(&[&once[..], &["--json"]].concat())).unwrap();
    let total = |opcode: &str| view["bank"]["opcodes"][opcode]["total"].as_u64().unwrap();
    let money: u64 = ["DEPOSIT", "WITHDRAW", "TRANSFER"].into_iter().map(total).sum();
    assert_eq!((money, money), (1000, brought.count("total_ops")));
    let answers = view["bank"]["answers"].as_object().unwrap().values();
    let answered: u64 = answers.map(|rate| rate["total"].as_u64().unwrap()).sum();
    assert_eq!(answered, view["bank"]["requests"]["total"].as_u64().unwrap());
    assert_eq!(view["instance"]["name"], *server.instance);
    let text = vaultctl(&once);
    let durable = view["journal"]["committed_lsn"].as_u64().unwrap();
    assert!(text.contains(&format!("{durable}  ")) && text.contains("latency"), "the last operation is in {text}");
    drop(server.stop());
}

#[test]
#[ignore = "needs promtool"]
fn metrics_are_what_prometheus_reads_and_agree_with_the_sample() {
    let (server, instance) = start(&["--workers", "2"]);
    Load::start_with(server.address, &["--connections", "4", "--ops", "250"]).finish();
    // As of a server with a cache process, peers and a table of keys and values, whose metrics are documented, too.
    let member = Member { match_lsn: Some(1), lag: Some(0), heard_ms: Some(0), ..Member::default() };
    let cluster = Some(Cluster { members: vec![member], ..Cluster::default() });
    let (cache, kv) = (Some(Cache::default()), Some(KvTable::default()));
    let sample = Sample { cache, cluster, kv, ..Sample::take(&instance) };
    let text = metrics(&sample);
    let families = exposition::parse(&text).unwrap();
    let requests: u64 = sample.workers.iter().map(|worker| worker.requests_total).sum();
    assert!(requests > 1000);
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let requests = requests as f64;
    assert_eq!((families["vault_requests_total"].sum(), families["vault_answers_total"].sum()), (requests, requests));
    let counts = families["vault_answer_seconds"].values.iter().filter(|(suffix, ..)| suffix == "_count");
    assert_eq!(counts.map(|(.., count)| count).sum::<f64>(), requests, "each answer has its time");
    let documented: BTreeSet<(String, String)> = documented_metrics().collect();
    let served = families.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect();
    assert_eq!(documented, served, "docs/STATUS.md lists each metric with its type");
    ask_promtool(&text);
    drop(server.stop());
}

/// Name and type of each metric in the document's tables.
fn documented_metrics() -> impl Iterator<Item = (String, String)> {
    include_str!("../../docs/STATUS.md").lines().filter(|line| line.starts_with("| `vault_")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
    })
}

/// Prometheus' own checker.
fn ask_promtool(text: &str) {
    let mut command = tool("promtool", "prometheus");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_strict_reader_sees_what_is_wrong() {
    let good = "# HELP a_seconds Times.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"1\"} 1\n\
                a_seconds_bucket{le=\"+Inf\"} 2\na_seconds_sum 3\na_seconds_count 2\n";
    assert!(exposition::parse(good).is_ok());
    for (what, instead) in [
        ("{le=\"1\"} 1", "{le=\"1\"} 3"),
        ("{le=\"+Inf\"} 2", "{le=\"+Inf\"} 1"),
        ("{le=\"1\"}", "{le=\"1}"),
        ("{le=\"1\"}", "{l-e=\"1\"}"),
        ("{le=\"1\"}", "{le=\"\\1\"}"),
        ("_sum 3\n", "_sum 3\na_seconds_sum 3\n"),
        ("a_seconds_sum 3\n", ""),
        ("a_seconds_count 2\n", "a_seconds 2\n"),
        ("# HELP a_seconds Times.\n", ""),
        ("histogram", "counter"),
        ("_count 2\n", "_count 2"),
    ] {
        assert!(exposition::parse(&good.replace(what, instead)).is_err(), "{instead:?} for {what:?}");
    }
    assert!(exposition::parse(&good.repeat(2)).is_err(), "a type twice");
}

#[test]
fn an_instance_is_ready_until_it_stops() {
    let (mut server, instance) = start(&["--workers", "2"]);
    // A worker that cannot leave keeps the instance on its way out.
    server::send(server.workers[0], Signal::SIGSTOP);
    server.signal(Signal::SIGINT);
    await_that("it stops", || readiness(&instance).is_err_and(|reasons| reasons.contains(&Unready::Stopping)));
    assert!(Sample::take(&instance).stopping);
    server::send(server.workers[0], Signal::SIGCONT);
    assert!(server.wait().status.success());
    let reasons = readiness(&instance).unwrap_err();
    assert_eq!(reasons, [Unready::Stopping, Unready::NoWorker, Unready::NoJournalProcess]);
    assert_eq!(reasons[1].to_string(), "no worker is serving");
}

#[test]
fn without_a_journal_it_is_ready_and_has_no_activity_to_show() {
    let (server, instance) = start(&["--workers", "1", "--durability", "none"]);
    let view = Watcher::new(&instance).look(&instance);
    assert!(view.activity.is_none() && view.journal.now.state == "absent" && view.journal.now.capacity == 0);
    // Nor a key-value store.
    assert!(view.kv.is_none());
    let report = vaultctl(&["inspect", "--instance", &server.instance, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["kv"], Value::Null);
    let shown = [&["inspect"][..], &["top", "--once", "--interval", "0.1"]];
    for words in shown.map(|words| [words, &["--instance", &server.instance]].concat()) {
        assert!(!vaultctl(&words).contains("key-value"), "{words:?}");
    }
    assert!(exposition::parse(&metrics(&Sample::take(&instance))).is_ok());
    drop(server.stop());
}

#[test]
fn all_views_show_what_the_key_value_store_has_counted() {
    let (server, address) = kv_server(&["--workers", "1", "--kv-mb", "1"]);
    let instance = stale::open_running(&server.instance).unwrap();
    let mut watcher = Watcher::new(&instance);
    let mut kv = Kv::connect(address);
    kv.put(b"small", b"value");
    kv.put(b"large", &[7; 1000]);
    for missing in [get(b"nothing"), delete(b"nothing")] {
        assert_eq!(kv.call(&missing).unwrap(), Answer::Refused(KvRefusal::NotFound));
    }
    // A reply that waits: what it shows is not on disk before the journal process goes on.
    let journal = server.journal_now().unwrap();
    server::send(journal, Signal::SIGSTOP);
    kv.send(&put(b"third", b"value")).unwrap();
    let waiting = |instance: &Instance| Sample::take(instance).workers[0].count_of("kv", |service| service.waiting);
    await_that("a reply waits", || waiting(&instance) == 1);
    server::send(journal, Signal::SIGCONT);
    assert!(kv.read().unwrap().version() > 0);
    await_that("it waits no longer", || waiting(&instance) == 0);

    let sample = Sample::take(&instance);
    let view = watcher.look(&instance);
    let (table, worker, shown) = (sample.kv.unwrap(), &sample.workers[0], view.kv.unwrap());
    let blocks = 1 + (1 + 4) + 1;
    assert_eq!((table.keys, table.blocks, table.capacity, table.block_bytes), (3, blocks, 4096, 256));
    assert_eq!((&shown.table, shown.connections, shown.waiting), (&table, 1, 0));
    assert_eq!((shown.calls_total.total, worker.kv.calls_total, shown.times.count), (5, 5, 5));
    assert!(shown.calls_total.per_s > 0.0 && (view.workers[0].share - 1.0).abs() < 1e-9, "{shown:?}");
    let (of_put, of_missing) = (KvProcedure::Put.index(), KvStatus::NotFound.index());
    assert_eq!((shown.calls[of_put].total, worker.kv.calls[of_put], shown.results[of_missing].total), (3, 3, 2));
    // The bank has had no part in it.
    assert_eq!((worker.bytes_in, worker.bytes_out, view.bank.bytes_in.total), (0, 0, 0));
    assert!(worker.kv.bytes_in > 1000 && worker.kv.bytes_out > 5 * 28, "{:?}", worker.kv);
    assert_eq!((shown.bytes_in.total, shown.bytes_out.total), (worker.kv.bytes_in, worker.kv.bytes_out));

    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&vaultctl(&[words, &["--json", "--instance", &server.instance]].concat())).unwrap()
    };
    let (report, top) = (json(&["inspect"]), json(&["top", "--once", "--interval", "0.1"]));
    assert_eq!(report["kv"], serde_json::to_value(&table).unwrap());
    assert_eq!(report["workers"][0]["kv"]["results"], serde_json::json!({ "KV_OK": 3, "KV_NOT_FOUND": 2 }));
    assert_eq!((&top["kv"]["keys"], &top["kv"]["calls"]["KV_PUT"]["total"]), (&report["kv"]["keys"], &3.into()));
    let text = vaultctl(&["inspect", "--instance", &server.instance]);
    for line in ["key-value store: 3 keys, 7 of 4096 blocks (0.2 %)", "key-value calls", "key-value results"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let metrics = metrics(&Sample::take(&instance));
    let received = format!("vault_kv_received_bytes_total{{worker=\"0\"}} {}", worker.kv.bytes_in);
    for line in [&received, "vault_service_connections_waiting{worker=\"0\",service=\"kv\"} 0", "vault_kv_keys 3"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert!(server.stop().status.success());
}

#[test]
fn the_document_tells_of_every_field() {
    let (server, instance) = start(&["--workers", "1"]);
    Load::start_with(server.address, &["--connections", "1", "--ops", "20"]).finish();
    let text = include_str!("../../docs/STATUS.md");
    // As of a server with a cache process, and a table of keys and values.
    let (cache, kv) = (Some(Cache::default()), Some(KvTable::default()));
    let before = Sample { cache, kv, ..Sample::take(&instance) };
    let mut view = View::between(&before, &before);
    view.activity = Watcher::new(&instance).look(&instance).activity;
    for json in [before.json(), view.json()] {
        let mut fields = BTreeSet::new();
        collect_fields(&serde_json::from_str(&json).unwrap(), &mut fields);
        let untold: Vec<_> = fields.iter().filter(|field| !text.contains(&format!("`{field}`"))).collect();
        assert!(fields.len() > 50 && untold.is_empty(), "not in docs/STATUS.md: {untold:?}");
    }
    drop(server.stop());
}

/// The names of all fields; not the keys of tables, which are names of opcodes and numbers of statuses.
fn collect_fields(value: &Value, fields: &mut BTreeSet<String>) {
    let is_field = |name: &String| name.starts_with(|c: char| c.is_ascii_lowercase());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                fields.extend(Some(name).filter(|name| is_field(name)).cloned());
                collect_fields(member, fields);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_fields(element, fields)),
        _ => {}
    }
}

#[test]
fn looking_is_cheap() {
    let (server, instance) = start(&["--workers", "2"]);
    let begun = Instant::now();
    let times = 100;
    (0..times).for_each(|_| drop(std::hint::black_box(Sample::take(&instance))));
    // It is far faster when it is optimised; this is not, and shares its processor.
    let each = begun.elapsed() / times;
    assert!(each.as_millis() < 5, "{each:?}");
    drop(server.stop());
}
