//! What the tests of this room share: tables, operations on them, and workers that die at them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::teller::{Asker, Undone};
use super::{Completion, Operation, Shape, Table, Teller};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::segment;

pub const A: AccountId = AccountId(0);
pub const B: AccountId = AccountId(1);

/// Five names of segments that nobody else has.
pub fn names() -> [String; 5] {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unique = format!("/vault-test.{}.ledger.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    ["a", "i", "j", "k", "x"].map(|object| format!("{unique}.{object}"))
}

/// A table in memory that is unlinked as soon as it is mapped.
pub fn table_of(shape: &Shape) -> Table {
    let names = names();
    let table = Table::create(names.each_ref().map(String::as_str), 1, shape).unwrap();
    names.iter().for_each(|name| segment::unlink(name).unwrap());
    table
}

/// One of so many accounts, each with so many cents; `ring` places of the journal ring.
pub fn table(accounts: u32, initial_balance: Cents, ring: u32) -> Table {
    table_of(&Shape {
        accounts,
        initial_balance,
        ring,
        key_window: 10,
        replies_wait: false,
        replicated: false,
        key_values: false,
    })
}

pub fn deposit(account: AccountId, cents: i64) -> Operation {
    Operation::Deposit { account, amount: Cents(cents) }
}

pub fn withdraw(account: AccountId, cents: i64) -> Operation {
    Operation::Withdraw { account, amount: Cents(cents) }
}

pub fn transfer(from: AccountId, to: AccountId, cents: i64) -> Operation {
    Operation::Transfer { from, to, amount: Cents(cents) }
}

pub fn operate(teller: &mut Teller<'_>, operation: Operation) -> Result<Lsn, Undone> {
    teller.carry_out(operation, &Asker::ANYBODY, |_| Completion::UNATTENDED)
}

/// One with this key.
pub fn ask(teller: &mut Teller<'_>, operation: Operation, key: u8) -> Result<Lsn, Undone> {
    let asker = Asker { principal: 5, key: Some([key; 16]) };
    teller.carry_out(operation, &asker, |_| Completion::UNATTENDED)
}

/// Runs `body` on a thread that ends: what that still holds then is inherited, as from a process that was killed.
pub fn die_after(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}
