//! The client's own books: what it was told, to be compared with what the server says at the end.
//!
//! Every acknowledged operation is entered. One whose answer never came is *in doubt*: it may have been done or not, so
//! it widens what the accounts it names, and the totals, are allowed to be, and nothing else.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Opcode, Request, Response, Totals};
use crate::tool::client::connection::Connection;
use crate::tool::client::error::ClientError;
use crate::tool::client::load::desk::Op;
use crate::tool::client::skew::AccountRange;

/// Mismatches that are named one by one; the rest are counted.
const NAMED: usize = 10;

/// What is known of one account. All threads write it, with additions that need no order among each other; it is read
/// when they have been joined.
#[derive(Debug, Default)]
struct Page {
    /// What it held before the run, cents.
    opening: i64,
    /// Acknowledged changes, cents.
    net: AtomicI64,
    /// What operations in doubt may have added, cents.
    maybe_more: AtomicI64,
    /// What operations in doubt may have taken, cents.
    maybe_less: AtomicI64,
}

/// A sum of acknowledged operations of one kind, and of those in doubt.
#[derive(Debug, Default)]
struct Sum {
    acknowledged: AtomicI64,
    maybe: AtomicI64,
}

/// The books of a run.
#[derive(Debug)]
pub struct Books {
    range: AccountRange,
    pages: Box<[Page]>,
    before: Totals,
    deposited: Sum,
    withdrawn: Sum,
    /// Operations in doubt.
    in_doubt: AtomicU64,
    /// TOTALS replies under load whose opening total was another one.
    torn_cuts: AtomicU64,
}

/// `sum - deposited + withdrawn`: what was there before anything moved. Wide enough for any three numbers.
fn opening_total(totals: &Totals) -> i128 {
    i128::from(totals.sum.0) - i128::from(totals.deposited.0) + i128::from(totals.withdrawn.0)
}

fn add(counter: &AtomicI64, amount: Cents) {
    counter.fetch_add(amount.0, Ordering::Relaxed);
}

impl Books {
    /// Opens the books: asks for the totals, and for every balance of the range.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not tell.
    pub fn open(connection: &mut Connection, range: AccountRange) -> Result<Books, ClientError> {
        let before = ask_totals(connection)?;
        let balances = ask_balances(connection, range)?;
        let pages = balances.iter().map(|balance| Page { opening: balance.0, ..Page::default() }).collect();
        Ok(Books {
            range,
            pages,
            before,
            deposited: Sum::default(),
            withdrawn: Sum::default(),
            in_doubt: AtomicU64::new(0),
            torn_cuts: AtomicU64::new(0),
        })
    }

    fn page(&self, account: AccountId) -> Option<&Page> {
        self.pages.get(self.range.place(account)?)
    }

    /// Enters the answer to an operation; a refused one had no effect.
    #[inline]
    pub fn settle(&self, op: &Op, response: &Response) {
        match response {
            Response::Deposit { .. } => {
                add(&self.deposited.acknowledged, op.amount);
                self.change(op.account, op.amount);
            }
            Response::Withdraw { .. } => {
                add(&self.withdrawn.acknowledged, op.amount);
                self.change(op.account, Cents(-op.amount.0));
            }
            Response::Transfer { .. } => {
                self.change(op.account, Cents(-op.amount.0));
                self.change(op.to, op.amount);
            }
            Response::Totals(totals) if opening_total(totals) != opening_total(&self.before) => {
                self.torn_cuts.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    #[inline]
    fn change(&self, account: AccountId, by: Cents) {
        if let Some(page) = self.page(account) {
            add(&page.net, by);
        }
    }

    /// Enters an operation whose answer never came.
    pub fn doubt(&self, op: &Op) {
        if !op.opcode.is_money() {
            return;
        }
        self.in_doubt.fetch_add(1, Ordering::Relaxed);
        if op.opcode != Opcode::Deposit
            && let Some(page) = self.page(op.account)
        {
            add(&page.maybe_less, op.amount);
        }
        let paid = if op.opcode == Opcode::Transfer { op.to } else { op.account };
        if op.opcode != Opcode::Withdraw
            && let Some(page) = self.page(paid)
        {
            add(&page.maybe_more, op.amount);
        }
        match op.opcode {
            Opcode::Deposit => add(&self.deposited.maybe, op.amount),
            Opcode::Withdraw => add(&self.withdrawn.maybe, op.amount),
            _ => {}
        }
    }

    /// Closes the books: asks for totals and balances again, and compares. Every thread that wrote must be joined.
    ///
    /// # Errors
    /// [`ClientError`] when the server does not tell.
    pub fn close(&self, connection: &mut Connection) -> Result<Verdict, ClientError> {
        let after = ask_totals(connection)?;
        let balances = ask_balances(connection, self.range)?;
        Ok(self.judge(&after, &balances))
    }

    /// Compares the books with what the server says; `balances` are those of the range, in order.
    fn judge(&self, after: &Totals, balances: &[Cents]) -> Verdict {
        let mut verdict = Verdict {
            in_doubt: self.in_doubt.load(Ordering::Relaxed),
            accounts: self.range.count(),
            mismatches: Vec::new(),
            unnamed: 0,
        };
        self.compare_totals(after, &mut verdict);
        for ((account, page), balance) in self.range.accounts().zip(&self.pages).zip(balances) {
            let told = page.opening.wrapping_add(page.net.load(Ordering::Relaxed));
            let less = page.maybe_less.load(Ordering::Relaxed);
            let more = page.maybe_more.load(Ordering::Relaxed);
            verdict.expect(&format!("balance of account {account}"), told, less, more, balance.0);
        }
        let covers_all = self.range.count() == u64::from(after.accounts);
        if covers_all && verdict.in_doubt == 0 {
            let listed: i128 = balances.iter().map(|balance| i128::from(balance.0)).sum();
            if listed != i128::from(after.sum.0) {
                verdict.mismatch(format!("sum of all balances is {listed} cents, but TOTALS says {}", after.sum.0));
            }
        }
        verdict
    }

    fn compare_totals(&self, after: &Totals, verdict: &mut Verdict) {
        let (opening, opening_after) = (opening_total(&self.before), opening_total(after));
        if opening != opening_after {
            verdict.mismatch(format!(
                "opening total (sum - deposited + withdrawn): {opening} cents before the run, {opening_after} after it"
            ));
        }
        let torn = self.torn_cuts.load(Ordering::Relaxed);
        if torn > 0 {
            verdict.mismatch(format!("{torn} TOTALS replies during the run had another opening total than {opening}"));
        }
        for (name, sum, before, after) in [
            ("deposited", &self.deposited, self.before.deposited, after.deposited),
            ("withdrawn", &self.withdrawn, self.before.withdrawn, after.withdrawn),
        ] {
            let told = before.0.wrapping_add(sum.acknowledged.load(Ordering::Relaxed));
            verdict.expect(&format!("total {name}"), told, 0, sum.maybe.load(Ordering::Relaxed), after.0);
        }
    }
}

/// What the comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Operations whose outcome nobody knows.
    pub in_doubt: u64,
    /// Accounts compared.
    pub accounts: u64,
    /// What does not agree, both sides named; the first few.
    pub mismatches: Vec<String>,
    /// How many more mismatches there are.
    pub unnamed: u64,
}

impl Verdict {
    /// Whether client and server agree.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.mismatches.is_empty()
    }

    fn mismatch(&mut self, what: String) {
        if self.mismatches.len() < NAMED {
            self.mismatches.push(what);
        } else {
            self.unnamed += 1;
        }
    }

    fn expect(&mut self, what: &str, told: i64, less: i64, more: i64, server: i64) {
        let allowed = told.saturating_sub(less)..=told.saturating_add(more);
        if !allowed.contains(&server) {
            let doubt = if less == 0 && more == 0 {
                String::new()
            } else {
                format!(" (up to {} less or {} more, by operations in doubt)", Cents(less), Cents(more))
            };
            self.mismatch(format!("{what}: own books {}{doubt}, server {}", Cents(told), Cents(server)));
        }
    }
}

/// Asks for the sums over all accounts.
///
/// # Errors
/// [`ClientError`].
pub fn ask_totals(connection: &mut Connection) -> Result<Totals, ClientError> {
    match connection.call(&Request::Totals)? {
        Response::Totals(totals) => Ok(totals),
        _ => unreachable!("the reply's opcode was compared with TOTALS"),
    }
}

fn ask_balances(connection: &mut Connection, range: AccountRange) -> Result<Vec<Cents>, ClientError> {
    let mut balances = Vec::new();
    let requests = range.accounts().map(|account| Request::Balance { account });
    connection.call_all(requests, |response| {
        if let Response::Balance { balance } = response {
            balances.push(balance);
        }
    })?;
    Ok(balances)
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
