//! `vaultctl inspect`, `clean` and `crash-points` as operators meet them: beside a server that runs, and after one that was
//! killed. What the next start makes of such leavings is here too.

use crate::server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;

use bank_vault::base::limits::HEADER_BYTES;
use bank_vault::base::vocab::{AccountId, Cents};
use bank_vault::service::bank::wire::Request;
use nix::sys::signal::Signal;
use serde_json::Value;
use server::{Server, await_that};

/// Runs `vaultctl WORDS --instance NAME`.
fn vaultctl(instance: &str, words: &[&str]) -> Output {
    let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
    command.args(words).args(["--instance", instance]).output().unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What `vaultctl inspect --json` says of a running server.
fn inspected(server: &Server) -> Value {
    let (code, out, err) = told(&vaultctl(&server.instance, &["inspect", "--json", "--connections"]));
    assert_eq!((code, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

/// A connection that is logged in as `demo`.
fn logged_in(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    send(&mut stream, &Request::Login { user: b"demo", pass: b"demo" });
    // A good answer has a status and a session.
    let mut reply = [0; HEADER_BYTES + 6];
    stream.read_exact(&mut reply).unwrap();
    stream
}

fn send(stream: &mut TcpStream, request: &Request<'_>) {
    let mut frame = Vec::new();
    request.encode(1, None, None, &mut frame);
    stream.write_all(&frame).unwrap();
}

#[test]
fn a_living_instance_is_shown_with_all_that_it_has() {
    let server = Server::start(&["--workers", "3", "--accounts", "12", "--initial-balance", "5.00"]);
    let (code, out, err) = told(&vaultctl(&server.instance, &["inspect"]));
    assert_eq!((code, err.as_str()), (0, ""));
    for object in ["control", "lanes", "accounts", "intents", "connections", "rings"] {
        assert!(out.contains(&format!(".{object} ")), "{object} in {out}");
    }
    for lane in 0..3 {
        assert!(out.contains(&format!(".lane{lane}.{{slots,items,lock}}")), "lane {lane} in {out}");
    }
    for pid in &server.workers {
        assert!(out.contains(&format!(" {pid}  ")), "worker {pid} in {out}");
    }
    let master = format!("pid {} (vault-master)", server.master);
    for part in [&*master, &server.address.to_string(), "accept dispatch", "not a consistent cut", "hold 60.00"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    drop(server.stop());
}

#[test]
fn the_json_form_counts_connections_and_requests() {
    let server = Server::start(&["--workers", "1", "--accounts", "12", "--queue-depth", "16"]);
    let stream = logged_in(&server);
    let report = inspected(&server);
    assert_eq!(report["instance"]["name"], server.instance);
    assert_eq!(report["instance"]["master"]["pid"], server.master);
    assert_eq!(report["instance"]["data"], server.data().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(report["segments"].as_array().unwrap().len(), 9);
    assert!(report["segments"].as_array().unwrap().iter().all(|segment| segment["layout_version"].as_u64() >= Some(1)));
    let lane = &report["lanes"][0];
    assert_eq!([&lane["depth"], &lane["slots"]["value"], &lane["items"]["value"]], [0, 16, 0]);
    let worker = &report["workers"][0];
    assert_eq!(worker["pid"], server.workers[0]);
    assert_eq!((&worker["state"], &worker["accepted"]), (&"serving".into(), &1.into()));
    assert_eq!((&worker["requests"]["LOGIN"], &worker["requests_total"]), (&1.into(), &1.into()));
    assert_eq!(worker["answers"], serde_json::json!({ "OK": 1 }));
    assert_eq!(report["connections"]["served"], 1);
    let slot = &report["connections"]["slots"][0];
    assert_eq!((&slot["user"], &slot["worker"], &slot["unread"]), (&"demo".into(), &0.into(), &0.into()));
    assert_eq!(report["totals"]["consistent_cut"], false);
    drop(stream);
    drop(server.stop());
}

#[test]
fn a_stopped_worker_shows_an_old_heartbeat() {
    let server = Server::start(&["--workers", "2"]);
    let [stopped, running] = [server.workers[0], server.workers[1]];
    server::send(stopped, Signal::SIGSTOP);
    let age = |report: &Value, pid: u32| {
        let workers = report["workers"].as_array().unwrap();
        workers.iter().find(|worker| worker["pid"] == pid).unwrap()["heartbeat_age_ms"].as_u64().unwrap()
    };
    let mut report = Value::Null;
    await_that("the stopped worker's heartbeat is old", || {
        report = inspected(&server);
        age(&report, stopped) >= 1000
    });
    assert!(age(&report, running) < age(&report, stopped), "{report}");
    server::send(stopped, Signal::SIGCONT);
    await_that("the heartbeat is young again", || age(&inspected(&server), stopped) < 1000);
    drop(server.stop());
}

#[test]
fn a_lock_that_a_dead_worker_left_is_shown_until_it_is_repaired() {
    let died = [("VAULT_CRASH_POINT", "0:ledger.locked")];
    let server = Server::start_with(&server::unused_name(), &["--workers", "1"], &died);
    let deposit = Request::Deposit { account: AccountId(7), amount: Cents(1) };
    let mut stream = logged_in(&server);
    // So that nobody repairs it.
    server.signal(Signal::SIGSTOP);
    send(&mut stream, &deposit);
    let left = serde_json::json!({ "held": [], "orphaned": [7], "inherited": 0 });
    await_that("its worker died with the lock", || inspected(&server)["locks"] == left);
    server.signal(Signal::SIGCONT);
    stream.read_exact(&mut [0; HEADER_BYTES]).unwrap();
    let locks = inspected(&server)["locks"].clone();
    assert_eq!(locks, serde_json::json!({ "held": [], "orphaned": [], "inherited": 1 }));
    assert_eq!(inspected(&server)["workers"][0]["repairs"], 0, "it had begun nothing yet");
    drop(server.stop());
}

#[test]
fn a_repair_is_counted() {
    let died = [("VAULT_CRASH_POINT", "0:ledger.applied")];
    let server = Server::start_with(&server::unused_name(), &["--workers", "1"], &died);
    let mut stream = logged_in(&server);
    send(&mut stream, &Request::Deposit { account: AccountId(7), amount: Cents(1) });
    stream.read_exact(&mut [0; HEADER_BYTES]).unwrap();
    let worker = inspected(&server)["workers"][0].clone();
    assert_eq!((&worker["lives"], &worker["repairs"]), (&2.into(), &1.into()));
    drop(server.stop());
}

#[test]
fn a_living_instance_is_not_cleaned() {
    let server = Server::start(&["--workers", "1"]);
    let before = server.objects();
    for words in [&["clean"][..], &["clean", "--dry-run"]] {
        let (code, out, err) = told(&vaultctl(&server.instance, words));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        let data = server.data().canonicalize().unwrap();
        for part in [&server.master.to_string(), data.to_str().unwrap(), &server.instance] {
            assert!(err.contains(part), "{part} in {err}");
        }
    }
    assert_eq!(server.objects(), before);
    drop(server.stop());
}

#[test]
fn what_a_killed_instance_left_is_named_and_removed() {
    let mut server = Server::start(&["--workers", "2"]);
    server.kill_master();
    let left = server.objects();
    assert_eq!(left.len(), 9 + 2 * 3, "{left:?}");
    let (code, _, err) = told(&vaultctl(&server.instance, &["inspect"]));
    assert!(code == 2 && err.contains("is dead and left 15 objects") && err.contains("vaultctl clean"), "{err}");

    let (code, out, _) = told(&vaultctl(&server.instance, &["clean", "--dry-run"]));
    assert!(code == 0 && left.iter().all(|object| out.contains(&format!("would remove {object}\n"))), "{out}");
    assert_eq!(server.objects(), left, "a dry run removes nothing");
    let (code, out, _) = told(&vaultctl(&server.instance, &["clean"]));
    assert!(code == 0 && left.iter().all(|object| out.contains(&format!("removed {object}\n"))), "{out}");
    assert_eq!(server.objects(), Vec::<String>::new());
}

#[test]
fn where_nothing_is_there_is_nothing_to_clean_or_see() {
    let name = server::unused_name();
    let (code, out, _) = told(&vaultctl(&name, &["clean"]));
    assert!(code == 0 && out.starts_with("nothing to remove"), "{out}");
    let (code, _, err) = told(&vaultctl(&name, &["inspect"]));
    assert_eq!((code, err), (2, format!("vaultctl: no instance `{name}` runs here\n")));
}

#[test]
fn a_new_start_removes_and_names_what_a_killed_one_left() {
    let mut killed = Server::start(&["--workers", "1"]);
    killed.kill_master();
    let left = killed.objects();
    let next = Server::start_with(&killed.instance, &["--workers", "1"], &[]);
    let said = next.stderr();
    assert!(!left.is_empty() && left.iter().all(|object| said.contains(object)), "{said}");
    assert!(next.objects().iter().all(|object| !left.contains(object)));
    drop(next.stop());
}

#[test]
fn a_second_start_is_refused_and_told_by_whom() {
    let server = Server::start(&["--workers", "1"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let own = server.data();
    // The same directory under another name, and another directory under the same name.
    for (name, data) in [(&*server::unused_name(), own.as_path()), (&server.instance, elsewhere.path())] {
        let (code, out, err) = told(&server::master(name, data, &[]).output().unwrap());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(&format!("pid {}", server.master)) && err.contains(&server.instance), "{err}");
    }
    assert_eq!(inspected(&server)["instance"]["master"]["pid"], server.master, "it goes on undisturbed");
    drop(server.stop());
}

#[test]
fn a_stop_leaves_nothing_and_sums_up() {
    let server = Server::start(&["--workers", "2"]);
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("stopped: "), "{output:?}");
}

#[test]
fn every_crash_point_is_listed() {
    let output = assert_cmd::Command::cargo_bin("vaultctl").unwrap().arg("crash-points").output().unwrap();
    let (code, out, _) = told(&output);
    assert!(code == 0 && out.contains("VAULT_CRASH_POINT=WHO:NAME[#HIT]"), "{out}");
    for point in bank_vault::base::crash_point::CrashPoint::ALL {
        assert!(out.contains(&format!("  {} ", point.name())), "{} in {out}", point.name());
    }
}
