//! Hostile clients of HTTP, and an access log that cannot be written: others are served, health is always answered, memory stays
//! bounded, and the countermeasures are counted. `hostile.rs` does the same for the bank.

use crate::{crowd, server, visitor};

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bank_vault::base::limits::{ACCESS_LOG_RING_BYTES, ACCESS_LOG_WAIT_MILLISECONDS, STREAM_INPUT_BYTES, STREAM_SHARE};
use bank_vault::ipc::layout::Counter;
use bank_vault::ipc::segment::Access;
use bank_vault::store::access_log::{AccessLog, INTERVAL, Target};
use bank_vault::store::instance::stats::WorkerStats;
use crowd::{Crowd, flood, flood_over, held_by_kernel, longest, memory, reset};
use server::await_that;
use visitor::{Answer, Site, Visitor};

const MODES: [&str; 3] = ["dispatch", "shared", "reuseport"];
/// No other client waits longer. It is far more than it takes, since the machine may be busy with other tests.
const BEARABLE: Duration = Duration::from_millis(500);
/// How long the attack goes on.
const A_WHILE: Duration = Duration::from_secs(1);
/// Length of a file of zeros: more than the kernel buffers for a client that does not read.
const LARGE: u64 = 48 << 20;

fn site(args: &[&str]) -> Site {
    let own = ["--durability", "none"];
    let site = Site::with(&[("index.html", b"hello\n")], &[&own[..], args].concat());
    fs::File::create(site.path("large")).unwrap().set_len(LARGE).unwrap();
    site
}

/// What all workers have counted of something.
fn counted(site: &Site, of: impl Fn(&WorkerStats) -> &Counter) -> u64 {
    site.server.stats().workers().iter().map(|row| of(&row.stats).get()).sum()
}

fn silent(site: &Site) -> u64 {
    counted(site, |stats| &stats.services[1].silent)
}

fn evicted(site: &Site) -> u64 {
    counted(site, |stats| &stats.services[1].evicted)
}

/// A client that requests a large file and reads only the beginning of the response.
fn download(site: &Site) -> Visitor {
    let mut visitor = site.visit();
    visitor.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(visitor.line().unwrap(), "HTTP/1.1 200 OK");
    visitor
}

/// Reads a download to its end; returns whether it is complete.
fn finish(mut visitor: Visitor) -> bool {
    while !visitor.line().unwrap().is_empty() {}
    // The last request, so that the end is seen.
    visitor.send(b"GET /_vault/health HTTP/1.0\r\n\r\n");
    let rest = visitor.rest();
    rest.iter().take_while(|byte| **byte == 0).count() as u64 == LARGE
}

/// The response to a GET, after which the client closes the connection.
fn get(address: SocketAddr, target: &str) -> std::io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    let mut visitor = Visitor::over(stream);
    visitor
        .stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    visitor.read(false)
}

fn status(address: SocketAddr, target: &str) -> u16 {
    get(address, target).map_or_else(
        |error| {
            eprintln!("GET {error:?}");
            0
        },
        |answer| answer.status,
    )
}

#[test]
fn silent_connections_make_room_for_others() {
    for mode in MODES {
        let site = site(&["--http-connections", "32", "--workers", "2", "--accept", mode]);
        let _crowd: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(site.address).unwrap()).collect();
        await_that("all of them count as silent", || silent(&site) == 32);
        for _ in 0..8 {
            let begin = Instant::now();
            assert_eq!(["/_vault/health", "/_vault/ready", "/"].map(|target| status(site.address, target)), [200; 3]);
            assert!(begin.elapsed() < 2 * BEARABLE, "{mode}: {:?}", begin.elapsed());
        }
        // One after the other they need one place, or a few if a place is not free again at once.
        assert!((1..=24).contains(&evicted(&site)), "{mode}: {}", evicted(&site));
        assert_eq!(site.server.stats().workers()[0].stats.services[1].refused.get(), 0, "{mode}");
    }
}

#[test]
fn the_idle_go_first_then_who_never_asked_then_who_does_not_finish() {
    // Those that wait for their downloads must not be taken for slow readers, however long the others take.
    let site = site(&["--http-connections", "3", "--workers", "1", "--http-timeout", "60"]);
    let unfinished = {
        let mut visitor = site.visit();
        visitor.send(b"GET / HTTP/1.1\r\nHost: loc");
        visitor
    };
    let never = site.visit();
    let mut idle = site.visit();
    assert_eq!(idle.get("/").status, 200);
    await_that("all three count as silent", || silent(&site) == 3);
    let mut downloads = Vec::new();
    for (gone, mut visitor) in [idle, never, unfinished].into_iter().enumerate() {
        downloads.push(download(&site));
        assert!(visitor.is_closed() && evicted(&site) == gone as u64 + 1);
    }
    // Now all connections are in the middle of a response, and these are kept.
    let refused = get(site.address, "/").unwrap();
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert_eq!(["/_vault/health", "/_vault/ready"].map(|target| status(site.address, target)), [200; 2]);
    // A client that sends no request gets the response as well.
    assert_eq!(site.visit().read(false).unwrap().status, 503);
    for visitor in downloads {
        assert!(finish(visitor));
    }
    assert_eq!(evicted(&site), 3);
    await_that("there is room again", || status(site.address, "/") == 200);
}

#[test]
fn health_is_answered_whatever_takes_the_places() {
    for mode in MODES {
        let site = site(&["--http-connections", "4", "--workers", "2", "--accept", mode]);
        let downloads: Vec<Visitor> = (0..4).map(|_| download(&site)).collect();
        let address = site.address;
        // More and more connect, and send requests that are refused, or none.
        let crowd = Crowd::of(2, || {
            let mut held = VecDeque::new();
            move || {
                held.extend(TcpStream::connect_timeout(&address, Duration::from_secs(10)));
                if held.len() > 60 {
                    held.pop_front();
                }
                status(address, "/");
            }
        });
        await_that("they are turned away", || crowd.rounds() > 100);
        let (took, count) = longest(A_WHILE, 4 * BEARABLE, || {
            assert_eq!(["/_vault/health", "/_vault/ready"].map(|target| status(address, target)), [200; 2], "{mode}");
        });
        assert!(took < 4 * BEARABLE, "{mode}: {took:?} for one of {count} looks; {} others came", crowd.rounds());
        drop(crowd);
        drop(downloads);
    }
}

#[test]
fn streams_of_events_take_a_part_of_the_places_only() {
    let site = site(&["--http-connections", "16", "--workers", "2"]);
    let begin = |mut visitor: Visitor| {
        visitor.send(b"GET /_vault/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let line = visitor.line().unwrap();
        (visitor, line)
    };
    let may_be = 16 / usize::try_from(STREAM_SHARE).unwrap();
    let streams: Vec<_> = (0..may_be).map(|_| begin(site.visit())).collect();
    assert!(streams.iter().all(|(_, line)| line == "HTTP/1.1 200 OK"));
    assert!(begin(site.visit()).1.starts_with("HTTP/1.1 503"));
    assert_eq!(counted(&site, |stats| &stats.bounds.streams_refused), 1);
    drop(streams);
    await_that("others may look", || begin(site.visit()).1 == "HTTP/1.1 200 OK");
}

#[test]
fn who_sends_what_nobody_wants_delays_nobody_and_is_closed() {
    let site = site(&["--workers", "1"]);
    let address = site.address;
    // During an event stream; after a request that is refused; and after the last response.
    let floods: [&[u8]; 3] = [
        b"GET /_vault/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ];
    for begin in floods {
        let before = counted(&site, |stats| &stats.bounds.closed_flooding);
        let crowd = Crowd::of(1, || {
            move || {
                flood(address, begin);
            }
        });
        let mut visitor = site.visit();
        let (took, count) = longest(A_WHILE, BEARABLE, || assert_eq!(visitor.get("/").status, 200));
        assert!(took < BEARABLE, "{took:?} for one of {count} beside {:?}", String::from_utf8_lossy(begin));
        drop(crowd);
        assert!(counted(&site, |stats| &stats.bounds.closed_flooding) > before, "{:?}", String::from_utf8_lossy(begin));
    }
    let mut stream = site.visit();
    stream.send(floods[0]);
    let sent = flood_over(&mut stream.stream);
    assert!(sent < STREAM_INPUT_BYTES as u64 + held_by_kernel(), "{sent} bytes");
}

/// Requests a large file and closes the connection after the first bytes. Its log line is as long as a client can make it.
fn abort(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else { return };
    let filler = "u".repeat(480);
    let head =
        format!("GET /large?{filler} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {filler}\r\nReferer: {filler}\r\n\r\n");
    if stream.write_all(head.as_bytes()).is_ok() {
        let _ = std::io::Read::read(&mut stream, &mut [0; 1000]);
    }
    reset(stream);
}

#[test]
fn a_log_that_cannot_be_written_costs_lines_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("access.log");
    let site = site(&["--workers", "1", "--http-connections", "16", "--access-log", log.to_str().unwrap()]);
    assert_eq!(status(site.address, "/"), 200);
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let worker = site.server.workers[0];
    let (before, address) = (memory(worker), site.address);
    let crowd = Crowd::of(2, || move || abort(address));
    await_that("many have come and gone", || crowd.rounds() > 4000);
    drop(crowd);
    let grown = memory(worker).saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB more");
    // One that closes after the response, and one that stays.
    let mut visitor = site.visit();
    let (took, count) = longest(A_WHILE, 2 * BEARABLE, || {
        assert_eq!((status(address, "/"), visitor.get("/").status), (200, 200));
    });
    assert!(took < 2 * BEARABLE, "{took:?} for one of {count}");
    let dropped = counted(&site, |stats| &stats.bounds.log_dropped);
    assert!(dropped > 1000, "{dropped}");
    await_that("it is said", || site.server.stderr().contains("lines were dropped"));
    assert_eq!(site.server.stderr().matches("lines were dropped").count(), 1, "once in a minute");
    // The lines in memory are written as soon as possible, and then all others.
    fs::remove_dir(&log).unwrap();
    await_that("it is written again", || {
        fs::read_to_string(&log).is_ok_and(|text| text.len() >= ACCESS_LOG_RING_BYTES / 2)
    });
    assert_eq!(visitor.get("/?again").status, 200);
    site.server.signal(nix::sys::signal::Signal::SIGUSR1);
    await_that("it goes on", || fs::read_to_string(&log).unwrap().contains("/?again"));
}

#[test]
fn a_log_that_hangs_is_waited_for_once() {
    let site = site(&["--workers", "2", "--http-connections", "16"]);
    // As if a disk did not come back from a write: somebody has the lock, and keeps it.
    let target =
        Target { path: site.server.data().join("access.log"), rotate_bytes: u64::MAX, keep: 1, interval: INTERVAL };
    let log = AccessLog::open(site.server.stats().generation(), Access::Write, target).unwrap();
    let held = log.lock();
    let mut visitors: Vec<Visitor> = (0..4).map(|_| site.visit()).collect();
    let target = format!("/?{}", "q".repeat(1000));
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..400 {
        for visitor in &mut visitors {
            let start = Instant::now();
            assert_eq!(visitor.get(&target).status, 200);
            longest = longest.max(start.elapsed());
        }
    }
    let wait = Duration::from_millis(ACCESS_LOG_WAIT_MILLISECONDS);
    assert!(
        longest < wait + 2 * BEARABLE && begin.elapsed() < 3 * wait + 4 * BEARABLE,
        "{longest:?}, {:?}",
        begin.elapsed()
    );
    assert!(counted(&site, |stats| &stats.bounds.log_dropped) > 1000);
    drop(held);
    await_that("it is written again", || log.rings().iter().all(|ring| ring.pending() == 0));
    assert_eq!(site.get("/?again").status, 200);
    site.server.signal(nix::sys::signal::Signal::SIGUSR1);
    await_that("it goes on", || fs::read_to_string(site.server.data().join("access.log")).unwrap().contains("/?again"));
}
