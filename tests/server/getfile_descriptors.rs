//! GetFile by way of the cache process where contents come as sealed memfds: whole in every size, and on their way whatever becomes of who gave
//! them.

use crate::getfile::{Files, ok, rest};
use crate::getfile_cache::{await_idle, begin, cache_pid, content, counted, mapped, signal_cache};
use crate::server;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use bank_vault::base::limits::SMALL_GETFILE_BYTES;
use nix::sys::signal::Signal;
use server::{await_that, send};

const LARGE: usize = 20_000_000;

fn passed(files: &Files) -> u64 {
    files.server.stats().cache_row().descriptors_passed.get()
}

/// A server of files named by their lengths, all of which are kept; every worker is connected to the cache process.
fn keeping(lengths: &[usize], args: &[&str]) -> Files {
    let files = mapped(lengths, &[&["--cache-channel", "memfd", "--getfile-cache-mb", "100"], args].concat());
    for length in lengths {
        assert!(files.get(&format!("/{length}")) == ok(&content(*length)));
    }
    let row = |files: &Files| files.server.stats().cache_row().entries.get();
    await_that("all are kept", || row(&files) == lengths.len() as u64);
    await_connected(&files, lengths[0]);
    files
}

/// Waits until each worker has got a file by descriptor.
fn await_connected(files: &Files, length: usize) {
    let stats = files.server.stats();
    let answers = |worker: usize| {
        let getfile = &stats.workers()[worker].stats.getfile;
        getfile.answers.iter().map(|counter| counter.get()).sum::<u64>()
    };
    let is_there = |worker: &usize| stats.workers()[*worker].life.pid.get() != 0;
    for worker in (0..stats.workers().len()).filter(is_there) {
        await_that("it gets descriptors", || {
            let (before, by_descriptor) = (answers(worker), passed(files));
            assert!(files.get(&format!("/{length}")) == ok(&content(length)));
            await_that("it is counted", || counted(files, |stats| stats.answers[0].get()) > 0);
            answers(worker) > before && passed(files) > by_descriptor
        });
    }
}

/// A client that has the head and some bytes of the large file, and has taken no more.
fn begin_large(files: &Files) -> TcpStream {
    let mut stream = begin(files, &format!("/{LARGE}"));
    let head = format!("GETFILE OK {LARGE}\r\n\r\n");
    let mut bytes = vec![0; head.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, head.as_bytes());
    stream
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn contents_of_every_length_come_whole_by_descriptor_to_many_at_once() {
    let small = SMALL_GETFILE_BYTES;
    let lengths = [1, 0, 279, 280, 281, 561, small - 1, small, small + 1, 1_000_003];
    let files = keeping(&lengths, &["--workers", "2", "--cache-segment-bytes", "824", "--cache-segments", "2"]);
    let (before, out) = (passed(&files), files.server.stats().cache_row().bytes_out.get());
    thread::scope(|scope| {
        for client in 0..16 {
            let files = &files;
            scope.spawn(move || {
                for turn in 0..lengths.len() {
                    let length = lengths[(client + turn) % lengths.len()];
                    assert!(files.get(&format!("/{length}")) == ok(&content(length)), "{length}");
                }
            });
        }
    });
    await_idle(&files);
    // All but those of the empty one.
    await_that("all were passed", || passed(&files) - before == 16 * (lengths.len() as u64 - 1));
    let bytes = 16 * lengths.iter().sum::<usize>() as u64;
    await_that("their bytes are counted", || files.server.stats().cache_row().bytes_out.get() - out == bytes);
    let log = files.log(lengths.len() + 16 * lengths.len());
    assert!(log.iter().filter(|line| line.ends_with(" hit")).count() >= 16 * lengths.len(), "{log:?}");
}

#[test]
fn contents_on_their_way_outlive_the_cache_process_and_have_no_segment() {
    let files = keeping(&[5, LARGE], &["--workers", "1", "--cache-segments", "1", "--worker-timeout", "20"]);
    let (killed, stopped) = (begin_large(&files), begin_large(&files));
    await_idle(&files);
    assert!(files.get("/5") == ok(&content(5)), "nobody is in the way");
    signal_cache(&files, Signal::SIGSTOP);
    assert!(rest(stopped) == content(LARGE));
    let before = cache_pid(&files);
    signal_cache(&files, Signal::SIGKILL);
    await_that("there is a successor", || ![0, before].contains(&cache_pid(&files)));
    assert!(rest(killed) == content(LARGE));
    // The successor has nothing yet; then the worker finds its way to it.
    await_connected(&files, 5);
    let log = files.log(4);
    let large: Vec<_> = log.iter().filter(|line| line.contains("/20000000")).collect();
    assert!(large.len() == 3 && large[1..].iter().all(|line| line.ends_with(" hit")), "{log:?}");
    assert_eq!(counted(&files, |stats| stats.asked_again.get()), 0);
}

#[test]
fn a_worker_that_dies_or_leaves_does_what_it_does_with_segments() {
    let files = keeping(&[5, LARGE], &["--workers", "2"]);
    // Connections go to the workers in turn.
    let streams: Vec<TcpStream> = (0..4).map(|_| begin_large(&files)).collect();
    let before = files.server.workers_now();
    let mut vaultctl = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
    let drain = vaultctl.args(["drain", "0", "--instance", &files.server.instance]).spawn().unwrap();
    let readers: Vec<_> = streams.into_iter().map(|stream| thread::spawn(move || rest(stream))).collect();
    for reader in readers {
        assert!(reader.join().unwrap() == content(LARGE), "who leaves sends all of it first");
    }
    assert!(drain.wait_with_output().unwrap().status.success());
    await_that("one of them has left", || files.server.workers_now() != before);
    let of_cache = descriptors(cache_pid(&files));
    let stream = begin_large(&files);
    files.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
    let bytes = rest(stream);
    assert!(bytes.len() < LARGE && bytes == content(LARGE)[..bytes.len()]);
    await_connected(&files, 5);
    await_idle(&files);
    await_that("the cache process has as many descriptors", || descriptors(cache_pid(&files)) == of_cache);
}

#[test]
fn no_descriptor_is_left_in_either_process() {
    let files = keeping(&[5, 100_000], &["--workers", "1"]);
    let [cache, worker] = [cache_pid(&files), files.server.workers_now()[0]];
    let before = [cache, worker].map(descriptors);
    for round in 0..500 {
        let length = if round % 2 == 0 { 5 } else { 100_000 };
        if round % 5 == 0 {
            // One that goes while it is answered.
            drop(begin(&files, &format!("/{length}")));
        }
        assert!(files.get(&format!("/{length}")) == ok(&content(length)));
    }
    await_that("as many are open as before", || [cache, worker].map(descriptors) == before);
    let purge = ["cache", "purge", "--all", "--instance", &files.server.instance];
    assert!(Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(purge).output().unwrap().status.success());
    await_that("what is forgotten is closed", || descriptors(cache) == before[0] - 2);
}
