//! A client that a test leads by the hand: it asks for one keyed operation after the other, and writes down what it is told.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::io;
use std::net::SocketAddr;

use bank_vault::ipc::process::monotonic_ns;
use bank_vault::service::bank::wire::{Request, Response};
use bank_vault::store::journal::Kind;

use crate::bank::{Bank, deposit, transfer, withdraw};
use crate::checker::{Ack, Key};

/// One connection, and what came over it.
pub struct Asker {
    pub bank: Bank,
    /// What was answered, refusals included.
    pub acks: Vec<Ack>,
    state: u64,
    accounts: u32,
}

impl Asker {
    /// Connects; the same seed asks for the same operations, under the same keys.
    pub fn new(address: SocketAddr, accounts: u32, seed: u64) -> Asker {
        Asker { bank: Bank::demo(address), acks: Vec::new(), state: seed | 1, accounts }
    }

    /// A request that no other has been, and its key.
    pub fn next(&mut self) -> (Request<'static>, Key) {
        let accounts = self.accounts;
        let from = self.below(accounts);
        let to = (from + 1 + self.below(accounts - 1)) % accounts;
        let cents = i64::from(self.below(500)) + 1;
        let request = match self.below(4) {
            0 => deposit(from, cents),
            1 => withdraw(from, cents),
            _ => transfer(from, to, cents),
        };
        let key = u128::from(self.state) << 64 | u128::from(self.state.rotate_left(17));
        (request, key.to_be_bytes())
    }

    /// Asks for the next operation and waits for the answer.
    pub fn ask(&mut self) -> io::Result<()> {
        let (request, key) = self.next();
        self.ask_for(&request, key).map(drop)
    }

    /// Asks for an operation and waits for the answer, which is written down.
    pub fn ask_for(&mut self, request: &Request<'_>, key: Key) -> io::Result<Response> {
        let begin = monotonic_ns();
        let response = self.bank.call_with_key(request, Some(key))?;
        self.acks.push(ack(request, key, &response, [begin, monotonic_ns()]));
        Ok(response)
    }

    fn below(&mut self, n: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        u32::try_from((self.state >> 33) % u64::from(n)).unwrap()
    }
}

/// What is written down of an answer that came between two times.
pub fn ack(request: &Request<'_>, key: Key, response: &Response, [begin, end]: [u64; 2]) -> Ack {
    let (kind, accounts, amount) = match *request {
        Request::Deposit { account, amount } => (Kind::Deposit, (account, None), amount),
        Request::Withdraw { account, amount } => (Kind::Withdraw, (account, None), amount),
        Request::Transfer { from, to, amount } => (Kind::Transfer, (from, Some(to)), amount),
        ref other => panic!("{other:?} moves no money"),
    };
    let (status, balances) = match *response {
        Response::Deposit { balance } | Response::Withdraw { balance } => (0, [balance.0, 0]),
        Response::Transfer { from_balance, to_balance } => (0, [from_balance.0, to_balance.0]),
        Response::Error { status, .. } => (status.code(), [0; 2]),
        ref other => panic!("{other:?} answers no money operation"),
    };
    Ack { key, begin, end, kind, accounts, amount, status, balances }
}
