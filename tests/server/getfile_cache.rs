//! GetFile by way of the cache process: contents whole in every size, deaths of each side, a queue that fills, clients that are slow or go.

use crate::getfile::{Files, NOT_FOUND, ok, rest};
use crate::server;
use crate::upstream::{Upstream, whole};

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bank_vault::ipc::segment::Access;
use bank_vault::store::instance::control::WorkerState;
use bank_vault::store::instance::stats::GetFileStats;
use bank_vault::store::transfer::Pool;
use bank_vault::store::transfer::repair::is_idle;
use bank_vault::store::transfer::tickets::Memory;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use server::{await_that, send};

pub const ERROR: &[u8] = b"GETFILE ERROR\r\n\r\n";

pub fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

/// A server of files named by their lengths, which a map names as `/LENGTH`.
pub fn mapped(lengths: &[usize], args: &[&str]) -> Files {
    let map = lengths.iter().map(|length| format!("/{length} {length}\n")).collect::<String>();
    let named: Vec<_> = lengths.iter().map(|length| (length.to_string(), content(*length))).collect();
    let files = named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let files: Vec<_> = files.chain([("map", map.as_bytes())]).collect();
    Files::start(&files, "--getfile-map", "root/map", args)
}

/// A server of what an upstream has, which is 100,000 bytes for each path, and which holds its answers.
fn proxied(args: &[&str]) -> (Files, Upstream) {
    let upstream = Upstream::start(|_, stream| stream.write_all(&whole(&content(100_000))));
    upstream.hold(true);
    (Files::serving(tempfile::tempdir().unwrap(), "--getfile-upstream", &upstream.url(), args), upstream)
}

/// What all workers have counted.
pub fn counted(files: &Files, counter: impl Fn(&GetFileStats) -> u64) -> u64 {
    files.server.stats().workers().iter().map(|worker| counter(&worker.stats.getfile)).sum()
}

pub fn cache_pid(files: &Files) -> u32 {
    files.server.stats().cache_row().life.pid.get()
}

pub fn signal_cache(files: &Files, signal: Signal) {
    send(cache_pid(files), signal);
}

pub fn pool(files: &Files) -> Pool {
    Pool::open(files.server.stats().generation(), Access::Write).unwrap()
}

pub fn await_idle(files: &Files) {
    let pool = pool(files);
    await_that("all segments are free", || is_idle(&pool) && pool.tickets().longest_waiting().is_none());
}

pub fn begin(files: &Files, path: &str) -> TcpStream {
    let mut stream = files.connect();
    stream.write_all(format!("GETFILE GET {path}\r\n\r\n").as_bytes()).unwrap();
    stream
}

#[test]
fn contents_of_every_length_come_whole_to_many_at_once() {
    for (bytes, chunk, segments) in [("824", 280, "1"), ("1024", 384, "3"), ("65536", 32_640, "16")] {
        let lengths = [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1, 7 * chunk + 3, 1_000_000];
        let args = ["--workers", "2", "--cache-segment-bytes", bytes, "--cache-segments", segments];
        let files = mapped(&lengths, &args);
        thread::scope(|scope| {
            for client in 0..32 {
                let files = &files;
                scope.spawn(move || {
                    for turn in 0..lengths.len() + 1 {
                        match lengths.get((client + turn) % (lengths.len() + 1)) {
                            Some(length) => assert!(files.get(&format!("/{length}")) == ok(&content(*length))),
                            None => assert_eq!(files.get("/none"), NOT_FOUND),
                        }
                    }
                });
            }
        });
        await_idle(&files);
    }
}

#[test]
fn the_log_says_where_an_answer_came_from() {
    let files = mapped(&[5], &["--workers", "1"]);
    for (path, answer) in [("/5", ok(&content(5))), ("/5", ok(&content(5))), ("/a/../5", NOT_FOUND.to_vec())] {
        assert_eq!(files.get(path), answer);
    }
    assert_eq!(files.get("/no"), NOT_FOUND);
    let log = files.log(4);
    let last: Vec<_> = log.iter().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(last, ["miss", "hit", "-", "miss"], "{log:?}");
}

#[test]
fn requests_without_an_answer_outlive_the_cache_process_and_their_workers() {
    let (files, upstream) = proxied(&["--workers", "2", "--cache-segments", "4", "--worker-timeout", "20"]);
    let streams: Vec<TcpStream> = (0..20).map(|number| begin(&files, &format!("/{}", number % 5))).collect();
    await_that("some are asked for", || upstream.requests() >= 2);
    let before = cache_pid(&files);
    signal_cache(&files, Signal::SIGKILL);
    await_that("there is a successor", || ![0, before].contains(&cache_pid(&files)));
    await_that("it is asked again", || counted(&files, |stats| stats.asked_again.get()) >= 4);
    files.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
    let asked = upstream.requests();
    upstream.hold(false);
    for stream in streams {
        assert!(rest(stream) == ok(&content(100_000)), "{asked} were asked for");
    }
    await_idle(&files);
}

#[test]
fn contents_that_are_on_their_way_end_short_when_the_cache_process_dies() {
    let files = mapped(&[50_000_000, 5], &["--workers", "1"]);
    let mut stream = begin(&files, "/50000000");
    stream.read_exact(&mut [0; 23]).unwrap();
    signal_cache(&files, Signal::SIGKILL);
    let bytes = rest(stream);
    assert!(bytes.len() < 50_000_000 && bytes == content(50_000_000)[..bytes.len()]);
    assert_eq!(files.get("/5"), ok(&content(5)));
    let log = files.log(2);
    assert!(log.iter().any(|line| line.contains("/50000000") && line.ends_with(" miss")), "{log:?}");
    await_idle(&files);
}

#[test]
fn a_cache_process_that_is_stopped_costs_its_requests_two_seconds() {
    let files = mapped(&[5], &["--workers", "1", "--worker-timeout", "20"]);
    assert_eq!(files.get("/5"), ok(&content(5)));
    signal_cache(&files, Signal::SIGSTOP);
    let begun = Instant::now();
    assert_eq!(files.get("/5"), ERROR);
    assert!((1500..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!((files.get("/a/../5"), files.ask(&[b"PUT"])), (NOT_FOUND.to_vec(), b"GETFILE INVALID\r\n\r\n".to_vec()));
    assert_eq!(counted(&files, |stats| stats.cache_timeouts.get()), 1);
    signal_cache(&files, Signal::SIGCONT);
    await_that("it answers again", || files.get("/5") == ok(&content(5)));
    await_idle(&files);
}

#[test]
fn a_client_that_takes_nothing_gives_way_to_others() {
    let files = mapped(&[50_000_000, 5], &["--workers", "2", "--cache-segments", "1"]);
    let mut stuck = begin(&files, "/50000000");
    stuck.read_exact(&mut [0; 23]).unwrap();
    let begun = Instant::now();
    assert_eq!(files.get("/5"), ok(&content(5)));
    assert!(begun.elapsed() > Duration::from_secs(1), "it has waited for the segment");
    assert_eq!(counted(&files, |stats| stats.slow_closed.get()), 1);
    assert!(counted(&files, |stats| stats.segment_waits.get()) >= 1);
    await_idle(&files);
}

#[test]
fn clients_that_go_while_they_wait_give_back_what_they_had() {
    let (files, upstream) = proxied(&["--workers", "1", "--cache-segments", "1", "--getfile-connections", "50"]);
    let streams: Vec<TcpStream> = (0..6).map(|_| begin(&files, "/a")).collect();
    await_that("five wait for a segment", || counted(&files, |stats| stats.segment_waits.get()) == 5);
    for stream in streams {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&stream, sockopt::Linger, &at_once).unwrap();
    }
    await_idle(&files);
    upstream.hold(false);
    assert!(files.get("/a") == ok(&content(100_000)));
}

#[test]
fn a_full_queue_makes_requests_wait_in_order() {
    let files = mapped(&[5], &["--workers", "2", "--cache-segments", "64", "--worker-timeout", "20"]);
    assert_eq!(files.get("/5"), ok(&content(5)));
    signal_cache(&files, Signal::SIGSTOP);
    let streams: Vec<TcpStream> = (0..40).map(|_| begin(&files, "/5")).collect();
    await_that("the queue is full", || counted(&files, |stats| stats.queue_full.get()) >= 20);
    signal_cache(&files, Signal::SIGCONT);
    for stream in streams {
        assert_eq!(rest(stream), ok(&content(5)));
    }
    await_idle(&files);
}

#[test]
fn who_waits_when_the_server_stops_or_a_worker_leaves_is_answered() {
    let (files, upstream) = proxied(&["--workers", "2", "--cache-segments", "2"]);
    let streams: Vec<TcpStream> = (0..6).map(|_| begin(&files, "/a")).collect();
    await_that("it is asked for", || upstream.requests() == 1);
    let mut vaultctl = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
    let drained = vaultctl.args(["drain", "0", "--instance", &files.server.instance]).output().unwrap();
    assert!(drained.status.success(), "{drained:?}");
    files.server.signal(Signal::SIGTERM);
    let stats = files.server.stats();
    await_that("the workers stop", || {
        stats.workers().iter().all(|row| row.life.pid.get() == 0 || row.state() == WorkerState::Stopping)
    });
    upstream.hold(false);
    for stream in streams {
        assert!(rest(stream) == ok(&content(100_000)));
    }
}
