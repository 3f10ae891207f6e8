//! GetFile's clients in great numbers on one object, and clients that reset, close or dawdle in the middle: one fetch, and nothing leaks.

use crate::getfile::Files;
use crate::getfile_cache::{await_idle, begin, content, counted, mapped};
use crate::getfile_segments::proxied;
use crate::upstream::{Got, Upstream, got, object};
use crate::{crowd, server};

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crowd::reset;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use server::{Server, await_that};

const THOUSAND: usize = 1000;

/// This process may open as many files as it is allowed to.
fn raise_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

#[test]
fn a_thousand_clients_of_one_cold_object_cost_one_fetch() {
    raise_descriptors();
    // With a segment for each of them and with few; and so that who began the fetch stays, or is gone before there is an answer.
    for (segments, first_goes) in [("1000", false), ("1000", true), ("16", true)] {
        let path = "/100001/cold";
        let upstream = Upstream::of_objects();
        upstream.hold(true);
        let args = ["--workers", "2", "--getfile-connections", "1200", "--cache-segments", segments];
        let files = proxied(&upstream, &[&args[..], &["--cache-segment-bytes", "8192"]].concat());
        let first = begin(&files, path);
        await_that("it is fetched", || upstream.asked(path) == 1);
        let others: Vec<TcpStream> = (1..THOUSAND).map(|_| begin(&files, path)).collect();
        let stats = files.server.stats();
        let row = stats.cache_row();
        let with_segment = THOUSAND.min(segments.parse().unwrap()) as u64;
        await_that("all wait", || {
            let wait = counted(&files, |stats| stats.segment_waits.get());
            row.waiting.get() == with_segment && wait + with_segment >= THOUSAND as u64
        });
        let mut all = others;
        if first_goes {
            reset(first);
            // With few segments, another has its place at once.
            await_that("it is gone", || row.waiting.get() < with_segment || with_segment < THOUSAND as u64);
        } else {
            all.push(first);
        }
        upstream.hold(false);
        let content = object(path).unwrap();
        for stream in all {
            assert_eq!(got(stream, &content), Got::Whole);
        }
        assert_eq!((upstream.asked(path), row.fetches.get(), row.errors.get() + row.refused.get()), (1, 1, 0));
        await_idle(&files);
        assert!(files.server.stop().status.success());
    }
}

/// Descriptors that the processes of a server have.
fn descriptors(server: &Server) -> Vec<usize> {
    let processes = [server.master, server.cache_now().unwrap()].into_iter().chain(server.workers.iter().copied());
    processes.map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()).collect()
}

const LENGTH: usize = 6_000_000;
const CLIENTS: u32 = 8;
const KINDS: u32 = 6;

/// One client of some kind; `served` counts those that have come to their end.
fn client(files: &Files, kind: u32, content: &[u8], served: &AtomicU32) {
    let mut stream = begin(files, &format!("/{LENGTH}"));
    let mut some = vec![0; 50_000];
    match kind {
        // Goes before there is an answer, in the middle of it, and without having read any of it.
        0 => reset(stream),
        1 => {
            stream.read_exact(&mut some).unwrap();
            reset(stream);
        }
        2 => {
            stream.peek(&mut [0]).unwrap();
            drop(stream);
        }
        // Says that it will say no more.
        3 => {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(got(stream, content), Got::Whole);
        }
        // Says more than there is to say.
        4 => {
            stream.write_all(&[b'x'; 3000]).unwrap();
            assert_eq!(got(stream, content), Got::Whole);
        }
        // Takes some, and the rest after others have come and gone. While others wait for its segment it may lose it.
        _ => {
            stream.peek(&mut [0]).unwrap();
            let before = served.load(Ordering::Relaxed);
            await_that("others are served", || served.load(Ordering::Relaxed) > before + 2);
            assert!(matches!(got(stream, content), Got::Whole | Got::Short));
        }
    }
    served.fetch_add(1, Ordering::Relaxed);
}

/// Clients of all kinds at once: some of them go through all kinds, and others, which never dawdle, come as long as they do.
fn turmoil(files: &Files, content: &[u8]) {
    let (served, dawdlers) = (AtomicU32::new(0), AtomicU32::new(CLIENTS / 2));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (served, dawdlers) = (&served, &dawdlers);
            scope.spawn(move || {
                if number < CLIENTS / 2 {
                    (0..KINDS).for_each(|round| client(files, (number + round) % KINDS, content, served));
                    dawdlers.fetch_sub(1, Ordering::Relaxed);
                } else {
                    let there_are_some = |_: &u32| dawdlers.load(Ordering::Relaxed) > 0;
                    (number..)
                        .take_while(there_are_some)
                        .for_each(|kind| client(files, kind % (KINDS - 1), content, served));
                }
            });
        }
    });
}

#[test]
fn clients_that_reset_close_or_dawdle_in_mid_transfer_leave_nothing() {
    let files = mapped(&[LENGTH], &["--workers", "2", "--cache-segments", "4"]);
    let content = content(LENGTH);
    assert_eq!(got(begin(&files, &format!("/{LENGTH}")), &content), Got::Whole);
    let before = descriptors(&files.server);
    turmoil(&files, &content);
    await_idle(&files);
    await_that("no descriptor is left", || {
        descriptors(&files.server).iter().zip(&before).all(|(now, then)| now <= then)
    });
    let row = files.server.stats();
    await_that("nobody reads", || row.cache_row().reading.get() + row.cache_row().waiting.get() == 0);
    let shown = vaultctl(&files, &["cache", "stats"]);
    assert!(shown.contains("segments  4 of 65536 bytes: free 4, claimed 0, offered 0, writing 0"), "{shown}");
    let shown: Value = serde_json::from_str(&vaultctl(&files, &["inspect", "--json"])).unwrap();
    let segments = shown["cache"]["pool"]["segments"].as_array().unwrap();
    assert!(segments.len() == 4 && segments.iter().all(|segment| segment["state"] == "free"), "{segments:?}");
    assert_eq!(row.cache_row().life.deaths.get(), 0);
    // It says that no object and no queue is left.
    assert!(files.server.stop().status.success());
}

/// What it writes for the server's instance.
fn vaultctl(files: &Files, words: &[&str]) -> String {
    let mut vaultctl = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
    let output = vaultctl.args(words).args(["--instance", &files.server.instance]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
