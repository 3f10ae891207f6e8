//! Connections of the web outlive the worker that serves them, unless it dies in the middle of an answer.

use crate::{server, visitor};

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::store::connection::slot::ConnectionSlot;
use nix::sys::signal::Signal;
use server::{await_that, send};
use visitor::{Site, Visitor};

const PAGE: &[u8] = b"<h1>A page</h1>\n";

#[test]
fn a_connection_between_two_requests_goes_on_when_its_worker_is_killed() {
    let site = Site::with(&[("index.html", PAGE)], &["--workers", "2"]);
    let mut visitors: Vec<Visitor> = (0..20).map(|_| site.visit()).collect();
    for _ in 0..3 {
        assert!(visitors.iter_mut().all(|visitor| visitor.get("/").body == PAGE));
        // Of a request whose beginning a dead worker had read the rest comes to its successor.
        visitors.iter_mut().for_each(|visitor| visitor.send(b"GET / HTTP/1.1\r\nHo"));
        await_that("what was sent is read", || {
            let unread = |slot: &ConnectionSlot| slot.moved().0.wrapping_sub(slot.progress().consumed) == 18;
            site.server.stats().connections().iter().filter(|slot| unread(slot)).count() == 20
        });
        let workers = site.server.workers_now();
        workers.iter().for_each(|worker| send(*worker, Signal::SIGKILL));
        for visitor in &mut visitors {
            visitor.send(b"st: v\r\n\r\n");
            assert_eq!(visitor.read(false).unwrap().body, PAGE);
        }
    }
    drop(visitors);
    assert_eq!(site.log(120).len(), 120, "no line was lost");
}

/// What is left of a body is not taken for a request by whoever goes on.
#[test]
fn a_body_stays_a_body_when_its_worker_is_killed() {
    let site = Site::with(&[("index.html", PAGE), ("other", b"other")], &["--workers", "1"]);
    let hidden = "GET /other HTTP/1.1\r\nHost: v\r\n\r\n";
    let mut visitor = site.visit();
    for round in 0..3 {
        let head = format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: {}\r\n\r\n", 3 * hidden.len());
        visitor.send(format!("{head}{hidden}").as_bytes());
        assert_eq!(visitor.read(false).unwrap().body, PAGE);
        await_that("so much of the body is thrown away", || {
            let idle = |slot: &ConnectionSlot| slot.moved().0 == slot.progress().consumed;
            site.server.stats().connections().iter().all(idle)
        });
        site.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
        visitor.send(hidden.repeat(2).as_bytes());
        visitor.send(b"GET / HTTP/1.1\r\nHost: v\r\n\r\n");
        assert_eq!(visitor.read(false).unwrap().body, PAGE, "round {round}");
    }
    drop(visitor);
    assert!(site.log(6).iter().all(|line| !line.contains("/other")));
}

#[test]
fn in_the_middle_of_an_answer_the_connection_ends() {
    let site = Site::with(&[("large", &vec![7; 50_000_000])], &["--workers", "1"]);
    let mut visitor = site.visit();
    visitor.send(b"GET /large HTTP/1.1\r\nHost: v\r\n\r\n");
    let length = loop {
        let line = visitor.line().unwrap();
        if let Some(length) = line.strip_prefix("Content-Length: ") {
            break length.parse::<usize>().unwrap();
        }
    };
    send(site.server.workers[0], Signal::SIGKILL);
    assert!(visitor.rest().len() < length, "and never anything that is not of the file");
    assert_eq!(site.visit().ask("HEAD", "/large", "").status, 200);
}

#[test]
fn whatever_dies_no_visitor_gets_a_wrong_byte() {
    let large: Vec<u8> = (0u32..200_000).flat_map(u32::to_le_bytes).collect();
    let site = Site::with(&[("index.html", PAGE), ("large", &large)], &["--workers", "3"]);
    let (stop, right, cut) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (site, large, stop, right, cut) = (&site, &large, &stop, &right, &cut);
            scope.spawn(move || {
                let (target, wanted): (_, &[u8]) = if number % 2 == 0 { ("/", PAGE) } else { ("/large", large) };
                let mut visitor = site.visit();
                while !stop.load(Ordering::Relaxed) {
                    visitor.send(format!("GET {target} HTTP/1.1\r\nHost: v\r\n\r\n").as_bytes());
                    match visitor.read(false) {
                        Ok(answer) => {
                            assert!(answer.status == 200 && answer.body == wanted, "{target}: {}", answer.status);
                            right.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {
                            cut.fetch_add(1, Ordering::Relaxed);
                            visitor = site.visit();
                        }
                    }
                }
            });
        }
        for round in 0..30 {
            let before = right.load(Ordering::Relaxed);
            await_that("visitors are served", || right.load(Ordering::Relaxed) > before + 20);
            let workers = site.server.workers_now();
            if let Some(worker) = workers.get(round % workers.len().max(1)) {
                send(*worker, Signal::SIGKILL);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (right, cut) = (right.into_inner(), cut.into_inner());
    println!("{right} answers, {cut} cut short");
    assert!(right >= 600 && cut <= 8 * 30, "{right} right, {cut} cut short");
}

#[test]
fn closed_connections_and_files_give_back_every_descriptor() {
    let files: Vec<(String, Vec<u8>)> = (0..50).map(|n| (format!("f{n}"), vec![7; 300_000])).collect();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    // Four open files fit the cache beside what else lies there.
    let site = Site::with(&list, &["--workers", "1", "--cache-mb", "1"]);
    let open = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (master, worker) = (site.server.master, site.server.workers[0]);
    let before = open(master);
    assert_eq!(site.get("/f0").body.len(), 300_000);
    await_that("the connection is closed", || open(master) == before);
    let mut visitors: Vec<Visitor> = (0..100).map(|_| site.visit()).collect();
    for (visitor, (name, _)) in visitors.iter_mut().zip(files.iter().cycle()) {
        assert_eq!(visitor.get(&format!("/{name}")).body.len(), 300_000);
    }
    assert!(open(master) >= before + 100);
    drop(visitors);
    await_that("the master has closed its duplicates", || open(master) == before);
    assert!(open(worker) < 50, "{} descriptors in the worker", open(worker));
}

/// Each request has a target of its own, so each line can be counted.
fn logged_once(point: CrashPoint) {
    // Their lines are more than one file has.
    const REQUESTS: usize = 1_400;
    let armed = format!("0:{}", point.name());
    let args = ["--workers", "1", "--log-rotate-mb", "1", "--log-keep", "9"];
    let mut site = Site::armed(&[("index.html", PAGE)], &args, &[(VARIABLE, &armed)]);
    let mut visitor = site.visit();
    let mut answered = Vec::new();
    for number in 0..REQUESTS {
        let target = format!("/?{number}-{}", "x".repeat(900));
        visitor.send(format!("GET {target} HTTP/1.1\r\nHost: v\r\n\r\n").as_bytes());
        match visitor.read(false) {
            Ok(_) => answered.push(target),
            // It had begun to answer; whether the line was written is not known.
            Err(_) => visitor = site.visit(),
        }
    }
    let died = site.server.stats().workers()[0].life.deaths.get();
    assert!(site.server.end().status.success(), "{point:?}");
    let logs = std::fs::read_dir(site.server.data()).unwrap().map(|entry| entry.unwrap().path());
    let logs = logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("access.log"));
    let text: String = logs.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut lines = HashMap::new();
    for line in text.lines() {
        let target = line.split(' ').nth(6).unwrap_or_else(|| panic!("{point:?}: torn: {line}"));
        *lines.entry(target).or_insert(0) += 1;
    }
    // An answer may have left in the moment in which its worker died, before it was logged; one a death.
    let lost = answered.iter().filter(|target| !lines.contains_key(target.as_str())).count();
    assert!(lost <= died as usize, "{point:?}: {lost} lines are lost");
    assert!(lines.values().all(|&times| times == 1), "{point:?}: a line is doubled");
    assert!(answered.len() + 2 >= REQUESTS, "{point:?}: {} answers", answered.len());
    // What a predecessor left half done is only found by who inherits the lock.
    assert_eq!(died, u32::from(point != CrashPoint::LogInherited), "{point:?}");
}

#[test]
fn a_worker_that_dies_at_any_step_of_logging_loses_and_doubles_no_line() {
    let points = CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("log."));
    let points: Vec<_> = points.collect();
    assert!(points.len() >= 10);
    for pair in points.chunks(2) {
        std::thread::scope(|scope| pair.iter().for_each(|point| _ = scope.spawn(|| logged_once(*point))));
    }
}

#[test]
fn workers_are_drained_and_upgraded_and_no_visitor_notices() {
    let site = Site::with(&[("index.html", PAGE), ("large", &vec![7; 3_000_000])], &["--workers", "3"]);
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let vaultctl = |words: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
            .args(words)
            .args(["--instance", &site.server.instance])
            .output()
            .unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut visitor = site.visit();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(visitor.get("/").body, PAGE);
                    assert_eq!(visitor.get("/large").body.len(), 3_000_000);
                    served.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let more = |count| {
            let before = served.load(Ordering::Relaxed);
            await_that("visitors are served", || served.load(Ordering::Relaxed) > before + count);
        };
        for words in [&["drain", "0"][..], &["drain", "1"], &["upgrade"], &["rebalance"]] {
            more(50);
            vaultctl(words);
        }
        more(50);
        stop.store(true, Ordering::Relaxed);
    });
}
