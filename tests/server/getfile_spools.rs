//! Objects that are larger than the cache process' memory: one fetch for all who read them, whoever begins and whoever leaves.

use crate::getfile::{Files, ok, rest};
use crate::server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use bank_vault::store::cache_channel::CacheRow;
use server::await_that;

/// More than the cache has memory for.
const LENGTH: usize = 5_000_003;
const PATH: &str = "/large";

fn content() -> Vec<u8> {
    (0..LENGTH).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

/// An upstream that stops in the middle of its object until it is told to go on.
#[derive(Default)]
struct Upstream {
    is_open: Mutex<bool>,
    opened: Condvar,
    asked: Mutex<u32>,
}

impl Upstream {
    /// One connection; who has gone does not matter.
    fn serve(&self, mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines();
        let content = content();
        while let Some(Ok(_request)) = lines.next() {
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            *self.asked.lock().unwrap() += 1;
            let (first, second) = content.split_at(LENGTH / 2);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), first].concat());
            drop(self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
            let _ = stream.write_all(second);
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A server with a cache of one mebibyte, and its upstream.
fn start(args: &[&str]) -> (Files, Arc<Upstream>) {
    let upstream = Arc::new(Upstream::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let of_threads = upstream.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let upstream = of_threads.clone();
            thread::spawn(move || upstream.serve(&stream.unwrap()));
        }
    });
    let args = [&["--workers", "2", "--getfile-cache-mb", "1"], args].concat();
    let url = format!("http://{address}");
    (Files::serving(tempfile::tempdir().unwrap(), "--getfile-upstream", &url, &args), upstream)
}

fn row(files: &Files, holds: impl Fn(&CacheRow) -> bool) -> bool {
    holds(files.server.stats().cache_row())
}

fn begin(files: &Files) -> TcpStream {
    let mut stream = files.connect();
    stream.write_all(format!("GETFILE GET {PATH}\r\n\r\n").as_bytes()).unwrap();
    stream
}

/// One fetch was enough, and nothing is left of it.
fn assert_one_fetch(files: &Files, upstream: &Upstream) {
    await_that("nothing is left", || {
        row(files, |row| {
            [&row.spooled_bytes, &row.entries, &row.reading, &row.fetching].iter().all(|counter| counter.get() == 0)
        })
    });
    assert!(row(files, |row| (row.fetches.get(), row.passed_through.get(), row.misses.get()) == (1, 0, 1)));
    assert_eq!(*upstream.asked.lock().unwrap(), 1);
}

#[test]
fn many_who_take_turns_at_few_segments_share_one_fetch() {
    for segments in ["4", "1"] {
        let (files, upstream) = start(&["--cache-segments", segments]);
        let expected = ok(&content());
        let streams: Vec<TcpStream> = (0..50).map(|_| begin(&files)).collect();
        await_that("it comes", || row(&files, |row| row.spooled_bytes.get() == LENGTH as u64));
        upstream.open();
        thread::scope(|scope| {
            for stream in streams {
                let expected = &expected;
                scope.spawn(move || assert!(rest(stream) == *expected));
            }
        });
        await_that("all is counted", || row(&files, |row| row.hits.get() + row.coalesced.get() == 49));
        assert_one_fetch(&files, &upstream);
    }
}

#[test]
fn a_fetch_outlives_who_began_it_while_others_read() {
    let (files, upstream) = start(&["--cache-segments", "2"]);
    let mut first = begin(&files);
    first.read_exact(&mut [0; 100_000]).unwrap();
    let mut second = begin(&files);
    let mut begun = vec![0; 100_000];
    second.read_exact(&mut begun).unwrap();
    drop(first);
    await_that("one reads", || row(&files, |row| row.reading.get() == 1));
    let third = begin(&files);
    await_that("two read", || row(&files, |row| row.reading.get() == 2));
    upstream.open();
    let expected = ok(&content());
    assert!([begun, rest(second)].concat() == expected && rest(third) == expected);
    assert_one_fetch(&files, &upstream);
}

#[test]
fn a_fetch_that_nobody_reads_any_more_is_given_up() {
    let (files, upstream) = start(&["--cache-segments", "2"]);
    let mut only = begin(&files);
    only.read_exact(&mut [0; 100_000]).unwrap();
    drop(only);
    await_that("it is given up", || {
        row(&files, |row| row.fetching.get() == 0 && row.spooled_bytes.get() == 0 && row.reading.get() == 0)
    });
    upstream.open();
    assert!(rest(begin(&files)) == ok(&content()));
    assert_eq!(*upstream.asked.lock().unwrap(), 2);
}
