//! Fetches from upstreams that do what they should not.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::hostile::Hostile;
use super::{Settings, Upstream};
use crate::base::config::{BaseUrl, Roots};
use crate::base::limits::UPSTREAM_CHUNK_BYTES;
use crate::process::cache::core::{Head, Validators};
use crate::process::cache::origin::{Failure, Said, Transfer};

const TIMEOUT: Duration = Duration::from_millis(400);

/// An upstream, and what wakes its shell.
struct Shell {
    upstream: Upstream,
    woken: Receiver<()>,
}

/// How a transfer went.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    head: Option<Head>,
    content: Vec<u8>,
    last: Option<Failure>,
}

impl Shell {
    fn at(url: &str, threads: usize) -> Shell {
        Shell::patient(url, threads, TIMEOUT)
    }

    fn patient(url: &str, threads: usize, timeout: Duration) -> Shell {
        let (wake, woken) = unbounded();
        let settings = Settings { url: BaseUrl::new(url).unwrap(), timeout, roots: Roots::default(), threads };
        let upstream = Upstream::new(settings, Arc::new(move || _ = wake.send(())));
        Shell { upstream, woken }
    }

    fn of(hostile: &Hostile) -> Shell {
        Shell::at(&format!("http://{}/base/", hostile.address), 4)
    }

    fn fetch(&self, path: &str) -> Transfer {
        self.upstream.fetch(path.as_bytes(), Validators::default()).unwrap()
    }

    /// What comes next.
    fn next(&self, transfer: &Transfer) -> Said {
        loop {
            if let Some(said) = transfer.next() {
                return said;
            }
            self.woken.recv_timeout(Duration::from_secs(10)).expect("nothing is said");
        }
    }

    fn run(&self, transfer: &Transfer) -> Outcome {
        let mut outcome = Outcome { head: None, content: Vec::new(), last: None };
        loop {
            match self.next(transfer) {
                Said::Head(head) => {
                    let has_content = matches!(head, Head::Found { .. });
                    assert!(outcome.head.replace(head).is_none());
                    if !has_content {
                        return outcome;
                    }
                }
                Said::Chunk(bytes) => {
                    assert!(outcome.head.is_some() && !bytes.is_empty() && bytes.len() <= UPSTREAM_CHUNK_BYTES);
                    outcome.content.extend_from_slice(&bytes);
                }
                Said::Whole => return outcome,
                Said::Failed(failure) => {
                    outcome.last = Some(failure);
                    return outcome;
                }
            }
        }
    }
}

fn validators(etag: Option<&str>, last_modified: Option<&str>) -> Validators {
    let bytes = |text: &str| text.as_bytes().into();
    Validators { etag: etag.map(bytes), last_modified: last_modified.map(bytes) }
}

fn found(length: Option<u64>) -> Option<Head> {
    Some(Head::Found { length, validators: Validators::default() })
}

/// What becomes of one fetch that is answered with these bytes.
fn outcome(answer: impl Into<Vec<u8>>) -> Outcome {
    let hostile = Hostile::saying(answer);
    let shell = Shell::of(&hostile);
    shell.run(&shell.fetch("/a"))
}

#[test]
fn content_comes_whole() {
    for (answer, head, content) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", found(Some(5)), "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", found(Some(0)), ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", found(Some(2)), "hi"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", found(Some(2)), "hi"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", found(None), "abcde"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", found(None), ""),
        (
            "HTTP/1.1 200 OK\r\nETag: \"v\"\r\nLast-Modified: then\r\nContent-Length: 1\r\n\r\nx",
            Some(Head::Found { length: Some(1), validators: validators(Some("\"v\""), Some("then")) }),
            "x",
        ),
    ] {
        assert_eq!(outcome(answer), Outcome { head, content: content.into(), last: None }, "{answer}");
    }
}

#[test]
fn the_request_says_what_is_wanted() {
    let hostile = Hostile::saying("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let shell = Shell::of(&hostile);
    let known = validators(Some("\"v 1\""), Some("Thu, 26 Nov 2026 00:00:00 GMT"));
    shell.run(&shell.upstream.fetch(b"/a b?\xff", known).unwrap());
    let request = hostile.requests()[0].1.to_lowercase();
    for line in [
        "get /base/a%20b%3f%ff http/1.1\r\n",
        "accept-encoding: identity\r\n",
        "if-none-match: \"v 1\"\r\n",
        "if-modified-since: thu, 26 nov 2026 00:00:00 gmt\r\n",
        &format!("host: {}\r\n", hostile.address),
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
    shell.run(&shell.fetch("/b"));
    assert!(!hostile.requests()[1].1.to_lowercase().contains("if-"), "without validators all is wanted");
}

#[test]
fn what_has_no_content_is_told_by_its_status() {
    for status in [403, 404, 410] {
        let outcome = outcome(format!("HTTP/1.1 {status} No\r\nContent-Length: 3\r\n\r\nno!"));
        assert_eq!(outcome, Outcome { head: Some(Head::NotFound), content: vec![], last: None });
    }
    for status in [201, 204, 206, 304, 400, 401, 429, 500, 502, 503] {
        let outcome = outcome(format!("HTTP/1.1 {status} Hm\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(outcome.last, Some(Failure::Status(status)));
    }
    let hostile = Hostile::saying("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n");
    let shell = Shell::of(&hostile);
    let transfer = shell.upstream.fetch(b"/a", validators(Some("\"v\""), None)).unwrap();
    assert_eq!(shell.run(&transfer).head, Some(Head::NotModified));
}

#[test]
fn content_that_is_not_as_long_as_it_says_fails() {
    for (answer, content) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello", "hell"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhello", "hell"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nmore", "abc"),
    ] {
        let outcome = outcome(answer);
        assert_eq!((outcome.last, &outcome.content[..]), (Some(Failure::WrongLength), content.as_bytes()), "{answer}");
        assert!(outcome.head.is_some());
    }
}

#[test]
fn content_that_is_cut_off_by_a_reset_fails() {
    let hostile = Hostile::new(move |connection| {
        // What is not read when the connection closes has the kernel reset it.
        std::thread::sleep(Duration::from_millis(50));
        connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel");
    });
    let shell = Shell::of(&hostile);
    let outcome = shell.run(&shell.fetch("/a"));
    assert!(matches!(outcome.last, Some(Failure::WrongLength | Failure::Disconnected(_))), "{outcome:?}");
}

#[test]
fn what_cannot_be_understood_fails_before_any_content() {
    for answer in [
        &b""[..],
        b"garbage",
        b"garbage\r\n\r\n",
        b"\0\x01\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil I close",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
    ] {
        let outcome = outcome(answer);
        println!("{} | {}", answer.escape_ascii(), outcome.last.as_ref().unwrap());
        assert!(outcome.head.is_none() && outcome.content.is_empty(), "{}", answer.escape_ascii());
    }
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 1\r\n\r\nx", "y".repeat(20_000));
    assert!(outcome(long).last.is_some(), "a head has a greatest size");
    assert!(outcome("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n").last.is_some());
}

#[test]
fn an_upstream_that_is_not_there_fails_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shell = Shell::at(&format!("http://{closed}"), 1);
    assert!(matches!(shell.run(&shell.fetch("/a")).last, Some(Failure::Connect(_))));
    // TLS is spoken, or nothing.
    let plain = Hostile::saying("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    let shell = Shell::at(&format!("https://{}", plain.address), 1);
    let outcome = shell.run(&shell.fetch("/a"));
    assert!(outcome.head.is_none() && outcome.last.is_some(), "{outcome:?}");
}

#[test]
fn an_upstream_that_stalls_fails_in_time() {
    for (says, read) in [
        ("", ""),
        ("HTTP/1.1 200 OK\r\nContent-", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hel"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc"),
    ] {
        let hostile = Hostile::new(move |connection| {
            connection.request();
            connection.say(says.as_bytes());
            connection.wait_for_end();
        });
        let shell = Shell::of(&hostile);
        let began = Instant::now();
        let outcome = shell.run(&shell.fetch("/a"));
        assert!(matches!(outcome.last, Some(Failure::TimedOut(_))), "{says}: {outcome:?}");
        assert_eq!(outcome.content, read.as_bytes());
        let took = began.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT * 8, "{says}: {took:?}");
        assert_eq!(hostile.requests().len(), 1, "it is not asked again");
    }
}

#[test]
fn a_head_that_dribbles_has_a_deadline_and_content_that_dribbles_has_none() {
    let dribble = |text: &'static str, pause: Duration| {
        Hostile::new(move |connection| {
            connection.request();
            for byte in text.bytes() {
                std::thread::sleep(pause);
                connection.say(&[byte]);
            }
        })
    };
    let hostile = dribble("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", TIMEOUT / 8);
    let shell = Shell::of(&hostile);
    assert!(matches!(shell.run(&shell.fetch("/a")).last, Some(Failure::TimedOut(_))));
    let hostile = Hostile::new(move |connection| {
        connection.request();
        connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
        for byte in b"abcdef" {
            std::thread::sleep(TIMEOUT / 4);
            connection.say(&[*byte]);
        }
    });
    let shell = Shell::of(&hostile);
    assert_eq!(shell.run(&shell.fetch("/a")), Outcome { head: found(Some(6)), content: b"abcdef".into(), last: None });
}

#[test]
fn redirections_are_followed_so_far_and_to_http_only() {
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let target = Hostile::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(outcome(redirect(&format!("http://{}/x", target.address))).content, b"hi");
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/x", "http://", ""] {
        let outcome = outcome(redirect(to));
        assert!(outcome.head.is_none() && outcome.last.is_some(), "{to}: {outcome:?}");
    }
    let circle = Hostile::new(move |connection| {
        while connection.request() {
            connection.say(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let shell = Shell::of(&circle);
    assert_eq!(shell.run(&shell.fetch("/a")).last, Some(Failure::Redirected));
    assert_eq!(circle.requests().len(), 6);
}

#[test]
fn a_large_object_is_never_whole_in_memory_and_can_be_cancelled() {
    let (ended, end) = bounded(1);
    let hostile = Hostile::new(move |connection| {
        connection.request();
        connection.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 10_u64 << 30).as_bytes());
        let mut sent = 0_u64;
        while std::io::Write::write_all(&mut connection.stream, &[7; 65_536]).is_ok() {
            sent += 65_536;
        }
        ended.send(sent).unwrap();
    });
    let shell = Shell::of(&hostile);
    let transfer = shell.fetch("/a");
    assert_eq!(Some(shell.next(&transfer)), found(Some(10 << 30)).map(Said::Head));
    let mut taken = 0;
    while taken < 8 << 20 {
        let Said::Chunk(bytes) = shell.next(&transfer) else { panic!("no chunk") };
        taken += bytes.len() as u64;
    }
    // While nobody takes anything, the upstream has to wait.
    std::thread::sleep(Duration::from_millis(200));
    assert!(end.try_recv().is_err());
    drop(transfer);
    let sent = end.recv_timeout(Duration::from_secs(5)).expect("the upstream notices");
    assert!(sent < taken + (32 << 20), "{sent} bytes were sent");
}

#[test]
fn a_cancelled_fetch_gives_its_thread_back_at_once_wherever_it_is() {
    for says in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
        let (ended, end) = unbounded();
        let hostile = Hostile::new(move |connection| {
            connection.request();
            if connection.number == 0 {
                connection.say(says.as_bytes());
                ended.send(connection.wait_for_end()).unwrap();
            } else {
                connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            }
        });
        let shell = Shell::patient(&format!("http://{}", hostile.address), 1, Duration::from_secs(60));
        let first = shell.fetch("/a");
        while hostile.requests().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (second, third) = (shell.fetch("/b"), shell.fetch("/c"));
        drop(second);
        drop(first);
        assert!(end.recv_timeout(Duration::from_secs(5)).expect("it notices"));
        assert_eq!(shell.run(&third).content, b"hi");
        let paths: Vec<_> =
            hostile.requests().iter().map(|(_, head)| head.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(paths, ["/a", "/c"], "what is cancelled before it begins is never asked for");
    }
}

#[test]
fn a_connection_is_used_again_but_not_after_what_it_should_not_have_said() {
    let hostile = Hostile::new(move |connection| {
        while connection.request() {
            connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let shell = Shell::of(&hostile);
    for _ in 0..5 {
        assert_eq!(shell.run(&shell.fetch("/a")).content, b"hi");
    }
    let connections: Vec<usize> = hostile.requests().iter().map(|(number, _)| *number).collect();
    assert_eq!(connections, [0; 5]);
    // What comes later, and would be taken for the answer to the next request.
    let hostile = Hostile::new(move |connection| {
        while connection.request() {
            connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            std::thread::sleep(Duration::from_millis(50));
            connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let shell = Shell::of(&hostile);
    assert_eq!(shell.run(&shell.fetch("/a")).content, b"hi");
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(shell.run(&shell.fetch("/b")).content, b"hi");
    assert_eq!(hostile.requests()[1].0, 1, "by a connection of its own");
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_made_again_once() {
    let hostile = Hostile::new(move |connection| {
        connection.request();
        connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        // The next request comes, and is never answered.
        connection.request();
    });
    let shell = Shell::of(&hostile);
    for _ in 0..3 {
        assert_eq!(shell.run(&shell.fetch("/a")).content, b"hi");
    }
    let connections: Vec<usize> = hostile.requests().iter().map(|(number, _)| *number).collect();
    assert_eq!(connections, [0, 0, 1, 1, 2]);
}

#[test]
fn many_fetches_share_few_threads() {
    let hostile = Hostile::new(move |connection| {
        while connection.request() {
            connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            connection.say(&[b'x'; 100_000]);
        }
    });
    let shell = Shell::of(&hostile);
    let transfers: Vec<Transfer> = (0..50).map(|number| shell.fetch(&format!("/{number}"))).collect();
    for transfer in &transfers {
        assert_eq!(shell.run(transfer).content.len(), 100_000);
    }
    assert!(hostile.requests().iter().all(|(connection, _)| *connection < 4));
}
