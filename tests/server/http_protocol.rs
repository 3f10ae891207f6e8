//! HTTP/1.1 with a real server: which streams of requests are accepted, and which are not.

use crate::visitor;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use visitor::{Site, Visitor};

const PAGE: &[u8] = b"<h1>A page</h1>\n";

fn site() -> Site {
    Site::with(&[("index.html", PAGE), ("other.txt", b"other")], &["--workers", "2"])
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = site();
    let mut visitor = site.visit();
    let pair = b"GET / HTTP/1.1\r\nHost: v\r\n\r\nGET /other.txt HTTP/1.1\r\nHost: v\r\n\r\n";
    visitor.send(&pair.repeat(200));
    for _ in 0..200 {
        assert_eq!(visitor.read(false).unwrap().body, PAGE);
        assert_eq!(visitor.read(false).unwrap().body, b"other");
    }
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let site = site();
    let request = b"\r\nGET /other.txt HTTP/1.1\r\nHost: v\r\nContent-Length: 5\r\n\r\nabcde";
    let mut visitor = site.visit();
    for cut in 1..request.len() {
        visitor.send(&request[..cut]);
        visitor.send(&request[cut..]);
        assert_eq!(visitor.read(false).unwrap().body, b"other", "cut at {cut}");
    }
}

#[test]
fn bodies_are_skipped_and_bounded() {
    let site = site();
    let mut visitor = site.visit();
    let body = vec![b'x'; 65_536];
    visitor.send(b"GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 65536\r\n\r\n");
    visitor.send(&body);
    visitor.send(b"GET /other.txt HTTP/1.1\r\nHost: v\r\n\r\n");
    assert_eq!(visitor.read(false).unwrap().body, PAGE);
    assert_eq!(visitor.read(false).unwrap().body, b"other");
    visitor.send(b"GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 65537\r\n\r\n");
    assert_eq!(visitor.read(false).unwrap().status, 413);
    assert!(visitor.is_closed());
}

/// A request that two readers can understand differently gets one response, and the connection is closed. Each is followed by a
/// request that a reader would see who takes the body for longer or shorter.
#[test]
fn nobody_is_smuggled_in() {
    let site = site();
    let smuggled = "GET /other.txt HTTP/1.1\r\nHost: v\r\n\r\n";
    let length = smuggled.len();
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\nContent-Length: {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: {length}, {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: +{length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 0x{length:x}\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 18446744073709551616\r\n\r\n".to_owned(), 400),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: v\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 411),
        ("GET / HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: identity\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nContent-Length : {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nX: 1\r\n Content-Length: {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\nHost: v\nContent-Length: {length}\n\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nX: 1\nContent-Length: {length}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nX: 1\rContent-Length: {length}\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: v\r\nX: \0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: v\r\nHost: w\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: v\r\n\r\n".to_owned(), 505),
        ("POST / HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\n\r\n".to_owned(), 405),
        ("CONNECT v:80 HTTP/1.1\r\nHost: v\r\n\r\n".to_owned(), 405),
        ("GET  / HTTP/1.1\r\nHost: v\r\n\r\n".to_owned(), 400),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: v\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: v\r\n\r\n", "a".repeat(8000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: v\r\nX: {}\r\n\r\n", "a".repeat(13_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: v\r\n{}\r\n", "X: 1\r\n".repeat(100)), 431),
    ] {
        let mut visitor = site.visit();
        visitor.send(format!("{head}{smuggled}").as_bytes());
        let answer = visitor.read(false).unwrap_or_else(|error| panic!("{head:?}: {error}"));
        assert_eq!((answer.status, answer.field("connection")), (status, Some("close")), "{head:?}");
        assert!(visitor.is_closed(), "{head:?}: something came behind the answer");
        if status == 405 {
            assert_eq!(answer.field("allow"), Some("GET, HEAD"));
        }
    }
}

#[test]
fn old_clients_are_served_and_kept_only_if_they_say_so() {
    let site = site();
    let mut visitor = site.visit();
    visitor.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(visitor.read(false).unwrap().field("connection"), Some("keep-alive"));
    visitor.send(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(visitor.read(false).unwrap().body, PAGE);
    assert!(visitor.is_closed());
}

#[test]
fn a_head_that_does_not_end_is_answered_408_and_silence_is_just_ended() {
    let args = ["--http-timeout", "1", "--idle-timeout", "1"];
    let site = Site::with(&[("index.html", PAGE)], &args);
    let (mut slow, mut idle, mut body) = (site.visit(), site.visit(), site.visit());
    slow.send(b"GET / HTTP/1.1\r\nHost: v\r\n");
    assert_eq!(idle.get("/").status, 200);
    body.send(b"GET / HTTP/1.1\r\nHost: v\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(body.read(false).unwrap().status, 200);
    let start = Instant::now();
    let answer = slow.read(false).unwrap();
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    assert!(slow.is_closed() && idle.is_closed() && body.is_closed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// A connection from another address of this machine.
fn visit_from(address: &str, to: SocketAddr) -> Visitor {
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from: SocketAddr = format!("{address}:0").parse().unwrap();
    let raw = std::os::fd::AsRawFd::as_raw_fd(&made);
    bind(raw, &SockaddrStorage::from(from)).unwrap();
    connect(raw, &SockaddrStorage::from(to)).unwrap();
    Visitor::over(TcpStream::from(made))
}

#[test]
fn every_answer_has_its_line_in_the_log_with_the_real_address() {
    let mut site = site();
    let mut near = site.visit();
    near.ask("GET", "/", "Referer: http://v/\r\nUser-Agent: tests/1 \"quoted\"\r\n");
    near.ask("HEAD", "/other.txt", "");
    near.ask("GET", "/other.txt", "Range: bytes=1-2\r\n");
    near.get("/nobody");
    near.send(b"BAD\r\n\r\n");
    near.rest();
    visit_from("127.0.0.2", site.address).get("/other.txt");
    let mut lines = site.log(6);
    // Two workers wrote them; the lines of each are in order.
    lines.sort_by_key(|line| line.starts_with("127.0.0.2"));
    let wanted = [
        ("127.0.0.1", "\"GET / HTTP/1.1\" 200 16 \"http://v/\" \"tests/1 \\x22quoted\\x22\" 0."),
        ("127.0.0.1", "\"HEAD /other.txt HTTP/1.1\" 200 0 \"-\" \"-\" 0."),
        ("127.0.0.1", "\"GET /other.txt HTTP/1.1\" 206 2 \"-\" \"-\" 0."),
        ("127.0.0.1", "\"GET /nobody HTTP/1.1\" 404 "),
        ("127.0.0.1", "\"BAD\" 400 "),
        ("127.0.0.2", "\"GET /other.txt HTTP/1.1\" 200 5 \"-\" \"-\" 0."),
    ];
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, (address, rest)) in lines.iter().zip(wanted) {
        assert!(line.starts_with(&format!("{address} - - [")) && line.contains(rest), "{line} for {rest}");
        assert!(!line.contains("404 0 "), "the page is a body: {line}");
    }
    near = site.visit();
    near.get("/");
    assert!(site.server.end().status.success());
    let path = site.server.data().join("access.log");
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 7, "a stop writes what is left");
}

#[test]
fn every_accept_mode_serves_both() {
    for mode in ["dispatch", "shared", "reuseport"] {
        let site = Site::with(&[("index.html", PAGE)], &["--accept", mode, "--workers", "2"]);
        for _ in 0..20 {
            assert_eq!(site.get("/").body, PAGE, "{mode}");
        }
        let served: u64 = site.server.stats().workers().iter().map(|row| row.stats.services[1].accepted.get()).sum();
        assert_eq!(served, 20, "{mode}");
    }
}
