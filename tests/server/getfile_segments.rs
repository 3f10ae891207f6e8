//! GetFile through few segments of every size: 64 clients at once, and contents that are larger than any memory.

use crate::getfile::Files;
use crate::getfile_cache::{await_idle, begin, cache_pid};
use crate::upstream::{Got, Upstream, got, object};
use crate::{crowd, server};

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crowd::{held_by_kernel, memory};
use server::await_that;

const CLIENTS: usize = 64;
const ROUNDS: usize = 10;
const GIBIBYTE: u64 = 1 << 30;

/// A server of what `upstream` has.
pub fn proxied(upstream: &Upstream, args: &[&str]) -> Files {
    Files::serving(tempfile::tempdir().unwrap(), "--getfile-upstream", &upstream.url(), args)
}

/// What a client asks for in a round, and what it is to get: what others have asked for, what nobody has, and what is not there.
fn request(client: usize, round: usize, lengths: &[usize]) -> (String, Got) {
    let length = lengths[(client + round) % lengths.len()];
    match (client + round) % 3 {
        0 => (format!("/{length}/hot"), Got::Whole),
        1 => (format!("/{length}/{client}-{round}"), Got::Whole),
        _ => (format!("/none-{client}"), Got::NotFound),
    }
}

/// Begin and end of each request of all clients at once.
fn crowd(files: &Files, lengths: &[usize]) -> Vec<(Instant, Instant)> {
    let one = |client: usize| {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let (path, expected) = request(client, round, lengths);
            let content = object(&path).unwrap_or_default();
            let begun = Instant::now();
            assert_eq!(got(begin(files, &path), &content), expected, "{path}");
            times.push((begun, Instant::now()));
        }
        times
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || one(client))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn through_one_segment_64_clients_get_all_in_turn() {
    for (bytes, chunk) in [("824", 280), ("1024", 384), ("1048576", 524_160)] {
        let many = if chunk < 1000 { 100 * chunk + 1 } else { 2 * chunk + 1 };
        let lengths = [0, chunk - 1, chunk, chunk + 1, many];
        let upstream = Upstream::of_objects();
        let args = ["--workers", "2", "--cache-segments", "1", "--cache-segment-bytes", bytes];
        let files = proxied(&upstream, &args);
        let begun = Instant::now();
        let times = crowd(&files, &lengths);
        // Those that came later and went earlier, as clients see it, who may wait for a processor as well. Who starves is overtaken by nearly
        // all that come.
        let overtaken = |&(begun, ended): &(Instant, Instant)| {
            times.iter().filter(|(other, their_end)| *other > begun && *their_end < ended).count()
        };
        let most = times.iter().map(overtaken).max().unwrap();
        println!("segments of {bytes} bytes: {:?}, {most} overtook one", begun.elapsed());
        assert!(most <= times.len() / 2, "{most} of {} overtook one", times.len());
        await_idle(&files);
        assert!(files.server.stop().status.success());
    }
}

#[test]
fn a_segment_below_its_header_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("map"), "/a a\n").unwrap();
    let map = home.path().join("map");
    for bytes in ["0", "255", "256", "823", "1073741825"] {
        let args = ["--getfile-port", "7000", "--getfile-map", map.to_str().unwrap(), "--cache-segment-bytes", bytes];
        let output = server::master(&server::unused_name(), &home.path().join("data"), &args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("cache-segment-bytes"), "{bytes}: {said}");
        assert!(said.contains("824"), "it says what is the least: {said}");
    }
}

/// Reads a content to its end, and calls `take` with each part and where it begins. Returns how many bytes there were.
fn read_all(stream: &mut TcpStream, mut take: impl FnMut(u64, &[u8])) -> u64 {
    let (mut buffer, mut position) = (vec![0; 1 << 20], 0);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return position;
        }
        take(position, &buffer[..count]);
        position += count as u64;
    }
}

/// The head of an answer, up to its empty line.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A file that is larger than may be kept passes through, and each of its bytes comes where it is. `VAULT_TEST_GIBIBYTES` says how large.
#[test]
fn a_sparse_file_comes_whole() {
    let gibibytes: u64 = std::env::var("VAULT_TEST_GIBIBYTES").map_or(1, |text| text.parse().unwrap());
    let length = gibibytes * GIBIBYTE + 5;
    let files =
        Files::start(&[("map", b"/sparse sparse\n")], "--getfile-map", "root/map", &["--getfile-object-mb", "8"]);
    let sparse = File::create(files.root("sparse")).unwrap();
    sparse.set_len(length).unwrap();
    // All that is not a hole: each of these says where it is.
    let marks: Vec<u64> = (0..gibibytes * 16).map(|part| part * GIBIBYTE / 16 + part % 7).chain([length - 8]).collect();
    marks.iter().for_each(|mark| sparse.write_all_at(&(mark + 1).to_le_bytes(), *mark).unwrap());
    let begun = Instant::now();
    let mut stream = begin(&files, "/sparse");
    assert_eq!(head(&mut stream), format!("GETFILE OK {length}\r\n\r\n"));
    let mut expected = vec![0; 1 << 20];
    let got = read_all(&mut stream, |position, part| {
        let places = marks.iter().flat_map(|mark| (*mark..).zip((mark + 1).to_le_bytes()));
        let here = places.filter(|(place, _)| (position..position + part.len() as u64).contains(place));
        let here: Vec<_> = here.map(|(place, byte)| (usize::try_from(place - position).unwrap(), byte)).collect();
        here.iter().for_each(|&(at, byte)| expected[at] = byte);
        assert!(part == &expected[..part.len()], "other bytes after {position}");
        here.iter().for_each(|&(at, _)| expected[at] = 0);
    });
    println!("{length} bytes in {:?}", begun.elapsed());
    assert_eq!(got, length);
    assert!(memory(cache_pid(&files)) < 64 * 1024, "{} KiB", memory(cache_pid(&files)));
    await_idle(&files);
}

/// An upstream whose `/known` has 10 GiB and says so, and whose `/unknown` does not say so; what was sent of it so far, and whether it
/// was told that nobody wants more.
fn endless() -> (Upstream, Arc<AtomicU64>, Arc<AtomicBool>) {
    let (sent, is_refused) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
    let (of_thread, of_refusal) = (sent.clone(), is_refused.clone());
    let upstream = Upstream::start(move |path, stream| {
        let is_known = path == "/known";
        let length = 10 * GIBIBYTE;
        let says = if is_known { format!("Content-Length: {length}") } else { "Transfer-Encoding: chunked".to_owned() };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{says}\r\n\r\n").as_bytes())?;
        let part = [7; 65_536];
        for _ in 0..length / part.len() as u64 {
            let sent = if is_known { stream.write_all(&part) } else { chunk(stream, &part) };
            if sent.is_err() {
                of_refusal.store(true, Ordering::Relaxed);
                return sent;
            }
            of_thread.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    });
    (upstream, sent, is_refused)
}

/// Sends one chunk, as HTTP has it.
fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

#[test]
fn of_10_gib_no_more_is_fetched_than_is_read() {
    let (upstream, sent, is_refused) = endless();
    let files = proxied(&upstream, &["--workers", "1", "--getfile-object-mb", "8"]);
    let before = memory(cache_pid(&files));
    let mut stream = begin(&files, "/known");
    assert_eq!(head(&mut stream), "GETFILE OK 10737418240\r\n\r\n");
    let mut part = vec![0; 32 << 20];
    stream.read_exact(&mut part).unwrap();
    assert!(part.iter().all(|byte| *byte == 7));
    // It reads nothing any more: all that moves comes to rest, and the upstream waits.
    let mut last = (0, Instant::now());
    await_that("nothing moves", || {
        let now = sent.load(Ordering::Relaxed);
        last = if now == last.0 { last } else { (now, Instant::now()) };
        last.1.elapsed() > Duration::from_millis(200)
    });
    let grown = memory(cache_pid(&files)).saturating_sub(before);
    println!("{} bytes were sent, and memory has grown by {grown} KiB", last.0);
    // Of what it did not read, some is in the kernel: of its own connection, and of that to the upstream.
    let most = (48 << 20) + 2 * held_by_kernel();
    assert!(last.0 < most && grown < 16 * 1024, "{} bytes were sent, and memory has grown by {grown} KiB", last.0);
    drop(stream);
    await_that("the upstream is told", || is_refused.load(Ordering::Relaxed));
    await_idle(&files);
    let row = files.server.stats();
    await_that("nothing is under way", || row.cache_row().fetching.get() + row.cache_row().reading.get() == 0);
}

#[test]
fn of_10_gib_of_unknown_length_no_more_is_fetched_than_may_be_kept() {
    let (upstream, sent, is_refused) = endless();
    let files = proxied(&upstream, &["--workers", "1", "--getfile-object-mb", "8"]);
    let before = memory(cache_pid(&files));
    assert_eq!(got(begin(&files, "/unknown"), &[]), Got::Error);
    await_that("the upstream is told", || is_refused.load(Ordering::Relaxed));
    let grown = memory(cache_pid(&files)).saturating_sub(before);
    let sent = sent.load(Ordering::Relaxed);
    assert!(
        sent < (16 << 20) + held_by_kernel() && grown < 16 * 1024,
        "{sent} bytes were sent, and memory has grown by {grown} KiB"
    );
    await_that("its spool is gone", || files.server.stats().cache_row().spooled_bytes.get() == 0);
}
