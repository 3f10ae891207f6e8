//! The end of a server's life under load: what clients were told, held against what the server says and what it kept.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use bank_vault::base::vocab::AccountId;

use crate::bank::{Bank, opening};
use crate::checker::{Ack, Kept, must_be_kept};
use crate::load::Load;
use crate::server::Server;

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Closed {
    /// Acknowledged operations.
    pub answers: usize,
    /// Records in the journal.
    pub records: usize,
    /// Connections that clients had to make anew.
    pub reconnects: u64,
}

/// Waits for the clients, stops the server, and compares. `accounts` is how many accounts there are, each opened with
/// 1000.00; `login` logs in; `expected` are the errors by which operations may be answered.
///
/// # Panics
/// A client met an error that the protocol does not name, or a promise was not kept.
pub fn close(
    server: &mut Server,
    loads: Vec<Load>,
    accounts: u32,
    login: impl Fn(&Server) -> Bank,
    expected: &[&str],
) -> Closed {
    let mut closed = Closed::default();
    let mut acks: Vec<Ack> = Vec::new();
    for load in loads {
        let brought = load.finish();
        brought.must_have_answers(expected);
        closed.reconnects += brought.count("reconnects");
        acks.extend(brought.acks);
    }
    let mut bank = login(server);
    assert_eq!(opening(&bank.totals()), i64::from(accounts) * 100_000);
    let held: Vec<i64> = (0..accounts).map(|account| bank.balance(account).0).collect();
    drop(bank);
    assert!(server.end().status.success(), "{}", server.stderr());
    let compared = must_be_kept(&server.data(), &acks);
    assert_eq!(held, last_balances(&Kept::read(&server.data())), "what it said is what its records lead to");
    assert_eq!(compared.acks, acks.iter().filter(|ack| ack.tells_a_result()).count());
    (closed.answers, closed.records) = (compared.acks, compared.records);
    closed
}

fn last_balances(kept: &Kept) -> Vec<i64> {
    let mut balances = kept.openings.clone();
    for record in kept.records.iter().filter(|record| record.is_done()) {
        let (AccountId(first), second) = record.accounts;
        balances[first as usize] = record.balances[0].0;
        if let Some(AccountId(second)) = second {
            balances[second as usize] = record.balances[1].0;
        }
    }
    balances
}
