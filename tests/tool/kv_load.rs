//! `client kv-load` against a server: it checks every answer, writes its report, and ends as its exit code says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::kv::{Kv, kv_server};
use crate::kv_client::{Defect, Shared, member};

fn load(address: SocketAddr, arguments: &str, json: &Path) -> (Output, Option<Value>) {
    load_at(&address.to_string(), arguments, json)
}

fn load_at(servers: &str, arguments: &str, json: &Path) -> (Output, Option<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.args(["kv-load", "--server", servers]).args(arguments.split_whitespace());
    let output = command.arg("--json").arg(json).output().unwrap();
    let report = std::fs::read(json).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
    (output, report)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_answer_is_checked_and_the_report_says_so() {
    let (server, address) = kv_server(&["--kv-mb", "8"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let arguments =
        "--verify --connections 6 --pipeline 16 --ops 500 --keys 50 --zipf 0.9 --value-bytes 32..3000 --seed 7";
    let (output, report) = load(address, arguments, &file);
    let (said, report) = (said(&output), report.unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("verify: OK, 3000 answers"), "{said}");
    let plan = json!({
        "server": address.to_string(), "connections": 6, "event_loops": report["plan"]["event_loops"], "pipeline": 16,
        "ops_per_connection": 500, "duration_s": null, "warmup_s": 0.0, "rate": null, "keys": 50, "key_bytes": 16,
        "value_bytes": [32, 3000], "zipf": 0.9, "read_share": 0.5, "request_ids": true, "retry_for_s": 10.0, "seed": 7,
    });
    assert_eq!(report["plan"], plan);
    let names = [
        "duration_s",
        "err",
        "errors",
        "failures",
        "interrupted",
        "latency_ms",
        "missing",
        "ok",
        "opcodes",
        "plan",
        "prefill_only",
        "reconnects",
        "retries",
        "schema",
        "throughput",
        "timeouts",
        "total_ops",
        "unsent",
        "value_bytes_read",
        "value_bytes_written",
        "verify",
    ];
    assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), names);
    for (name, wanted) in [("schema", 1), ("total_ops", 3000), ("ok", 3000), ("err", 0), ("missing", 0), ("unsent", 0)]
    {
        assert_eq!(report[name], json!(wanted), "{name}");
    }
    assert_eq!((&report["verify"]["agrees"], &report["verify"]["violations"]), (&json!(true), &json!(0)));
    let opcodes = report["opcodes"].as_array().unwrap();
    assert_eq!(opcodes.iter().map(|opcode| &opcode["opcode"]).collect::<Vec<_>>(), ["KV_GET", "KV_PUT"]);
    // A second run finds the values of the first one, and takes none of them for its own.
    assert_eq!(load(address, arguments, &file).0.status.code(), Some(0));
    assert_eq!(Kv::connect(address).status().keys, 50);
    drop(server);
}

#[test]
fn a_server_that_breaks_a_promise_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    for (defect, why) in [
        (None, ""),
        (Some(Defect::ChangedByte), "its value is torn"),
        (Some(Defect::OtherKey), "its value is that of key"),
        (Some(Defect::LostWrite), "which was answered before it was asked for"),
        (Some(Defect::Missing), "it is not there, but version"),
    ] {
        let store = Shared::default();
        store.lock().unwrap().defect = defect;
        let address = member(&store).parse().unwrap();
        let (output, report) = load(address, "--verify --connections 1 --ops 100 --keys 3 --seed 1", &file);
        let (said, report) = (said(&output), report.unwrap());
        let is_well = defect.is_none();
        assert_eq!(output.status.code(), Some(i32::from(!is_well)), "{defect:?}: {said}");
        assert_eq!(report["verify"]["agrees"], json!(is_well), "{defect:?}");
        assert!(said.contains(why) && said.contains(if is_well { "verify: OK" } else { "verify: WRONG" }), "{said}");
    }
}

#[test]
fn what_is_lost_or_refused_is_sent_again_to_the_primary() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let store = Shared::default();
    let (primary, other) = (member(&store), member(&store));
    (store.lock().unwrap().replies_lost, store.lock().unwrap().without_quorum) = (3, 2);
    let servers = format!("{other},{primary}");
    let (output, report) = load_at(&servers, "--verify --connections 2 --pipeline 4 --ops 100 --keys 9", &file);
    let report = report.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((&report["ok"], &report["err"]), (&json!(200), &json!(0)));
    // Each id has been done once: as many writes as the two phases have sent.
    let written = report["opcodes"][1]["ok"].as_u64().unwrap() + 9;
    assert_eq!(store.lock().unwrap().last, written * 10);
}

#[test]
fn keys_that_are_not_there_and_refusals_are_counted() {
    let (_server, address) = kv_server(&["--kv-mb", "8", "--kv-max-value", "1000"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let (output, report) = load(address, "--threads 2 --ops 50 --read-share 1", &file);
    let report = report.unwrap();
    assert_eq!((output.status.code(), &report["missing"]), (Some(0), &json!(100)), "{}", said(&output));
    let (output, report) = load(address, "--threads 2 --ops 10 --read-share 0 --value-bytes 1001", &file);
    let errors = json!([{ "error": "KV_TOO_LARGE", "count": 20 }]);
    assert_eq!((output.status.code(), &report.unwrap()["errors"]), (Some(1), &errors), "{}", said(&output));
}

#[test]
fn what_cannot_be_is_refused_and_nobody_is_noticed() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    for (arguments, why) in [
        ("", "cannot connect to 127.0.0.1:1"),
        ("--verify --value-bytes 31", "--verify needs values of at least 32 bytes"),
        ("--keys 1001 --key-bytes 3", "1001 keys need 4 bytes each"),
        ("--user ada", "means nothing to `client kv-load`"),
        ("--read-share 2", "a number from 0 to 1"),
    ] {
        let (output, report) = load(nobody, arguments, &file);
        assert_eq!((output.status.code(), report), (Some(2), None), "{arguments}");
        assert!(said(&output).contains(why), "{arguments}: {}", said(&output));
    }
}
