//! Clients that write down every call on a few keys of the key-value store, for the [judges](crate::kv_histories::check): they follow the
//! primary, and send a write again under its request id until it is answered.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bank_vault::base::onc_rpc::Credentials;
use bank_vault::base::vocab::Condition;
use bank_vault::service::kv::wire::{KvRefusal, KvRequest, RequestId};

use crate::kv::{Answer, Kv, get};
use crate::kv_histories::{Asked, Call, Compared, MOST_CALLS, Told, check};
use crate::server::{DEADLINE, await_that};
use crate::turmoil::Lots;

/// Keys that are used at the same time. One that was called so often gives its place to a new one.
const KEYS: u32 = 4;
/// Calls on a key, but for the one in the end.
const CALLS: u32 = MOST_CALLS - 1;
/// A server that is silent for so long is left for another one.
const SILENCE: Duration = Duration::from_millis(1000);
/// Before the next server is tried, where one has refused.
const RETRY: Duration = Duration::from_millis(10);

/// The clients.
pub struct KvCallers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Call>>>,
}

struct Shared {
    servers: Vec<SocketAddr>,
    credentials: Credentials<'static>,
    pause: Duration,
    since: Instant,
    is_over: AtomicBool,
    answered: AtomicU64,
    /// Bytes of the longest value.
    longest: u32,
    /// How often each place was called.
    called: [AtomicU32; KEYS as usize],
}

impl KvCallers {
    /// Starts so many clients, whose values have `longest` bytes at most, 8 at least.
    pub fn start(servers: Vec<SocketAddr>, count: u32, longest: u32) -> KvCallers {
        KvCallers::start_as(Credentials::None, servers, (count, longest), Duration::ZERO)
    }

    /// As [`KvCallers::start`]; the clients say who they are, and think for so long between two calls.
    pub fn start_as(
        credentials: Credentials<'static>,
        servers: Vec<SocketAddr>,
        (count, longest): (u32, u32),
        pause: Duration,
    ) -> KvCallers {
        let shared = Arc::new(Shared {
            servers,
            credentials,
            pause,
            since: Instant::now(),
            is_over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            longest,
            called: Default::default(),
        });
        let spawn = |number| {
            let caller = Caller::new(&shared, number);
            std::thread::spawn(move || caller.run())
        };
        let threads = (0..count).map(spawn).collect();
        KvCallers { shared, threads }
    }

    /// Waits until so many more calls are answered.
    pub fn await_answers(&self, more: u64) {
        let wanted = self.shared.answered.load(Ordering::Relaxed) + more;
        await_that("calls are answered", || self.shared.answered.load(Ordering::Relaxed) >= wanted);
    }

    /// Ends them, reads each key once more, and holds that what they saw has an order.
    ///
    /// # Panics
    /// It has none.
    pub fn must_be_linearizable(mut self) -> Compared {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        let mut calls: Vec<Call> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let keys: BTreeSet<u32> = calls.iter().map(|call| call.key).collect();
        let mut last = Caller::new(&self.shared, u32::MAX);
        calls.extend(keys.into_iter().map(|key| last.call(key, Asked::Get, 0)));
        let compared = check(&calls).unwrap_or_else(|violation| panic!("of {} calls: {violation:#?}", calls.len()));
        println!("{compared:?}");
        assert!(calls.len() > 2 * compared.left_out, "most are searched: {compared:?}");
        compared
    }
}

impl Drop for KvCallers {
    /// They are gone before what they call is: what failed is to be the first thing that is told.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

struct Caller {
    shared: Arc<Shared>,
    number: u32,
    /// The server that is asked.
    at: usize,
    kv: Option<Kv>,
    sent: u32,
}

impl Caller {
    fn new(shared: &Arc<Shared>, number: u32) -> Caller {
        Caller { shared: Arc::clone(shared), number, at: 0, kv: None, sent: 0 }
    }

    fn run(mut self) -> Vec<Call> {
        let mut lots = Lots::new(u64::from(self.number) + 1);
        let mut calls = Vec::new();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            calls.push(self.call_some(&mut lots));
            self.shared.answered.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.shared.pause);
        }
        calls
    }

    fn call_some(&mut self, lots: &mut Lots) -> Call {
        self.sent += 1;
        let place = lots.below(KEYS);
        let earlier = self.shared.called[place as usize].fetch_add(1, Ordering::Relaxed);
        let key = place + KEYS * (earlier / CALLS);
        let number = u64::from(self.number) << 32 | u64::from(self.sent);
        let asked = match lots.below(8) {
            0..=2 => Asked::Put(number),
            3 => Asked::PutIfAbsent(number),
            4 => Asked::Delete,
            _ => Asked::Get,
        };
        self.call(key, asked, number)
    }

    /// Calls until there is an answer.
    fn call(&mut self, key: u32, asked: Asked, number: u64) -> Call {
        let value = value_of(number, self.shared.longest);
        let first = self.now();
        let deadline = Instant::now() + DEADLINE;
        loop {
            // A read that is asked for again is another one.
            let begin = if asked == Asked::Get { self.now() } else { first };
            let answer = self.try_call(asked, key, number, &value);
            let end = self.now();
            let told = |told, version| Call { key, begin, end, asked, told, version };
            match answer {
                Some(Answer::Found(version, value)) => return told(Told::Found(number_of(&value)), version),
                Some(Answer::Written(version)) => return told(Told::Done, version),
                Some(Answer::Mismatch(version)) => return told(Told::Mismatch, version),
                Some(Answer::Refused(KvRefusal::NotFound)) => return told(Told::NotFound, 0),
                None | Some(Answer::Refused(KvRefusal::NotPrimary | KvRefusal::NoQuorum)) => {}
                Some(other) => panic!("{asked:?} got {other:?}"),
            }
            assert!(Instant::now() < deadline, "{asked:?} is not answered");
            self.kv = None;
            self.at = (self.at + 1) % self.shared.servers.len();
            std::thread::sleep(RETRY);
        }
    }

    fn try_call(&mut self, asked: Asked, key: u32, number: u64, value: &[u8]) -> Option<Answer> {
        if self.kv.is_none() {
            let mut kv = Kv::try_connect(self.shared.servers[self.at]).ok()?;
            kv.credentials = self.shared.credentials;
            kv.stream.set_read_timeout(Some(SILENCE)).unwrap();
            // A follower would answer as of what it has, and says so only to those who ask.
            if !kv.call(&KvRequest::Status).ok().is_some_and(|told| matches!(told, Answer::Node(node) if node.primary))
            {
                return None;
            }
            self.kv = Some(kv);
        }
        let name = format!("history-{key}");
        let name = name.as_bytes();
        let mut id = RequestId::default();
        id[..4].copy_from_slice(&std::process::id().to_be_bytes());
        id[8..].copy_from_slice(&(number + 1).to_be_bytes());
        let request_id = Some(id);
        let condition = if matches!(asked, Asked::PutIfAbsent(_)) { Condition::IfAbsent } else { Condition::Always };
        let request = match asked {
            Asked::Get => get(name),
            Asked::Put(_) | Asked::PutIfAbsent(_) => KvRequest::Put { request_id, key: name, value, condition },
            Asked::Delete => KvRequest::Delete { request_id, key: name, condition },
        };
        self.kv.as_mut()?.call(&request).ok()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.since.elapsed().as_nanos()).unwrap()
    }
}

/// The value of a number: of each length up to `longest`, and half of them of that.
fn value_of(number: u64, longest: u32) -> Vec<u8> {
    let bytes = if number.is_multiple_of(2) { longest } else { 8 + Lots::new(number).below(longest - 7) };
    number.to_be_bytes().into_iter().cycle().take(bytes as usize).collect()
}

/// The number of a value, which must be whole.
fn number_of(value: &[u8]) -> u64 {
    let number = value.first_chunk().unwrap();
    assert!(value.chunks(8).all(|part| number.starts_with(part)), "a torn value: {value:02x?}");
    u64::from_be_bytes(*number)
}
