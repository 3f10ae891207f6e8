//! One of the [clients](crate::kv_callers) that write down every call: how it chooses what to ask for, and how it gets an answer.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bank_vault::base::onc_rpc::Credentials;
use bank_vault::base::vocab::{Condition, Lsn};
use bank_vault::service::kv::wire::{KvRefusal, KvRequest, RequestId};

use crate::kv::{Answer, Kv, get};
use crate::kv_histories::{Asked, Call, MOST_CALLS, Repeat, Seen, Told};
use crate::server::DEADLINE;
use crate::turmoil::Lots;

/// Calls on a key, but for the second one of a pair and the one in the end.
const CALLS: u32 = MOST_CALLS - 2;
/// A server that is silent for so long is left for another one.
const SILENCE: Duration = Duration::from_millis(1000);
/// Before the next server is tried, where one has refused.
const RETRY: Duration = Duration::from_millis(10);
/// Places of cold keys that one scan asks for.
const SCANNED: u32 = 10;

/// What clients ask for, and as whom.
#[derive(Clone, Copy)]
pub struct Work {
    /// Keys that are used at the same time, and get half of the calls; a key that was called often enough gives its place to a new one.
    pub hot: u32,
    /// Keys that get the other half; a multiple of [`SCANNED`], or 0.
    pub cold: u32,
    /// Bytes of half of the values; the others have fewer, 8 at least.
    pub usual: u32,
    /// Bytes of one value in 256.
    pub longest: u32,
    /// Who they say that they are.
    pub credentials: Credentials<'static>,
    /// For how long each thinks before the next call.
    pub pause: Duration,
}

impl Work {
    fn places(&self) -> u32 {
        self.hot + self.cold
    }

    /// The name of a key. Those of a place have one beginning, and those of ten places one that is shorter by a digit.
    fn name(&self, key: u32) -> String {
        let (place, generation) = (key % self.places(), key / self.places());
        // Cold places begin at a round number.
        let place = if place < self.hot { place } else { 10_000 + place - self.hot };
        format!("{place:05}/{generation:08}")
    }

    fn bytes(&self, number: u64) -> u32 {
        match Lots::new(number).below(256) {
            0 => self.longest,
            1..128 => self.usual,
            _ => 8 + Lots::new(number.rotate_left(7)).below(self.usual - 7),
        }
    }

    /// The value of a number.
    pub fn value(&self, number: u64) -> Vec<u8> {
        number.to_be_bytes().into_iter().cycle().take(self.bytes(number) as usize).collect()
    }

    /// The number of a value, which must be whole.
    fn number(&self, value: &[u8]) -> u64 {
        let number = u64::from_be_bytes(*value.first_chunk().unwrap());
        assert!(value == self.value(number), "a torn value: {value:02x?}");
        number
    }
}

/// What all clients know.
pub struct Shared {
    pub servers: Vec<SocketAddr>,
    pub since: Instant,
    pub is_over: AtomicBool,
    pub answered: AtomicU64,
    pub work: Work,
    /// How often each place was called.
    called: Vec<AtomicU32>,
}

impl Shared {
    pub fn new(servers: Vec<SocketAddr>, work: Work) -> Shared {
        Shared {
            servers,
            since: Instant::now(),
            is_over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            work,
            called: (0..work.places()).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The key that has a place now, for so many calls.
    fn key_at(&self, place: u32, calls: u32) -> u32 {
        let earlier = self.called[place as usize].fetch_add(calls, Ordering::Relaxed);
        place + self.work.places() * (earlier / CALLS)
    }
}

/// What a client has seen.
#[derive(Default)]
pub struct Story {
    pub calls: Vec<Call>,
    pub repeats: Vec<Repeat>,
    /// Keys in pages of scans: as reads whose value is not known, and how many bytes that has.
    pub listed: Vec<(Call, u32)>,
    /// Writes that were refused since their request id was that of another one.
    pub conflicts: u64,
}

/// A client.
pub struct Caller {
    shared: Arc<Shared>,
    number: u32,
    lots: Lots,
    /// The server that is asked.
    at: usize,
    kv: Option<Kv>,
    sent: u32,
    /// What it has read last, of whichever key.
    seen: Seen,
    story: Story,
}

impl Caller {
    pub fn new(shared: &Arc<Shared>, number: u32) -> Caller {
        Caller {
            shared: Arc::clone(shared),
            number,
            lots: Lots::new(u64::from(number) + 1),
            at: 0,
            kv: None,
            sent: 0,
            seen: Seen { version: 1, value: 0 },
            story: Story::default(),
        }
    }

    /// Calls until all is over.
    pub fn run(mut self) -> Story {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let calls = self.call_some();
            self.shared.answered.fetch_add(calls, Ordering::Relaxed);
            std::thread::sleep(self.shared.work.pause);
        }
        self.story
    }

    /// What is at these keys in the end.
    pub fn read(mut self, keys: &[u32]) -> Vec<Call> {
        keys.iter().map(|&key| self.call(key, Asked::Get, 0)).collect()
    }

    /// How many calls these were.
    fn call_some(&mut self) -> u64 {
        self.sent += 1;
        let Work { hot, cold, .. } = self.shared.work;
        let is_hot = cold == 0 || self.lots.below(2) == 0;
        let place = if is_hot { self.lots.below(hot) } else { hot + self.lots.below(cold) };
        let number = u64::from(self.number) << 32 | u64::from(self.sent);
        let (key, asked) = match self.lots.below(32) {
            0..9 => (self.shared.key_at(place, 1), Asked::Put(number)),
            9..12 => (self.shared.key_at(place, 1), Asked::PutIfAbsent(number)),
            12..15 => (self.shared.key_at(place, 1), Asked::Delete),
            what @ 15..19 => {
                let key = self.shared.key_at(place, 2);
                let read = self.note(key, Asked::Get, number);
                if let Told::Found(value) = read.told {
                    self.seen = Seen { version: read.version, value };
                }
                (key, if what < 18 { Asked::PutIf(self.seen, number) } else { Asked::DeleteIf(self.seen) })
            }
            19 => {
                self.scan(place);
                return 1;
            }
            _ => (self.shared.key_at(place, 1), Asked::Get),
        };
        let first = self.note(key, asked, number);
        if asked == Asked::Get || self.lots.below(8) > 0 {
            return 1;
        }
        if self.lots.below(2) == 0 {
            self.kv = None;
        }
        if self.lots.below(4) == 0 {
            self.conflict(key, number);
        } else {
            let again = self.call(key, asked, number);
            self.story.repeats.push(Repeat { first, again });
        }
        2
    }

    /// Sends another write under the id of one that was answered.
    fn conflict(&mut self, key: u32, number: u64) {
        let (name, id) = (self.shared.work.name(key), request_id(number));
        let condition = Condition::IfVersion(1 << 50);
        let request = KvRequest::Put { request_id: Some(id), key: name.as_bytes(), value: b"another", condition };
        let (.., answer) = self.ask(&request);
        assert_eq!(answer, Answer::Refused(KvRefusal::Conflict), "key {key}");
        self.story.conflicts += 1;
    }

    /// Calls, and writes down what it was told.
    fn note(&mut self, key: u32, asked: Asked, number: u64) -> Call {
        let call = self.call(key, asked, number);
        self.story.calls.push(call);
        call
    }

    /// Asks for a page of the key that has a hot place, or of those that have ten cold ones; of each key it is a read.
    fn scan(&mut self, place: u32) {
        let work = self.shared.work;
        let first = if place < work.hot { place } else { place - (place - work.hot) % SCANNED };
        let places = first..first + if place < work.hot { 1 } else { SCANNED };
        let keys: BTreeMap<String, u32> =
            places.map(|place| self.shared.key_at(place, 1)).map(|key| (work.name(key), key)).collect();
        let from = keys.keys().next().unwrap().as_bytes();
        let request =
            KvRequest::Scan { from, prefix: &from[..if place < work.hot { 6 } else { 4 }], limit: 0, after: Lsn(0) };
        let (begin, end, answer) = self.ask(&request);
        let Answer::Page(entries, more) = answer else { panic!("SCAN got {answer:?}") };
        assert!(!more && entries.is_sorted_by(|one, next| one.0 < next.0), "{entries:?}");
        let mut there: BTreeMap<&[u8], (u64, u32)> =
            entries.iter().map(|(key, version, bytes)| (key.as_slice(), (*version, *bytes))).collect();
        for (name, &key) in &keys {
            let call = |told, version| Call { key, begin, end, asked: Asked::Get, told, version };
            match there.remove(name.as_bytes()) {
                Some((version, bytes)) => self.story.listed.push((call(Told::Found(0), version), bytes)),
                None => self.story.calls.push(call(Told::NotFound, 0)),
            }
        }
    }

    fn call(&mut self, key: u32, asked: Asked, number: u64) -> Call {
        let work = self.shared.work;
        let (name, value) = (work.name(key), work.value(number));
        let (key_name, value) = (name.as_bytes(), value.as_slice());
        let request_id = Some(request_id(number));
        let condition = match asked {
            Asked::PutIfAbsent(_) => Condition::IfAbsent,
            Asked::PutIf(seen, _) | Asked::DeleteIf(seen) => Condition::IfVersion(seen.version),
            Asked::Get | Asked::Put(_) | Asked::Delete => Condition::Always,
        };
        let request = match asked {
            Asked::Get => get(key_name),
            Asked::Put(_) | Asked::PutIfAbsent(_) | Asked::PutIf(..) => {
                KvRequest::Put { request_id, key: key_name, value, condition }
            }
            Asked::Delete | Asked::DeleteIf(_) => KvRequest::Delete { request_id, key: key_name, condition },
        };
        let (begin, end, answer) = self.ask(&request);
        let (told, version) = match answer {
            Answer::Found(version, value) => (Told::Found(work.number(&value)), version),
            Answer::Written(version) => (Told::Done, version),
            Answer::Mismatch(version) => (Told::Mismatch, version),
            Answer::Refused(KvRefusal::NotFound) => (Told::NotFound, 0),
            other => panic!("{asked:?} got {other:?}"),
        };
        Call { key, begin, end, asked, told, version }
    }

    /// Asks until there is an answer: when the call began and ended, and what it got.
    fn ask(&mut self, request: &KvRequest<'_>) -> (u64, u64, Answer) {
        let is_read = matches!(request, KvRequest::Get { .. } | KvRequest::Scan { .. });
        let first = self.now();
        let deadline = Instant::now() + DEADLINE;
        loop {
            // A read that is asked for again is another one.
            let begin = if is_read { self.now() } else { first };
            match self.try_ask(request) {
                None | Some(Answer::Refused(KvRefusal::NotPrimary | KvRefusal::NoQuorum)) => {}
                Some(answer) => return (begin, self.now(), answer),
            }
            assert!(Instant::now() < deadline, "client {}: {request:?} is not answered", self.number);
            self.kv = None;
            self.at = (self.at + 1) % self.shared.servers.len();
            std::thread::sleep(RETRY);
        }
    }

    fn try_ask(&mut self, request: &KvRequest<'_>) -> Option<Answer> {
        if self.kv.is_none() {
            let mut kv = Kv::try_connect(self.shared.servers[self.at]).ok()?;
            kv.credentials = self.shared.work.credentials;
            kv.stream.set_read_timeout(Some(SILENCE)).unwrap();
            // A follower would answer as of what it has, and says so only to those who ask.
            if !kv.call(&KvRequest::Status).ok().is_some_and(|told| matches!(told, Answer::Node(node) if node.primary))
            {
                return None;
            }
            self.kv = Some(kv);
        }
        self.kv.as_mut()?.call(request).ok()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.since.elapsed().as_nanos()).unwrap()
    }
}

/// The request id of the write of that number.
fn request_id(number: u64) -> RequestId {
    let mut id = RequestId::default();
    id[..4].copy_from_slice(&std::process::id().to_be_bytes());
    id[8..].copy_from_slice(&(number + 1).to_be_bytes());
    id
}
