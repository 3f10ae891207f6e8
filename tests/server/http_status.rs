//! What can be seen of a server over HTTP, and by whom.

use crate::{bank, server, tools, visitor};

use std::process::Command;
use std::time::{Duration, Instant};

use bank::{Bank, deposit};
use nix::sys::signal::Signal;
use serde_json::Value;
use server::{await_that, send};
use tools::tool;
use visitor::{Site, Visitor};

fn site() -> Site {
    Site::with(&[("index.html", b"page")], &["--workers", "2", "--initial-balance", "1000.00"])
}

/// The next event of a stream.
fn event(visitor: &mut Visitor) -> Value {
    loop {
        if let Some(data) = visitor.line().unwrap().strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

fn watch(site: &Site) -> Visitor {
    let mut watcher = site.visit();
    watcher.send(b"GET /_vault/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = watcher.read(false).unwrap();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.field("cache-control"), Some("no-store"));
    watcher
}

#[test]
fn every_page_of_the_board_has_its_type() {
    let site = site();
    let mut visitor = site.visit();
    for (page, content_type, beginning) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/stats.json", "application/json", "{"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# HELP "),
        ("/health", "text/plain; charset=utf-8", "alive\n"),
        ("/ready", "text/plain; charset=utf-8", "ready\n"),
    ] {
        let answer = visitor.get(&format!("/_vault{page}?x=1"));
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(content_type)), "{page}");
        assert!(answer.text().starts_with(beginning), "{page}: {}", answer.text());
        assert_eq!(answer.field("content-security-policy").is_some(), page == "/");
        let head = visitor.ask("HEAD", &format!("/_vault{page}"), "");
        assert!(head.status == 200 && head.body.is_empty());
    }
    let head = site.visit().ask("HEAD", "/_vault/events", "");
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    assert_eq!(visitor.get("/_vault").field("location"), Some("/_vault/"));
    assert_eq!(visitor.get("/_vault/nobody").status, 404);
    assert_eq!(visitor.get("/_vaults").status, 404, "a file like any other");
    for (host, status) in [("127.0.0.1:8080", 200), ("vault.example", 403)] {
        visitor.send(format!("GET /_vault/health HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(visitor.read(false).unwrap().status, status, "{host}");
    }
    let stats: Value = serde_json::from_str(&visitor.get("/_vault/stats.json").text()).unwrap();
    assert_eq!(stats["instance"]["name"], site.server.instance.as_str());
    assert_eq!(stats["instance"]["http_address"], site.address.to_string());
    let inspect = || {
        let inspected = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
            .args(["inspect", "--json", "--instance", &site.server.instance])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&inspected.stdout).unwrap()
    };
    // An answer is logged after it was sent.
    await_that("all 17 requests are logged", || inspect()["access_log"]["lines"] == 17);
    let inspected = inspect();
    assert_eq!(inspected["access_log"]["holder"], Value::Null);
}

#[test]
fn who_watches_sees_numbers_move_and_a_worker_die() {
    let site = site();
    let mut watcher = watch(&site);
    let mut bank = Bank::demo(site.server.address);
    let before = event(&mut watcher);
    for _ in 0..200 {
        bank.call(&deposit(1, 1)).unwrap();
        site.visit().get("/");
    }
    let number = |view: &Value, path: &str| {
        view.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {view}"))
    };
    let start = Instant::now();
    loop {
        let after = event(&mut watcher);
        let grown = |path: &str| number(&after, path) - number(&before, path);
        if grown("/bank/requests/total") >= 200.0 && grown("/web/answers/total") >= 200.0 {
            assert!(number(&after, "/journal/committed_lsn") >= 200.0, "{after}");
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{after}");
    }
    // The one that has the stream takes it along: whoever watches comes again.
    let workers = site.server.workers_now();
    send(workers[0], Signal::SIGKILL);
    send(workers[1], Signal::SIGKILL);
    watcher.rest();
    let mut watcher = watch(&site);
    let seen = event(&mut watcher);
    assert_eq!(number(&seen, "/crashes/deaths"), 2.0, "{seen}");
    for worker in ["/workers/0", "/workers/1"] {
        assert_eq!(number(&seen, &format!("{worker}/lives")), 2.0);
        assert!(!workers.contains(&u32::try_from(seen.pointer(worker).unwrap()["pid"].as_u64().unwrap()).unwrap()));
    }
}

#[test]
fn a_stream_holds_up_neither_a_drain_nor_a_stop() {
    let mut site = site();
    let (mut first, mut second) = (watch(&site), watch(&site));
    event(&mut first);
    let drained = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .args(["drain", "0", "--instance", &site.server.instance])
        .output()
        .unwrap();
    assert!(drained.status.success(), "{drained:?}");
    let start = Instant::now();
    assert!(site.server.end().status.success());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    first.rest();
    second.rest();
}

#[test]
fn a_silent_journal_is_not_ready() {
    let site = site();
    let journal = site.server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    await_that("it is said", || {
        let answer = site.get("/_vault/ready");
        answer.status == 503 && answer.text().contains("the journal process is silent")
    });
    assert_eq!(site.get("/_vault/health").status, 200, "alive all the same");
    send(journal, Signal::SIGCONT);
    await_that("it is ready again", || site.get("/_vault/ready").status == 200);
}

/// Runs itself again in a network namespace of its own, in which it may have whatever address it likes.
#[test]
#[ignore = "needs root, for a network namespace, and ip"]
fn others_than_this_machine_see_the_files_only() {
    const INSIDE: &str = "VAULT_TEST_INSIDE";
    const ADDRESS: &str = "192.0.2.1";
    if std::env::var_os(INSIDE).is_none() {
        let set_up = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo && exec \"$0\" \"$@\"");
        drop(tool("ip", "iproute2"));
        let mut command = tool("unshare", "util-linux");
        command.args(["--net", "sh", "-c", &set_up]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "others_than_this_machine_see_the_files_only", "--nocapture"]);
        let output = command.env(INSIDE, "1").output().unwrap();
        assert!(output.status.success(), "it wants root, for a network namespace: {output:?}");
        return;
    }
    let users = tempfile::NamedTempFile::new().unwrap();
    let add = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .args(["user", "add", "ann", "--role", "auditor", "--password-stdin", "--users"])
        .arg(users.path())
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut add = add.unwrap();
    std::io::Write::write_all(&mut add.stdin.take().unwrap(), b"secret\n").unwrap();
    assert!(add.wait().unwrap().success());
    let users = users.path().to_str().unwrap();
    for (public, wanted) in [("false", 403), ("true", 200)] {
        let args = ["--host", "0.0.0.0", "--users", users, "--status-public", public];
        let site = Site::with(&[("index.html", b"page")], &args);
        let mut far = Visitor::to(format!("{ADDRESS}:{}", site.address.port()).parse().unwrap());
        assert_eq!(far.get("/").status, 200);
        for page in ["", "stats.json", "metrics", "health", "ready"] {
            assert_eq!(far.get(&format!("/_vault/{page}")).status, wanted, "{page}");
        }
        let mut near = Visitor::to(format!("127.0.0.1:{}", site.address.port()).parse().unwrap());
        assert_eq!(near.get("/_vault/").status, 200);
    }
}
