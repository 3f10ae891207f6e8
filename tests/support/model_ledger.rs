//! The books of the model server: balances, what happened to each account, and the first result of every key.

use std::collections::HashMap;

use bank_vault::base::limits::{KEY_BYTES, MAX_STATEMENT_ENTRIES};
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{Entry, Movement, Next, Request, Response, Statement, Status, Totals};

/// Which of the ledger's operations go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The hundredth transfer arrives a cent short.
    pub lose_a_cent: bool,
    /// The hundredth deposit is acknowledged and not done.
    pub phantom_ack: bool,
    /// No key is remembered.
    pub forget_keys: bool,
}

#[derive(Default)]
struct Account {
    balance: i64,
    /// The oldest first.
    history: Vec<Entry>,
}

/// Everything that the server knows of money.
pub struct Ledger {
    accounts: Vec<Account>,
    faults: Faults,
    deposited: i64,
    withdrawn: i64,
    lsn: u64,
    /// Deposits so far.
    pub deposits: u64,
    transfers: u64,
    results: HashMap<[u8; KEY_BYTES], (Request<'static>, Result<Response, Status>)>,
}

impl Ledger {
    /// This many accounts, each with `opening` cents.
    pub fn new(accounts: u32, opening: i64, faults: Faults) -> Ledger {
        let account = || Account { balance: opening, history: Vec::new() };
        Ledger {
            accounts: (0..accounts).map(|_| account()).collect(),
            faults,
            deposited: 0,
            withdrawn: 0,
            lsn: 0,
            deposits: 0,
            transfers: 0,
            results: HashMap::new(),
        }
    }

    /// Carries out a money operation; one whose key is known gets its first result, a refusal, too.
    pub fn operate(&mut self, request: Request<'static>, key: Option<[u8; KEY_BYTES]>) -> Result<Response, Status> {
        match key.and_then(|key| self.results.get(&key)) {
            Some((known, result)) if *known == request => return *result,
            Some(_) => return Err(Status::Conflict),
            None => {}
        }
        let result = match request {
            Request::Deposit { account, amount } => self.deposit(account, amount),
            Request::Withdraw { account, amount } => self.withdraw(account, amount),
            Request::Transfer { from, to, amount } => self.transfer(from, to, amount),
            other => panic!("{other:?} moves no money"),
        };
        if let Some(key) = key.filter(|_| !self.faults.forget_keys) {
            self.results.insert(key, (request, result));
        }
        result
    }

    /// What the account holds.
    pub fn balance(&mut self, account: AccountId) -> Result<Cents, Status> {
        Ok(Cents(self.at(account)?.balance))
    }

    /// The sums over all accounts.
    pub fn totals(&self) -> Totals {
        Totals {
            accounts: u32::try_from(self.accounts.len()).expect("made from a u32"),
            sum: Cents(self.accounts.iter().map(|account| account.balance).sum()),
            deposited: Cents(self.deposited),
            withdrawn: Cents(self.withdrawn),
            lsn: Lsn(self.lsn),
        }
    }

    /// A page of an account's statement.
    pub fn statement(&mut self, account: AccountId, before: Lsn, limit: u16) -> Result<Statement, Status> {
        let history = &self.at(account)?.history;
        if limit == 0 {
            return Err(Status::Invalid);
        }
        let is_older = |entry: &&Entry| before.0 == 0 || entry.lsn < before;
        let mut older = history.iter().rev().filter(is_older).peekable();
        let most = usize::from(limit).min(MAX_STATEMENT_ENTRIES);
        let entries: Vec<Entry> = older.by_ref().take(most).copied().collect();
        let next = match (older.peek(), entries.last()) {
            (Some(_), Some(last)) => Next::Before(last.lsn),
            _ => Next::Opening,
        };
        Ok(Statement { entries, next })
    }

    fn at(&mut self, account: AccountId) -> Result<&mut Account, Status> {
        self.accounts.get_mut(account.0 as usize).ok_or(Status::NoAccount)
    }

    /// Writes an operation into the history of an account whose balance stands already.
    fn record(&mut self, account: AccountId, movement: Movement, amount: Cents) -> Cents {
        let lsn = Lsn(self.lsn);
        let account = &mut self.accounts[account.0 as usize];
        let balance_after = Cents(account.balance);
        account.history.push(Entry { lsn, time_ms: lsn.0 * 1000, movement, amount, balance_after });
        balance_after
    }

    fn deposit(&mut self, account: AccountId, amount: Cents) -> Result<Response, Status> {
        if amount.0 <= 0 {
            return Err(Status::Invalid);
        }
        let raised = self.at(account)?.balance.checked_add(amount.0).ok_or(Status::Invalid)?;
        self.deposits += 1;
        if self.deposits == 100 && self.faults.phantom_ack {
            return Ok(Response::Deposit { balance: Cents(raised) });
        }
        self.at(account)?.balance = raised;
        self.deposited += amount.0;
        self.lsn += 1;
        Ok(Response::Deposit { balance: self.record(account, Movement::Deposit, amount) })
    }

    fn withdraw(&mut self, account: AccountId, amount: Cents) -> Result<Response, Status> {
        self.take(account, amount)?;
        self.withdrawn += amount.0;
        Ok(Response::Withdraw { balance: self.record(account, Movement::Withdraw, amount) })
    }

    fn transfer(&mut self, from: AccountId, to: AccountId, amount: Cents) -> Result<Response, Status> {
        if from == to {
            return Err(Status::Invalid);
        }
        self.at(to)?;
        self.take(from, amount)?;
        self.transfers += 1;
        let lost = self.transfers == 100 && self.faults.lose_a_cent;
        self.at(to)?.balance += amount.0 - i64::from(lost);
        let from_balance = self.record(from, Movement::TransferOut { to }, amount);
        let to_balance = self.record(to, Movement::TransferIn { from }, amount);
        Ok(Response::Transfer { from_balance, to_balance })
    }

    fn take(&mut self, account: AccountId, amount: Cents) -> Result<(), Status> {
        if amount.0 <= 0 {
            return Err(Status::Invalid);
        }
        let account = self.at(account)?;
        if account.balance < amount.0 {
            return Err(Status::Insufficient);
        }
        account.balance -= amount.0;
        self.lsn += 1;
        Ok(())
    }
}
