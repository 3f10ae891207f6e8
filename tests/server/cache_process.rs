//! The cache process as a child of the master: it is there where a service needs it, is replaced when it ends or hangs, and leaves nothing.
//! What it has of the pool is let go, and what workers have.

use crate::narrow::Wrapper;
use crate::{bank, refusal, server};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bank::{Bank, deposit};
use bank_vault::ipc::segment::Access;
use bank_vault::service::bank::wire::Response;
use bank_vault::store::transfer::header::State;
use bank_vault::store::transfer::tickets::Memory;
use bank_vault::store::transfer::{Claimant, Pool, Wake, Writer, repair};
use nix::sys::signal::Signal;
use serde_json::Value;
use server::{Server, await_that, lives, send};
use tempfile::TempDir;

/// A file and a map that names it.
fn map() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a"), "contents").unwrap();
    let map = home.path().join("map");
    fs::write(&map, format!("/a {}/a\n", home.path().display())).unwrap();
    (home, map)
}

/// A server that serves a map by GetFile.
fn start(args: &[&str]) -> (Server, TempDir) {
    let (home, map) = map();
    let port = server::unused_port().to_string();
    let own = ["--accounts", "10", "--getfile-port", &port, "--getfile-map", map.to_str().unwrap()];
    (Server::start(&[&own[..], args].concat()), home)
}

fn vaultctl(server: &Server, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
    let output = command.args(words).args(["--instance", &server.instance]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn inspected(server: &Server) -> Value {
    let (code, said) = vaultctl(server, &["inspect", "--json"]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// Waits for another cache process than `before`.
fn successor(server: &Server, before: u32) -> u32 {
    let mut now = None;
    await_that("there is another cache process", || {
        now = server.cache_now();
        now.is_some_and(|pid| pid != before)
    });
    now.unwrap()
}

fn pool(server: &Server) -> Pool {
    Pool::open(server.stats().generation(), Access::Write).unwrap()
}

/// Wakes nobody.
struct Silence;

impl Wake for Silence {
    fn worker(&self, _: usize) {}
    fn cache(&self) {}
}

#[test]
fn it_is_there_where_a_service_needs_it_and_is_shown() {
    let (server, _home) = start(&["--workers", "2", "--cache-segments", "5", "--cache-segment-bytes", "1024"]);
    let pid = server.cache_now().unwrap();
    let report = inspected(&server);
    let cache = &report["cache"];
    assert_eq!((&cache["state"], &cache["lives"], &cache["deaths"]), (&"serving".into(), &1.into(), &0.into()));
    assert_eq!(cache["process"]["name"], "vault-cache");
    assert_eq!(cache["pid"], pid);
    let queue = cache["queue"]["name"].as_str().unwrap();
    assert!(server.ready.trim_end().ends_with(&format!(" queue {queue}")), "{}", server.ready);
    assert_eq!((&cache["queue"]["depth"], &cache["queue"]["queued"]), (&10.into(), &0.into()));
    let segments = cache["pool"]["segments"].as_array().unwrap();
    assert!(segments.len() == 5 && segments.iter().all(|segment| segment["state"] == "free"), "{cache}");
    assert_eq!(cache["pool"]["segment_bytes"], 1024);
    assert!(report["segments"].as_array().unwrap().iter().any(|segment| segment["name"] == cache["pool"]["name"]));
    let (code, text) = vaultctl(&server, &["inspect"]);
    assert!(code == 0 && text.contains("cache: serving, pid ") && text.contains("0 of 5 in use"), "{text}");
    assert_eq!(server.objects().iter().filter(|name| name.contains(queue)).count(), 1, "{:?}", server.objects());
    assert!(server.stop().status.success());
}

#[test]
fn it_is_not_there_where_none_needs_it() {
    let (home, map) = map();
    let port = server::unused_port().to_string();
    let root = home.path().to_str().unwrap();
    let nothing_kept = ["--getfile-map", map.to_str().unwrap(), "--getfile-cache-mb", "0"];
    for source in [&["--getfile-root", root][..], &nothing_kept] {
        let server = Server::start(&[&["--accounts", "10", "--getfile-port", &port], source].concat());
        assert_eq!((server.cache_now(), &inspected(&server)["cache"]), (None, &Value::Null), "{source:?}");
        assert!(!server.ready.contains("queue"), "{}", server.ready);
        assert!(server.stop().status.success());
    }
}

#[test]
fn when_it_is_killed_there_is_a_successor_within_a_second() {
    let (server, _home) = start(&["--workers", "1"]);
    let mut bank = Bank::demo(server.address);
    let mut now = server.cache_now().unwrap();
    for death in 1..=4 {
        let begun = Instant::now();
        send(now, Signal::SIGKILL);
        now = successor(&server, now);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let row = server.stats();
        assert_eq!((row.cache_row().life.deaths.get(), row.cache_row().life.lives.get()), (death, death + 1));
        assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }), "nobody else suffers");
    }
    let said = server.stderr();
    assert!(said.contains("the cache process (pid ") && said.contains("the cache process is back"), "{said}");
    assert_eq!(server.workers_now(), server.workers);
    assert!(server.stop().status.success());
}

#[test]
fn when_it_is_stopped_it_is_killed_and_replaced() {
    let (server, _home) = start(&["--workers", "1", "--worker-timeout", "1"]);
    let before = server.cache_now().unwrap();
    send(before, Signal::SIGSTOP);
    let after = successor(&server, before);
    assert!(!lives(before) && lives(after));
    assert!(server.stderr().contains("the cache process: no life for "), "{}", server.stderr());
    assert_eq!(server.stats().cache_row().life.deaths.get(), 1);
    assert!(server.stop().status.success());
}

#[test]
fn a_stop_waits_for_one_that_hangs_until_its_deadline_only() {
    let (server, _home) = start(&["--workers", "1", "--worker-timeout", "60"]);
    send(server.cache_now().unwrap(), Signal::SIGSTOP);
    let output = server.stop();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the cache process: the stop has taken too long; killing it"), "{said}");
}

#[test]
fn what_dead_processes_left_is_found_and_removed() {
    let (mut server, _home) = start(&["--workers", "1"]);
    let queues =
        |server: &Server| server.objects().into_iter().filter(|name| name.starts_with("message queue")).count();
    server.kill_all();
    assert_eq!(queues(&server), 1, "{:?}", server.objects());
    server.start_again(&[]);
    assert_eq!(queues(&server), 1, "only its own: {:?}", server.objects());
    assert!(server.stderr().contains("removing message queue /vault."), "{}", server.stderr());
    server.kill_all();
    let (code, said) = vaultctl(&server, &["clean"]);
    assert!(code == 0 && said.contains("removed message queue /vault."), "{said}");
    assert_eq!(server.objects(), Vec::<String>::new());
    server.start_again(&[]);
    assert!(server.stop().status.success());
}

#[test]
fn an_upgrade_replaces_it() {
    let (server, _home) = start(&["--workers", "2"]);
    let before = server.cache_now().unwrap();
    for round in 1..=2 {
        let old = server.cache_now().unwrap();
        let (code, said) = vaultctl(&server, &["upgrade"]);
        assert!(code == 0, "{said} {}", server.stderr());
        successor(&server, old);
        assert_eq!(server.stats().cache_row().life.lives.get(), 1 + round);
    }
    assert!(!lives(before));
    assert_eq!(server.stats().cache_row().life.deaths.get(), 0, "it was asked to");
    // The new program watches it as the old one did.
    let now = server.cache_now().unwrap();
    send(now, Signal::SIGKILL);
    successor(&server, now);
    assert_eq!(server.stats().cache_row().life.deaths.get(), 1);
    assert!(server.stop().status.success());
}

#[test]
fn what_the_dead_had_of_the_pool_is_let_go() {
    let (server, _home) = start(&["--workers", "2", "--cache-segments", "3"]);
    let pool = pool(&server);
    // This process does what a worker and the cache process do, in their names.
    let mut worker = Claimant::new(&pool, 0, server.workers[0], &Silence);
    let mut claim = || {
        worker.draw();
        worker.claim().unwrap().1
    };
    let (picked_up, offered) = (claim(), claim());
    let writer = Writer::pick_up(&pool, picked_up, server.cache_now().unwrap(), &Silence).unwrap();
    let state = |number: u32| pool.header(number as usize).claim().state;
    assert_eq!((state(picked_up.number), state(offered.number)), (State::Writing, State::Offered));
    let cache = server.cache_now().unwrap();
    send(cache, Signal::SIGKILL);
    successor(&server, cache);
    assert_eq!((state(picked_up.number), state(offered.number)), (State::Broken, State::Offered));
    std::mem::forget(writer);
    // The ticket of one that leaves in order goes with it.
    let mut waiting = Claimant::new(&pool, 1, server.workers[1], &Silence);
    waiting.draw();
    assert_eq!(pool.tickets().longest_waiting(), Some(1));
    server.signal(Signal::SIGTTOU);
    await_that("worker 1 has left", || server.workers_now().len() == 1);
    await_that("its ticket is taken down", || pool.tickets().longest_waiting().is_none());
    assert!(!repair::is_idle(&pool));
    send(server.workers[0], Signal::SIGKILL);
    await_that("the worker's segments are free", || repair::is_idle(&pool));
    assert!(server.stop().status.success());
}

#[test]
fn a_start_whose_queue_cannot_be_made_is_refused() {
    let (_home, map) = map();
    let program = Wrapper::behind("prlimit --msgqueue=0", Path::new(env!("CARGO_BIN_EXE_master")));
    let port = server::unused_port().to_string();
    let args = ["--http-port", "0", "--getfile-port", &port, "--getfile-map", map.to_str().unwrap()];
    let said = refusal::refused(&program.path(), &args);
    assert!(said.contains("RLIMIT_MSGQUEUE") && said.contains("may take 0"), "{said}");
}
