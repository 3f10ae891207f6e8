//! The shell for an hour of virtual time, with a real pool and a real upstream whose objects change, vanish and come back, and which is in
//! error at times: no answer has a status, a length or a byte that is older than what was promised, and no segment leaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::shell::Shell;
use super::upstream::hostile::{Connection, Hostile};
use crate::base::config::{BaseUrl, GetFile, GetFileCache, Settings};
use crate::ipc::event::EventFd;
use crate::ipc::names::Generation;
use crate::store::cache_channel::{CacheChannel, CacheStatus, Detail, Refusal};
use crate::store::transfer::repair::is_idle;
use crate::store::transfer::{Claimant, Next, Pool, Reader, Shape};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const TTL: u64 = 30 * SECOND;
const NEGATIVE_TTL: u64 = 5 * SECOND;
/// How long after `TTL` an entry is answered with at once.
const STALE_WHILE_REVALIDATE: u64 = TTL;
/// How long after `TTL` it is answered with while the upstream is in error, and for how long that is believed.
const STALE_IF_ERROR: u64 = 3600 * SECOND;
const RETRY: u64 = SECOND;
const OBJECT_BYTES: u64 = 100_000;
const PATHS: u64 = 12;
const WORKERS: u16 = 2;

/// What the upstream has of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    number: u64,
    /// Nothing where there is no such object.
    length: Option<usize>,
    says_length: bool,
}

/// What is wrong with the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It answers 500.
    InError,
    /// It closes the connection in the middle of a content.
    CutsOff,
}

/// What the upstream has now.
#[derive(Default)]
struct Served {
    versions: BTreeMap<String, Version>,
    fault: Option<Fault>,
}

fn bytes_of(path: &str, version: u64, length: usize) -> Vec<u8> {
    let mut bytes = format!("{path} {version} ").into_bytes().repeat(length / 5 + 1);
    bytes.truncate(length);
    bytes
}

/// Answers one request after the other, as what is served is at that moment.
fn serve(connection: &mut Connection, served: &Mutex<Served>) {
    while connection.request() {
        let request = connection.last_request().to_lowercase();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let (Version { number, length, says_length }, fault) = {
            let served = served.lock().unwrap();
            (served.versions[&path], served.fault)
        };
        let Some(length) = length.filter(|_| fault != Some(Fault::InError)) else {
            let status = if fault.is_some() { "500 Hm" } else { "404 No" };
            connection.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
            continue;
        };
        if request.contains(&format!("if-none-match: \"{number}\"\r\n")) && fault.is_none() {
            connection.say(format!("HTTP/1.1 304 Same\r\nETag: \"{number}\"\r\n\r\n").as_bytes());
            continue;
        }
        let bytes = bytes_of(&path, number, length);
        let how = if says_length { format!("Content-Length: {length}") } else { "Transfer-Encoding: chunked".into() };
        connection.say(format!("HTTP/1.1 200 OK\r\nETag: \"{number}\"\r\n{how}\r\n\r\n").as_bytes());
        if fault.is_some() {
            connection.say(&bytes[..length / 2]);
            return;
        }
        match says_length {
            true => connection.say(&bytes),
            false if length == 0 => connection.say(b"0\r\n\r\n"),
            false => connection.say(&[format!("{length:x}\r\n").as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat()),
        }
    }
}

/// A request, and what has come of it.
struct Client {
    reader: Reader<'static>,
    path: String,
    asked_ns: u64,
    /// When it was answered, by what length, and from where.
    begun: Option<(u64, u64, CacheStatus)>,
    got: Vec<u8>,
    /// Takes some bytes in each step, and not all there is.
    is_slow: bool,
}

/// How often each kind of an end has come about.
type Ends = BTreeMap<String, u32>;

struct World {
    rng: SmallRng,
    now_ns: u64,
    shell: Shell,
    channel: &'static CacheChannel,
    woken: Receiver<()>,
    claimants: Vec<Claimant<'static, Pool>>,
    clients: Vec<Client>,
    served: Arc<Mutex<Served>>,
    /// Of each path, what was there since when.
    history: BTreeMap<String, Vec<(u64, Version)>>,
    /// When the upstream was in error: from, to.
    faults: Vec<(u64, u64)>,
    purged: BTreeMap<String, u64>,
    ends: Ends,
    _folder: tempfile::TempDir,
}

fn channel() -> &'static CacheChannel {
    let generation = Generation { instance: format!("test-hour-{}", std::process::id()), boot: 1 };
    let event = || Arc::new(EventFd::new().unwrap());
    let workers = (0..WORKERS).map(|_| event()).collect();
    let channel = CacheChannel::create(&generation, Shape::new(6, 4096).unwrap(), workers, event()).unwrap();
    CacheChannel::unlink(&generation).unwrap();
    Box::leak(Box::new(channel))
}

impl World {
    fn new(upstream: &Hostile, served: Arc<Mutex<Served>>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let cache = GetFileCache {
            bytes: 250_000,
            object_bytes: OBJECT_BYTES,
            ttl: Duration::from_nanos(TTL),
            negative_ttl: Duration::from_nanos(NEGATIVE_TTL),
            ..GetFileCache::default()
        };
        let url = BaseUrl::new(&format!("http://{}", upstream.address)).unwrap();
        let getfile = GetFile { port: 1, upstream: Some(url), cache, ..GetFile::default() };
        let settings = Settings { getfile, data: folder.path().into(), ..Settings::default() };
        let (channel, (wake, woken)) = (channel(), unbounded());
        let shell = Shell::new(channel, None, &settings, Arc::new(move || _ = wake.send(())));
        let claimant = |worker| Claimant::new(&channel.pool, worker, std::process::id(), &channel.wake_ups);
        let mut world = World {
            rng: SmallRng::seed_from_u64(11),
            now_ns: HOUR,
            shell,
            channel,
            woken,
            claimants: (0..WORKERS).map(claimant).collect(),
            clients: Vec::new(),
            served,
            history: BTreeMap::new(),
            faults: Vec::new(),
            purged: BTreeMap::new(),
            ends: Ends::new(),
            _folder: folder,
        };
        (0..PATHS).for_each(|path| world.change(path));
        world
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.rng.random_range(0..many) == 0
    }

    fn path(&mut self) -> u64 {
        self.rng.random_range(0..PATHS).min(self.rng.random_range(0..PATHS))
    }

    /// From now on there is something else, or nothing.
    fn change(&mut self, path: u64) {
        let path = format!("/{path}");
        let versions = self.history.entry(path.clone()).or_default();
        let says_length = self.rng.random_range(0..3) > 0;
        let longest = if says_length { 6 } else { 5 };
        let length = [0, 1, 300, 5000, 60_000, 150_000][self.rng.random_range(0..longest)];
        let is_there = self.rng.random_range(0..4) > 0;
        let version = Version { number: versions.len() as u64, length: is_there.then_some(length), says_length };
        versions.push((self.now_ns, version));
        self.served.lock().unwrap().versions.insert(path, version);
    }

    /// Something happens at the upstream, or to what is kept.
    fn disturb(&mut self) {
        if self.one_in(8) {
            let path = self.path();
            self.change(path);
        }
        let is_faulty = self.served.lock().unwrap().fault.is_some();
        if self.one_in(if is_faulty { 15 } else { 120 }) {
            let fault = if self.one_in(2) { Fault::InError } else { Fault::CutsOff };
            self.served.lock().unwrap().fault = (!is_faulty).then_some(fault);
            match self.faults.last_mut() {
                Some((_, to)) if is_faulty => *to = self.now_ns,
                _ => self.faults.push((self.now_ns, u64::MAX)),
            }
        }
        if self.one_in(100) {
            let path = format!("/{}", self.path());
            self.shell.begin_turn(self.now_ns);
            self.shell.purge(Some(path.as_bytes()));
            self.purged.insert(path, self.now_ns);
        }
    }

    fn ask(&mut self) {
        let (number, worker) = (self.path(), self.rng.random_range(0..WORKERS));
        let is_slow = self.one_in(20) && self.clients.len() < 3;
        let claimant = &mut self.claimants[usize::from(worker)];
        let ticket = claimant.draw();
        let Some((_, id)) = claimant.claim() else {
            claimant.cancel(ticket);
            return;
        };
        let reader = Reader::new(&self.channel.pool, id, worker, &self.channel.wake_ups).unwrap();
        let path = format!("/{number}");
        self.shell.begin_turn(self.now_ns);
        assert!(self.shell.request(id, worker.into(), path.as_bytes()), "it does not come late");
        self.clients.push(Client { reader, path, asked_ns: self.now_ns, begun: None, got: Vec::new(), is_slow });
    }

    /// All that can go on does, until it rests; those who are slow take little.
    fn settle(&mut self) {
        let mut patience: BTreeMap<u32, usize> = BTreeMap::new();
        loop {
            self.shell.begin_turn(self.now_ns);
            self.shell.workers_went_on();
            let mut goes_on = self.shell.advance();
            let clients = std::mem::take(&mut self.clients);
            for mut client in clients {
                let budget =
                    patience.entry(client.reader.id().number).or_insert(if client.is_slow { 9000 } else { usize::MAX });
                let (moved, next) = client.read(self.now_ns, budget);
                goes_on |= moved;
                match next {
                    Some(end) => self.ended(&client, end),
                    None => self.clients.push(client),
                }
            }
            let counters = self.shell.core().counters();
            let rests = self.clients.iter().all(|client| client.is_slow && client.begun.is_some());
            // Only what passes through may be under way for those who are slow.
            if !goes_on && rests && counters.fetching <= self.clients.len() as u64 {
                return;
            }
            if !goes_on {
                self.woken.recv_timeout(Duration::from_secs(10)).expect("something goes on");
            }
        }
    }

    /// Whether the upstream was in error at some time in between.
    fn was_faulty(&self, from: u64, to: u64) -> bool {
        self.faults.iter().any(|fault| fault.0 <= to && fault.1 >= from)
    }

    /// What the upstream had of a path at some time in between.
    fn versions(&self, path: &str, from: u64, to: u64) -> Vec<Version> {
        let from = from.max(self.purged.get(path).copied().unwrap_or(0));
        let history = &self.history[path];
        let ends = history.iter().skip(1).map(|(since, _)| *since).chain([u64::MAX]);
        let were_there = history.iter().zip(ends).filter(|((since, _), end)| *since <= to && *end >= from);
        were_there.map(|((_, version), _)| *version).collect()
    }

    /// Holds an end against what was promised.
    fn ended(&mut self, client: &Client, end: Next) {
        let Client { path, asked_ns, begun, got, .. } = client;
        let kind = match (end, *begun) {
            (Next::End, Some((at, length, from))) => {
                let age = match from {
                    CacheStatus::Hit => TTL,
                    CacheStatus::Stale if self.was_faulty(at - RETRY, at) => TTL + STALE_IF_ERROR,
                    CacheStatus::Stale => TTL + STALE_WHILE_REVALIDATE,
                    CacheStatus::Miss | CacheStatus::Coalesced | CacheStatus::Revalidated => 0,
                };
                let allowed = self.versions(path, asked_ns - age, at);
                let is_it = |version: &Version| {
                    version.length.is_some_and(|length| *got == bytes_of(path, version.number, length))
                };
                assert!(allowed.iter().any(is_it), "{path}: {length} bytes, {from:?} at {at}, of {allowed:?}");
                assert_eq!(got.len() as u64, length);
                from.name().to_owned()
            }
            (Next::Failed(word), None) => match Refusal::from_word(word) {
                Refusal::NotFound(from) => {
                    let age = if from == CacheStatus::Hit { NEGATIVE_TTL } else { 0 };
                    let allowed = self.versions(path, asked_ns - age, self.now_ns);
                    let is_known = allowed.iter().any(|version| version.length.is_none());
                    assert!(is_known, "{path} is not found, {from:?} at {}, of {allowed:?}", self.now_ns);
                    format!("not found, {}", from.name())
                }
                Refusal::Full => panic!("{path}: there is room"),
                refusal => {
                    assert!(self.was_faulty(*asked_ns, self.now_ns), "{path}: {refusal:?} without a fault");
                    "error".to_owned()
                }
            },
            (Next::Failed(_), Some((_, length, from))) => {
                assert!(self.was_faulty(*asked_ns, self.now_ns), "{path}: {} of {length}, {from:?}", got.len());
                "short".to_owned()
            }
            other => panic!("{path}: {other:?}"),
        };
        *self.ends.entry(kind).or_default() += 1;
    }

    /// Everything comes to its end.
    fn rest(&mut self) {
        self.served.lock().unwrap().fault = None;
        self.clients.iter_mut().for_each(|client| client.is_slow = false);
        self.settle();
        self.shell.purge(None);
        self.settle();
        let counters = self.shell.core().counters();
        let left = [counters.waiting, counters.reading, counters.fetching, counters.bytes, counters.spooled_bytes];
        assert_eq!(left, [0; 5], "{counters:?}");
        assert!(is_idle(&self.channel.pool), "a segment is left");
    }
}

impl Client {
    /// Takes what is there, up to its patience. Returns whether something moved, and how it has ended.
    fn read(&mut self, now_ns: u64, budget: &mut usize) -> (bool, Option<Next>) {
        let mut moved = false;
        loop {
            let next = self.reader.poll();
            if let (None, Next::Chunk | Next::End) = (self.begun, next) {
                let begun = self.reader.begun().unwrap();
                self.begun = Some((now_ns, begun.total, Detail::from_word(begun.detail).unwrap().from));
            }
            match next {
                Next::Pending => return (moved, None),
                Next::Chunk if *budget == 0 => return (moved, None),
                Next::Chunk => {
                    let mut part = [0; 1000];
                    let count = self.reader.copy_out(&mut part);
                    self.got.extend_from_slice(&part[..count]);
                    *budget = budget.saturating_sub(count);
                    moved = true;
                }
                end => return (true, Some(end)),
            }
        }
    }
}

#[test]
fn an_hour_of_hits_mixed_with_404s_shows_nothing_stale_and_leaks_no_segment() {
    let served = Arc::new(Mutex::new(Served::default()));
    let of_upstream = served.clone();
    let upstream = Hostile::new(move |connection| serve(connection, &of_upstream));
    let mut world = World::new(&upstream, served);
    while world.now_ns < 2 * HOUR {
        world.now_ns += world.rng.random_range(1..5 * SECOND);
        world.disturb();
        for _ in 0..world.rng.random_range(0..6) {
            world.ask();
        }
        if world.one_in(30) && !world.clients.is_empty() {
            let place = world.rng.random_range(0..world.clients.len());
            drop(world.clients.swap_remove(place));
        }
        world.settle();
    }
    world.rest();
    println!("{:?} {:?}", world.ends, world.shell.core().counters());
    for kind in ["hit", "miss", "stale", "revalidated", "coalesced", "error", "not found, hit", "not found, miss"] {
        assert!(world.ends.get(kind).is_some_and(|count| *count >= 10), "{kind}: {:?}", world.ends);
    }
}
