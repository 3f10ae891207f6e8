//! Upstreams that fail in every way they can, through the whole server: what the client sees, that nothing of it is kept, and that the next
//! request is served.

use crate::getfile::{Files, ok, rest};
use crate::getfile_cache::{await_idle, begin};
use crate::getfile_segments::proxied;
use crate::server::holds_soon;
use crate::upstream::{Got, Upstream, got, object, whole};

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

/// `--getfile-upstream-timeout`.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What an upstream does with a request.
enum Does {
    /// It says this, and closes.
    Says(&'static [u8]),
    /// It says this, and then nothing, until the other side closes.
    Stalls(&'static [u8]),
    /// It resets the connection.
    Resets,
    /// It says this, and closes when the client has got of it what can be got.
    Closes(&'static [u8]),
    /// The same, with a reset.
    Breaks(&'static [u8]),
    /// It says the first, and then the second byte by byte, which takes longer than the timeout.
    Drips(&'static [u8], &'static [u8]),
}
use Does::{Breaks, Closes, Drips, Resets, Says, Stalls};
use Got::{Error, NotFound, Short, Whole};

/// Each path, what the upstream does, what is to be had of it, and what the client gets. What has come in full before it was seen that
/// more comes may have gone to the client.
#[rustfmt::skip]
const ROWS: [(&str, Does, &[u8], &[Got]); 32] = [
    ("/closes-before-the-head", Says(b""), b"", &[Error]),
    ("/closes-in-the-head", Says(b"HTTP/1.1 200 OK\r\nContent-Le"), b"", &[Error]),
    ("/stalls-before-the-head", Stalls(b""), b"", &[Error]),
    ("/stalls-in-the-head", Stalls(b"HTTP/1.1 200 OK\r\n"), b"", &[Error]),
    ("/resets-before-the-head", Resets, b"", &[Error]),
    ("/drips-its-head", Drips(b"HTTP/1.1 200 OK\r\nX: ", b"a head that does not come to its end in time"), b"", &[Error]),
    ("/is-no-http", Says(b"GETFILE OK 5\r\n\r\nhello"), b"", &[Error]),
    ("/stalls-in-the-body", Stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), b"hello all", &[Short]),
    ("/stalls-before-the-body", Stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), b"hello all", &[Error]),
    ("/dies-in-the-body", Breaks(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), b"hello all", &[Short]),
    ("/is-shorter", Closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), b"hello all", &[Short]),
    ("/is-longer", Says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello"), b"hell", &[Whole, Short, Error]),
    ("/says-two-lengths", Says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello"), b"", &[Error]),
    ("/says-no-number", Says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"), b"", &[Error]),
    ("/stalls-in-a-chunk", Stalls(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), b"", &[Error]),
    ("/dies-between-chunks", Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), b"", &[Error]),
    ("/is-compressed", Says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08\x00\x00"), b"", &[Error]),
    ("/leads-to-itself", Says(b"HTTP/1.1 302 There\r\nLocation: /leads-to-itself\r\nContent-Length: 0\r\n\r\n"), b"", &[Error]),
    ("/leads-nowhere", Says(b"HTTP/1.1 302 There\r\nLocation: ftp://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"), b"", &[Error]),
    ("/is-in-error", Says(b"HTTP/1.1 500 Hm\r\nContent-Length: 5\r\n\r\nhello"), b"", &[Error]),
    ("/is-busy", Says(b"HTTP/1.1 503 Hm\r\nContent-Length: 5\r\n\r\nhello"), b"", &[Error]),
    ("/is-a-part", Says(b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nhello"), b"", &[Error]),
    ("/is-as-nobody-asked", Says(b"HTTP/1.1 304 Same\r\n\r\n"), b"", &[Error]),
    ("/is-not-there", Says(b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello"), b"", &[NotFound]),
    ("/is-secret", Says(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), b"", &[NotFound]),
    ("/is-gone", Says(b"HTTP/1.1 410 No\r\nContent-Length: 0\r\n\r\n"), b"", &[NotFound]),
    ("/has-no-bytes", Says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), b"", &[Whole]),
    ("/has-no-bytes-in-chunks", Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), b"", &[Whole]),
    ("/comes-in-chunks", Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), b"hello", &[Whole]),
    ("/is-of-an-old-upstream", Says(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), b"hello", &[Whole]),
    ("/drips", Drips(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n", b"slower than the time-out:"), b"slower than the time-out:", &[Whole]),
    ("/leads-to-another", Says(b"HTTP/1.1 301 There\r\nLocation: /another\r\nContent-Length: 0\r\n\r\n"), b"hello", &[Whole]),
];

/// Where a redirection leads. It is the path of no row: each counts how often the upstream was asked for its own.
const ANOTHER: &str = "/another";

fn behave(path: &str, stream: &mut TcpStream) -> io::Result<()> {
    let Some((_, does, ..)) = ROWS.iter().find(|(row, ..)| *row == path) else {
        let bytes = if path == ANOTHER { b"hello".to_vec() } else { object(path).ok_or(ErrorKind::NotFound)? };
        return stream.write_all(&whole(&bytes));
    };
    match does {
        Says(bytes) => stream.write_all(bytes)?,
        Stalls(bytes) => {
            stream.write_all(bytes)?;
            let _end = stream.read(&mut [0; 1]);
        }
        Resets => reset(stream)?,
        Closes(bytes) | Breaks(bytes) => {
            stream.write_all(bytes)?;
            let mut seen = SEEN.lock().unwrap();
            *seen.entry(path.to_owned()).or_default() -= 1;
            drop(SEEN_MORE.wait_while(seen, |seen| seen[path] < 0).unwrap());
            if matches!(does, Breaks(_)) {
                reset(stream)?;
            }
        }
        Drips(bytes, slowly) => {
            stream.write_all(bytes)?;
            for byte in *slowly {
                thread::sleep(2 * TIMEOUT / u32::try_from(slowly.len()).unwrap());
                stream.write_all(&[*byte])?;
            }
        }
    }
    Err(ErrorKind::Other.into())
}

/// When this is closed, it is reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

/// Of each path, how many clients more have got something than upstreams have said something.
static SEEN: Mutex<BTreeMap<String, i32>> = Mutex::new(BTreeMap::new());
static SEEN_MORE: Condvar = Condvar::new();

/// Asks for a path, and how long that took.
fn timed(files: &Files, path: &str, content: &[u8]) -> (Got, Duration) {
    let begun = Instant::now();
    let stream = begin(files, path);
    stream.peek(&mut [0]).unwrap();
    *SEEN.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    SEEN_MORE.notify_all();
    (got(stream, content), begun.elapsed())
}

#[test]
fn whatever_an_upstream_does_the_client_is_told_and_the_next_one_is_served() {
    let upstream = Upstream::start(behave);
    let files = proxied(&upstream, &["--workers", "2", "--getfile-upstream-timeout", "1", "--cache-segments", "64"]);
    thread::scope(|scope| {
        for (path, _, content, expected) in &ROWS {
            let (files, upstream) = (&files, &upstream);
            scope.spawn(move || {
                let (got, time) = timed(files, path, content);
                assert!(expected.contains(&got), "{path}: {got:?}");
                assert!(time < 4 * TIMEOUT, "{path}: {time:?}");
                let asks_again = || {
                    let asked = upstream.asked(path);
                    let again = timed(files, path, content).0;
                    assert!(expected.contains(&again), "{path}: {again:?} again");
                    upstream.asked(path) > asked
                };
                // What is whole is kept, and what is not there is remembered; of everything else nothing is. Who asks before all of that is seen
                // shares the fetch that there is.
                if matches!(expected, [Whole | NotFound]) {
                    assert!(!asks_again(), "{path}: asked {} times", upstream.asked(path));
                } else {
                    assert!((0..3).any(|_| asks_again()), "{path}: asked {} times", upstream.asked(path));
                }
                let next = format!("/70000{path}");
                assert_eq!(timed(files, &next, &object(&next).unwrap()).0, Whole, "{next}");
            });
        }
    });
    await_idle(&files);
    let stats = files.server.stats();
    let row = stats.cache_row();
    let kept = ROWS.iter().filter(|(.., expected)| **expected == [Whole]).count() + ROWS.len();
    let missing = ROWS.iter().filter(|(.., expected)| **expected == [NotFound]).count();
    // It is written when all that a turn does is done, of which clients know before.
    let shown =
        || [&row.entries, &row.negative_entries, &row.spooled_bytes, &row.fetching].map(|counter| counter.get());
    let is_all_shown = holds_soon(|| shown() == [kept as u64, missing as u64, 0, 0]);
    assert!(is_all_shown, "{:?}, and {kept} objects were whole, {missing} not there", shown());
    assert_eq!(row.life.deaths.get(), 0);
    assert!(files.server.stop().status.success());
}

#[test]
fn an_upstream_that_refuses_costs_nothing_and_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}");
    let files = Files::serving(tempfile::tempdir().unwrap(), "--getfile-upstream", &url, &["--workers", "1"]);
    for _ in 0..3 {
        let (got, time) = timed(&files, "/5/a", b"");
        assert!(got == Error && time < Duration::from_secs(2), "{got:?} after {time:?}");
    }
    let listener = TcpListener::bind(address).unwrap();
    let upstream = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _request = stream.read(&mut [0; 1000]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    assert_eq!(rest(begin(&files, "/5/a")), b"GETFILE OK 5\r\n\r\nhello");
    upstream.join().unwrap();
}

/// The bytes that a path of a URL stands for, where it is one.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut one = || match bytes.next()? {
        b'%' => {
            let digits = [bytes.next()?, bytes.next()?];
            Some(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok())
        }
        byte => Some((byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte)).then_some(byte)),
    };
    std::iter::from_fn(&mut one).collect()
}

#[test]
fn every_path_goes_to_the_upstream_as_it_is() {
    // What it gives is the path that it was asked for.
    let upstream = Upstream::start(|path, stream| stream.write_all(&whole(&decoded(path).ok_or(ErrorKind::Other)?)));
    let files = proxied(&upstream, &["--workers", "1"]);
    let longest = |byte: u8| [b"/", &vec![byte; 4095][..]].concat();
    let paths = [&b"/a%41?b#c;d"[..], b"/\x01\xff\\\"", b"//a/./b/", b"/...", &longest(b'x'), &longest(b'\xff')];
    for path in paths {
        let answer = files.ask(&[&[b"GETFILE GET ", path, b"\r\n\r\n"].concat()]);
        assert!(answer == ok(path), "{}: {}", path.escape_ascii(), answer.escape_ascii());
    }
    assert_eq!(files.get("/a/../b"), b"GETFILE FILE_NOT_FOUND\r\n\r\n");
}
