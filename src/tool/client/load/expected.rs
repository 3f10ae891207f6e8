//! The expected balances: a model of the accounts, made of what the server acknowledged, that --verify compares with what the
//! server says at the end.
//!
//! An operation whose reply never came is *in doubt*: it may have been done or not. It widens the expected range of the accounts
//! and totals that it names, and of nothing else.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Response, Totals};
use crate::tool::client::accounts::AccountRange;
use crate::tool::client::connection::Connection;
use crate::tool::client::error::ClientError;

/// Mismatches that are described one by one; the rest are counted.
const MAX_DESCRIBED: usize = 10;

/// What is known of one account, cents. All threads write it, with additions whose order does not matter; it is read when
/// they have been joined.
#[derive(Debug, Default)]
struct Account {
    /// Its balance before the run.
    before: i64,
    /// The sum of the acknowledged changes.
    change: AtomicI64,
    /// What operations in doubt may have added.
    maybe_more: AtomicI64,
    /// What operations in doubt may have taken.
    maybe_less: AtomicI64,
}

/// The sum of all acknowledged operations of one kind, and of those in doubt, cents.
#[derive(Debug, Default)]
struct Flow {
    acknowledged: AtomicI64,
    maybe: AtomicI64,
}

#[derive(Debug)]
pub struct ExpectedBalances {
    range: AccountRange,
    accounts: Box<[Account]>,
    before: Totals,
    deposited: Flow,
    withdrawn: Flow,
    /// Operations in doubt.
    in_doubt: AtomicU64,
    /// TOTALS replies during the run whose opening total was another one.
    torn_totals: AtomicU64,
}

/// `sum - deposited + withdrawn`: the sum before anything moved. Wide enough for any three numbers.
fn opening_total(totals: &Totals) -> i128 {
    i128::from(totals.sum.0) - i128::from(totals.deposited.0) + i128::from(totals.withdrawn.0)
}

fn add(counter: &AtomicI64, amount: Cents) {
    counter.fetch_add(amount.0, Ordering::Relaxed);
}

impl ExpectedBalances {
    /// Requests the totals, and every balance of the range, before the run.
    pub fn request(connection: &mut Connection, range: AccountRange) -> Result<ExpectedBalances, ClientError> {
        let before = request_totals(connection)?;
        Ok(ExpectedBalances::new(range, before, &request_balances(connection, range)?))
    }

    fn new(range: AccountRange, before: Totals, balances: &[Cents]) -> ExpectedBalances {
        ExpectedBalances {
            range,
            accounts: balances.iter().map(|balance| Account { before: balance.0, ..Account::default() }).collect(),
            before,
            deposited: Flow::default(),
            withdrawn: Flow::default(),
            in_doubt: AtomicU64::new(0),
            torn_totals: AtomicU64::new(0),
        }
    }

    /// Applies an acknowledged operation; a refused one had no effect.
    #[inline]
    pub fn apply(&self, request: &Request<'_>, response: &Response) {
        match (*request, response) {
            (Request::Deposit { account, amount }, Response::Deposit { .. }) => {
                add(&self.deposited.acknowledged, amount);
                self.change(account, amount);
            }
            (Request::Withdraw { account, amount }, Response::Withdraw { .. }) => {
                add(&self.withdrawn.acknowledged, amount);
                self.change(account, Cents(-amount.0));
            }
            (Request::Transfer { from, to, amount }, Response::Transfer { .. }) => {
                self.change(from, Cents(-amount.0));
                self.change(to, amount);
            }
            (_, Response::Totals(totals)) if opening_total(totals) != opening_total(&self.before) => {
                self.torn_totals.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    #[inline]
    fn change(&self, account: AccountId, by: Cents) {
        self.with(account, |account| add(&account.change, by));
    }

    #[inline]
    fn with(&self, account: AccountId, act: impl FnOnce(&Account)) {
        if let Some(account) = self.range.index_of(account).and_then(|index| self.accounts.get(index)) {
            act(account);
        }
    }

    /// Adds an operation whose reply never came.
    pub fn add_in_doubt(&self, request: &Request<'_>) {
        match *request {
            Request::Deposit { account, amount } => {
                add(&self.deposited.maybe, amount);
                self.with(account, |account| add(&account.maybe_more, amount));
            }
            Request::Withdraw { account, amount } => {
                add(&self.withdrawn.maybe, amount);
                self.with(account, |account| add(&account.maybe_less, amount));
            }
            Request::Transfer { from, to, amount } => {
                self.with(from, |account| add(&account.maybe_less, amount));
                self.with(to, |account| add(&account.maybe_more, amount));
            }
            _ => return,
        }
        self.in_doubt.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests totals and balances again, and compares. Every thread that wrote must be joined.
    pub fn verify(&self, connection: &mut Connection) -> Result<Verification, ClientError> {
        let after = request_totals(connection)?;
        Ok(self.compare(&after, &request_balances(connection, self.range)?))
    }

    /// Compares with what the server says; `balances` are those of the range, in order.
    fn compare(&self, after: &Totals, balances: &[Cents]) -> Verification {
        let mut found = Verification {
            accounts: self.range.count(),
            in_doubt: self.in_doubt.load(Ordering::Relaxed),
            mismatches: Vec::new(),
            unnamed_mismatches: 0,
        };
        self.compare_totals(after, &mut found);
        for ((number, account), balance) in self.range.accounts().zip(&self.accounts).zip(balances) {
            let expected = account.before.wrapping_add(account.change.load(Ordering::Relaxed));
            let less = account.maybe_less.load(Ordering::Relaxed);
            let more = account.maybe_more.load(Ordering::Relaxed);
            found.compare(&format!("balance of account {number}"), expected, less, more, balance.0);
        }
        if self.range.count() == u64::from(after.accounts) && found.in_doubt == 0 {
            let sum: i128 = balances.iter().map(|balance| i128::from(balance.0)).sum();
            if sum != i128::from(after.sum.0) {
                found.mismatch(format!("sum of all balances is {sum} cents, but TOTALS says {}", after.sum.0));
            }
        }
        found
    }

    fn compare_totals(&self, after: &Totals, found: &mut Verification) {
        let (opening, opening_after) = (opening_total(&self.before), opening_total(after));
        if opening != opening_after {
            found.mismatch(format!(
                "opening total (sum - deposited + withdrawn): {opening} cents before the run, {opening_after} after it"
            ));
        }
        let torn = self.torn_totals.load(Ordering::Relaxed);
        if torn > 0 {
            found.mismatch(format!("{torn} TOTALS replies during the run had another opening total than {opening}"));
        }
        for (name, flow, before, after) in [
            ("deposited", &self.deposited, self.before.deposited, after.deposited),
            ("withdrawn", &self.withdrawn, self.before.withdrawn, after.withdrawn),
        ] {
            let expected = before.0.wrapping_add(flow.acknowledged.load(Ordering::Relaxed));
            found.compare(&format!("total {name}"), expected, 0, flow.maybe.load(Ordering::Relaxed), after.0);
        }
    }
}

/// The result of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Accounts compared.
    pub accounts: u64,
    /// Operations that may have been done or not.
    pub in_doubt: u64,
    /// What does not agree, with both sides; the first few.
    pub mismatches: Vec<String>,
    /// How many more mismatches there are.
    pub unnamed_mismatches: u64,
}

impl Verification {
    /// Whether the server has what is expected.
    pub fn agrees(&self) -> bool {
        self.mismatches.is_empty()
    }

    fn mismatch(&mut self, what: String) {
        if self.mismatches.len() < MAX_DESCRIBED {
            self.mismatches.push(what);
        } else {
            self.unnamed_mismatches += 1;
        }
    }

    fn compare(&mut self, what: &str, expected: i64, less: i64, more: i64, server: i64) {
        if (expected.saturating_sub(less)..=expected.saturating_add(more)).contains(&server) {
            return;
        }
        let doubt = if less == 0 && more == 0 {
            String::new()
        } else {
            format!(" (up to {} less or {} more, by operations in doubt)", Cents(less), Cents(more))
        };
        self.mismatch(format!("{what}: expected {}{doubt}, server {}", Cents(expected), Cents(server)));
    }
}

pub fn request_totals(connection: &mut Connection) -> Result<Totals, ClientError> {
    match connection.call(&Request::Totals, None)? {
        Response::Totals(totals) => Ok(totals),
        _ => unreachable!("the reply's opcode was compared with TOTALS"),
    }
}

fn request_balances(connection: &mut Connection, range: AccountRange) -> Result<Vec<Cents>, ClientError> {
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
#[path = "expected_tests.rs"]
mod tests;
