//! The core and the upstream with a shell between them that keeps bytes in vectors: what clients get are the bytes that the upstream has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::core::{Action, Answer, ContentId, Core, Event, FetchId, Head, OwnerId, Reason, RequestId, Settings};
use super::origin::{Said, Transfer};
use super::upstream::hostile::Hostile;
use super::upstream::{self, Upstream};
use crate::base::config::{BaseUrl, Roots};

/// The bytes of an object.
fn bytes_of(path: &str, length: usize) -> Vec<u8> {
    let mut bytes = path.repeat(length / path.len() + 1).into_bytes();
    bytes.truncate(length);
    bytes
}

/// The length of an object, which is its path: `/N`, and `/cN` for one that is sent in chunks.
fn length_of(path: &str) -> Option<usize> {
    path.trim_start_matches(['/', 'c']).parse().ok()
}

/// An upstream that has all these objects, and nothing else.
fn objects() -> Hostile {
    Hostile::new(|connection| {
        while connection.request() {
            let request = connection.last_request();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let Some(length) = length_of(&path) else {
                connection.say(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
                continue;
            };
            if request.to_lowercase().contains("if-none-match: v") {
                connection.say(b"HTTP/1.1 304 Same\r\nETag: v\r\n\r\n");
            } else if path.starts_with("/c") {
                connection.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: v\r\n\r\n");
                for chunk in bytes_of(&path, length).chunks(10_000) {
                    connection.say(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                connection.say(b"0\r\n\r\n");
            } else {
                connection.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: v\r\n\r\n").as_bytes());
                connection.say(&bytes_of(&path, length));
            }
        }
    })
}

/// A client that reads some bytes at a time.
struct Client {
    path: String,
    got: Vec<u8>,
    reads: Option<(ContentId, usize)>,
    is_done: bool,
}

/// The bytes of a content, from its first one that is still needed.
#[derive(Default)]
struct Bytes {
    before: usize,
    bytes: Vec<u8>,
}

struct Shell {
    core: Core,
    upstream: Upstream,
    woken: Receiver<()>,
    /// The core's time, which stands still while objects come.
    now_ns: u64,
    began: Instant,
    transfers: HashMap<FetchId, (Transfer, bool)>,
    contents: HashMap<ContentId, Bytes>,
    clients: Vec<Client>,
}

impl Shell {
    fn new(hostile: &Hostile) -> Shell {
        let (wake, woken) = unbounded();
        let settings = upstream::Settings {
            url: BaseUrl::new(&format!("http://{}", hostile.address)).unwrap(),
            timeout: Duration::from_secs(20),
            roots: Roots::default(),
            threads: 32,
        };
        let upstream = Upstream::new(settings, Arc::new(move || _ = wake.send(())));
        let core = Core::new(Settings::new(1 << 20, 400_000, 30, 10));
        let (transfers, contents) = (HashMap::new(), HashMap::new());
        let (began, clients) = (Instant::now(), Vec::new());
        Shell { core, upstream, woken, now_ns: 0, began, transfers, contents, clients }
    }

    fn handle(&mut self, event: Event, chunk: &[u8]) {
        self.core.handle(self.now_ns, event);
        while let Some(action) = self.core.next_action() {
            self.perform(action, chunk);
        }
    }

    fn perform(&mut self, action: Action, chunk: &[u8]) {
        match action {
            Action::Answer(request, answer) => self.answer(usize::try_from(request.0).unwrap(), answer),
            Action::Fetch { fetch, path, validators } => {
                self.transfers.insert(fetch, (self.upstream.fetch(&path, validators).unwrap(), false));
            }
            Action::Pause(fetch) => self.transfers.get_mut(&fetch).unwrap().1 = true,
            Action::Resume(fetch) => self.transfers.get_mut(&fetch).unwrap().1 = false,
            Action::Cancel(fetch) => _ = self.transfers.remove(&fetch),
            Action::Open { content, .. } => _ = self.contents.insert(content, Bytes::default()),
            Action::Append(content) => self.contents.get_mut(&content).unwrap().bytes.extend_from_slice(chunk),
            Action::Trim(content, before) => {
                let content = self.contents.get_mut(&content).unwrap();
                let before = usize::try_from(before).unwrap();
                content.bytes.drain(..before - content.before);
                content.before = before;
            }
            Action::Keep(_) => {}
            Action::Cut(content) => panic!("{content:?} was cut"),
            Action::Release(content) => _ = self.contents.remove(&content).unwrap(),
        }
    }

    fn answer(&mut self, client: usize, answer: Answer) {
        let client = &mut self.clients[client];
        assert!(!client.is_done && client.reads.is_none());
        match (answer, length_of(&client.path)) {
            (Answer::Found { content, length, .. }, Some(expected)) => {
                assert_eq!(length, expected as u64, "{}", client.path);
                client.reads = Some((content, expected));
            }
            (Answer::NotFound(_), None) => client.is_done = true,
            // There are more who want what passes through than that may be.
            (Answer::Error(Reason::Full), Some(400_001..)) => client.is_done = true,
            (answer, _) => panic!("{}: {answer:?}", client.path),
        }
    }

    fn ask(&mut self, path: &str) {
        let request = RequestId(self.clients.len() as u64);
        self.clients.push(Client { path: path.to_owned(), got: Vec::new(), reads: None, is_done: false });
        self.handle(Event::Requested { request, owner: OwnerId(0), path: path.as_bytes().into() }, &[]);
    }

    /// Takes what has come.
    fn take(&mut self) {
        let fetches: Vec<FetchId> = self.transfers.keys().copied().collect();
        for fetch in fetches {
            while let Some((transfer, false)) = self.transfers.get(&fetch) {
                let Some(said) = transfer.next() else { break };
                let (event, chunk, is_last) = match said {
                    Said::Head(head) => {
                        let is_last = !matches!(head, Head::Found { .. });
                        (Event::Head(fetch, head), None, is_last)
                    }
                    Said::Chunk(bytes) => (Event::Chunk(fetch, bytes.len() as u64), Some(bytes), false),
                    Said::Whole => (Event::Whole(fetch), None, true),
                    Said::Failed(failure) => panic!("{failure}"),
                };
                if is_last {
                    self.transfers.remove(&fetch);
                }
                self.handle(event, chunk.as_deref().unwrap_or_default());
            }
        }
    }

    /// Every client reads some of what is there.
    fn read(&mut self, most: usize) {
        for client in 0..self.clients.len() {
            let of = &mut self.clients[client];
            let Some((content, length)) = of.reads.filter(|_| !of.is_done) else { continue };
            let bytes = &self.contents[&content];
            let there = &bytes.bytes[of.got.len() - bytes.before..];
            of.got.extend_from_slice(&there[..there.len().min(most)]);
            let request = RequestId(client as u64);
            if of.got.len() == length {
                of.is_done = true;
                assert!(of.got == bytes_of(&of.path, length), "{}", of.path);
                self.handle(Event::Finished(request), &[]);
            } else {
                let position = of.got.len() as u64;
                self.handle(Event::Read { request, position }, &[]);
            }
        }
    }

    /// Until every client has what it wants.
    fn serve(&mut self, most: usize) {
        while self.clients.iter().any(|client| !client.is_done) {
            assert!(self.began.elapsed() < Duration::from_secs(60), "it does not end");
            self.take();
            self.read(most);
            let _ = self.woken.recv_timeout(Duration::from_millis(1));
            while self.woken.try_recv().is_ok() {}
        }
    }
}

#[test]
fn a_thousand_who_ask_for_one_cold_object_get_it_by_one_fetch() {
    let hostile = objects();
    let mut shell = Shell::new(&hostile);
    for _ in 0..1000 {
        shell.ask("/300000");
    }
    shell.serve(100_000);
    let counters = shell.core.counters();
    assert_eq!((hostile.requests().len(), counters.misses, counters.coalesced), (1, 1, 999));
}

#[test]
fn everybody_gets_the_bytes_of_what_was_asked_for() {
    let hostile = objects();
    let mut shell = Shell::new(&hostile);
    let paths = [
        "/0", "/1", "/65535", "/65536", "/65537", "/200000", "/300000", "/3000000", "/c0", "/c1", "/c100000",
        "/nothing", "/none",
    ];
    for round in 0..12 {
        for (index, path) in paths.iter().enumerate() {
            shell.ask(path);
            if (round + index) % 3 == 0 {
                shell.ask(paths[(index * 7 + round) % paths.len()]);
            }
        }
        shell.serve(20_000 + 10_000 * round);
        shell.now_ns += 16;
    }
    // There is no room for both, and nobody reads anything else.
    for path in ["/399999", "/398888"] {
        while !shell.transfers.is_empty() {
            shell.take();
        }
        shell.ask(path);
        shell.serve(100_000);
    }
    let counters = shell.core.counters();
    println!("{counters:?}");
    assert!(counters.hits > 0 && counters.stale > 0 && counters.renewed > 0 && counters.evicted > 0, "{counters:?}");
    assert!(counters.passed_through > 0 && counters.not_found > 0 && counters.bytes <= 1 << 20, "{counters:?}");
    while !shell.transfers.is_empty() {
        shell.take();
    }
    shell.core.purge_all();
    while let Some(action) = shell.core.next_action() {
        shell.perform(action, &[]);
    }
    assert!(shell.contents.is_empty());
}
