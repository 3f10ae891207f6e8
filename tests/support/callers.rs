//! Clients that write down every call on a few accounts, for [`check`](crate::linearizable::check) and
//! [its like](crate::short_histories::check): they follow the primary, and send a
//! write again under its key until it is answered.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bank_vault::base::vocab::AccountId;
use bank_vault::service::bank::wire::{Request, Response, Status};

use crate::bank::{Bank, deposit, transfer, withdraw};
use crate::linearizable::{Asked, Call, Compared, check};
use crate::server::{DEADLINE, await_that};
use crate::short_histories;
use crate::turmoil::Lots;

/// What each account holds at the beginning.
const OPENING: i64 = 100_000;
/// The accounts: these and no more, and nobody else may use them.
pub const ACCOUNTS: u32 = 5;
/// A server that is silent for so long is left for another one.
const SILENCE: Duration = Duration::from_millis(500);
/// Before the next server is tried, where one has refused.
const RETRY: Duration = Duration::from_millis(10);

/// The clients.
pub struct Callers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Call>>>,
}

struct Shared {
    servers: Vec<SocketAddr>,
    since: Instant,
    is_over: AtomicBool,
    answered: AtomicU64,
}

impl Callers {
    /// Starts so many clients.
    pub fn start(servers: Vec<SocketAddr>, count: u32) -> Callers {
        let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { servers, since: Instant::now(), is_over, answered });
        let spawn = |number| {
            let caller = Caller { shared: Arc::clone(&shared), number, at: 0, bank: None, sent: 0 };
            std::thread::spawn(move || caller.run())
        };
        let threads = (0..count).map(spawn).collect();
        Callers { shared, threads }
    }

    /// Waits until so many more calls are answered.
    pub fn await_answers(&self, more: u64) {
        let wanted = self.shared.answered.load(Ordering::Relaxed) + more;
        await_that("calls are answered", || self.shared.answered.load(Ordering::Relaxed) >= wanted);
    }

    /// Waits until another call is answered, or for as long as one may take.
    pub fn await_some_time(&self) {
        let before = self.shared.answered.load(Ordering::Relaxed);
        let until = Instant::now() + SILENCE;
        while self.shared.answered.load(Ordering::Relaxed) == before && Instant::now() < until {
            std::thread::sleep(RETRY);
        }
    }

    /// Ends them; all that they have called.
    pub fn finish(mut self) -> Vec<Call> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }

    /// Ends them, and holds that what they saw has an order, by both judges.
    ///
    /// # Panics
    /// It has none.
    pub fn must_be_linearizable(self) -> Compared {
        let calls = self.finish();
        let compared =
            check(OPENING, &calls).unwrap_or_else(|violation| panic!("of {} calls: {violation:#?}", calls.len()));
        let searched = short_histories::check(OPENING, &calls).unwrap_or_else(|none| panic!("{none:#?}"));
        println!("{searched:?}");
        assert!(searched.shares > searched.left_out, "most are searched: {searched:?}");
        compared
    }
}

impl Drop for Callers {
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
    bank: Option<Bank>,
    sent: u64,
}

impl Caller {
    fn run(mut self) -> Vec<Call> {
        let mut lots = Lots::new(u64::from(self.number) + 1);
        let mut calls = Vec::new();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            calls.push(self.call(some_call(&mut lots)));
            self.shared.answered.fetch_add(1, Ordering::Relaxed);
        }
        calls
    }

    /// Calls until there is an answer.
    fn call(&mut self, asked: Asked) -> Call {
        self.sent += 1;
        let mut key = [0; 16];
        key[..4].copy_from_slice(&std::process::id().to_be_bytes());
        key[4..8].copy_from_slice(&self.number.to_be_bytes());
        key[8..].copy_from_slice(&self.sent.to_be_bytes());
        let (request, key) = match asked {
            Asked::Deposit { account, amount } => (deposit(account, amount), Some(key)),
            Asked::Withdraw { account, amount } => (withdraw(account, amount), Some(key)),
            Asked::Transfer { from, to, amount } => (transfer(from, to, amount), Some(key)),
            Asked::Read { account } => (Request::Balance { account: AccountId(account) }, None),
        };
        let first = self.now();
        let deadline = Instant::now() + DEADLINE;
        loop {
            // A read that is asked for again is another one.
            let begin = if key.is_some() { first } else { self.now() };
            let answer = self.try_call(&request, key);
            let end = self.now();
            let lsn = self.bank.as_ref().and_then(|bank| bank.lsn).map_or(0, |lsn| lsn.0);
            let done = |balances| Call { begin, end, asked, lsn, balances };
            match answer {
                Some(
                    Response::Deposit { balance } | Response::Withdraw { balance } | Response::Balance { balance },
                ) => {
                    return done([balance.0, 0]);
                }
                Some(Response::Transfer { from_balance, to_balance }) => return done([from_balance.0, to_balance.0]),
                None => {}
                Some(Response::Error { status, .. }) if is_to_be_repeated(status) => {}
                Some(other) => panic!("{asked:?} got {other:?}"),
            }
            assert!(Instant::now() < deadline, "{asked:?} is not answered");
            self.bank = None;
            self.at = (self.at + 1) % self.shared.servers.len();
            std::thread::sleep(RETRY);
        }
    }

    fn try_call(&mut self, request: &Request<'_>, key: Option<[u8; 16]>) -> Option<Response> {
        if self.bank.is_none() {
            let mut bank = Bank::try_connect(self.shared.servers[self.at]).ok()?;
            bank.stream.set_read_timeout(Some(SILENCE)).unwrap();
            bank.login("demo", "demo").ok()?.ok()?;
            self.bank = Some(bank);
        }
        self.bank.as_mut()?.call_as_of(request, key, None).ok()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.since.elapsed().as_nanos()).unwrap()
    }
}

/// Refusals that say that nothing was done.
fn is_to_be_repeated(status: Status) -> bool {
    matches!(status, Status::NotPrimary | Status::NoQuorum | Status::Busy | Status::Timeout)
}

fn some_call(lots: &mut Lots) -> Asked {
    let (account, amount) = (lots.below(ACCOUNTS), 1 + i64::from(lots.below(3)));
    match lots.below(6) {
        0 => Asked::Deposit { account, amount },
        1 => Asked::Withdraw { account, amount },
        2 => Asked::Transfer { from: account, to: (account + 1) % ACCOUNTS, amount },
        _ => Asked::Read { account },
    }
}
