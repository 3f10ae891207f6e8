//! Clients that write down every call on some keys of the key-value store, for the [judges](crate::kv_histories::check): they follow the
//! primary, and send a write again under its request id until it is answered.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bank_vault::base::onc_rpc::Credentials;

use crate::kv_caller::{Caller, Shared, Story, Work};
use crate::kv_histories::{Call, Compared, Told, answered_once, check};
use crate::server::await_that;

/// Threads that read all keys in the end.
const READERS: usize = 16;

/// The clients.
pub struct KvCallers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Story>>,
}

impl KvCallers {
    /// Starts so many clients on four keys, whose values have `longest` bytes at most, 8 at least.
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
        KvCallers::start_with(servers, count, Work { hot: 4, cold: 0, usual: longest, longest, credentials, pause })
    }

    /// As [`KvCallers::start`], with this work.
    pub fn start_with(servers: Vec<SocketAddr>, count: u32, work: Work) -> KvCallers {
        let shared = Arc::new(Shared::new(servers, work));
        let spawn = |number| {
            let caller = Caller::new(&shared, number);
            thread::spawn(move || caller.run())
        };
        let threads = (0..count).map(spawn).collect();
        KvCallers { shared, threads }
    }

    /// Calls that are answered so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls are answered.
    pub fn await_answers(&self, more: u64) {
        let wanted = self.answered() + more;
        await_that("calls are answered", || self.answered() >= wanted);
    }

    /// Ends them, reads each key once more, and holds that what they saw has an order, and that each write has one answer.
    ///
    /// # Panics
    /// It has none.
    pub fn must_be_linearizable(mut self) -> Compared {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut told = Story::default();
        for thread in std::mem::take(&mut self.threads) {
            let Story { calls, repeats, listed, conflicts } = thread.join().unwrap();
            told.calls.extend(calls);
            told.repeats.extend(repeats);
            told.listed.extend(listed);
            told.conflicts += conflicts;
        }
        answered_once(&told.repeats).unwrap_or_else(|violation| panic!("{violation:#?}"));
        let (repeats, listed, conflicts) = (told.repeats.len(), told.listed.len(), told.conflicts);
        let mut calls = with_values(told, &self.shared.work);
        calls.extend(self.read_all(&calls));
        let compared = check(&calls).unwrap_or_else(|violation| panic!("of {} calls: {violation:#?}", calls.len()));
        println!("{compared:?}, {repeats} repeats, {listed} keys of scans, {conflicts} conflicts");
        assert!(calls.len() > 2 * compared.left_out, "most are searched: {compared:?}");
        compared
    }

    /// Reads all keys that were called.
    fn read_all(&self, calls: &[Call]) -> Vec<Call> {
        let keys: BTreeSet<u32> = calls.iter().map(|call| call.key).collect();
        let keys: Vec<u32> = keys.into_iter().collect();
        thread::scope(|scope| {
            let parts = keys.chunks(keys.len().div_ceil(READERS).max(1));
            let readers: Vec<_> = (0..)
                .map(|number| Caller::new(&self.shared, u32::MAX - number))
                .zip(parts)
                .map(|(caller, part)| scope.spawn(move || caller.read(part)))
                .collect();
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
        })
    }
}

impl Drop for KvCallers {
    /// They are gone before what they call is: what failed is to be the first thing that is told.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

/// All calls, among them those that are keys of pages: there the version says which value it was, and it must be as long.
fn with_values(told: Story, work: &Work) -> Vec<Call> {
    let Story { mut calls, listed, .. } = told;
    let values: HashMap<u64, u64> = calls.iter().filter_map(|call| Some((call.version, call.written()?))).collect();
    let of_pages = listed.into_iter().map(|(call, bytes)| {
        // A version that nobody was told of is one that no judge lets pass.
        let value = values.get(&call.version).copied().unwrap_or(u64::MAX);
        assert_eq!(work.value(value).len(), bytes as usize, "{call:?}");
        Call { told: Told::Found(value), ..call }
    });
    let of_pages: Vec<Call> = of_pages.collect();
    calls.extend(of_pages);
    calls
}
