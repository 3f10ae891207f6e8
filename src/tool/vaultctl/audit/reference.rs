//! The reference: what each record must say, by all records before it.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use super::ended::Ended;
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::snapshot::Snapshot;
use crate::store::journal::{Directory, Kind, OperationRecord, Record, RunningTotals};

/// What an account holds by the records so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) balance: Cents,
    /// The record that changed it last; 0 for none.
    pub(super) last: Lsn,
}

/// The accounts, computed again from kinds and amounts alone.
pub(super) struct ReferenceLedger {
    accounts: Vec<Account>,
    /// All deposits and withdrawals so far.
    pub(super) flows: RunningTotals,
    /// The sum of the balances that the records say, modulo 2^64.
    pub(super) sum: Cents,
    /// The record after which it begins.
    pub(super) base: Lsn,
    /// In the snapshot that it begins with, accounts are of records up to this one; only then the sum is one.
    settled: Lsn,
    keys: Keys,
}

impl ReferenceLedger {
    /// Begins with the snapshot `base`, or with the accounts' opening.
    pub(super) fn begin(directory: &Directory, base: Option<&Snapshot>, key_window: u64) -> Result<Self, Ended> {
        let openings = directory.openings();
        let mut accounts: Vec<Account> =
            openings.from(0).map(|(_, balance)| Account { balance, last: Lsn(0) }).collect();
        let mut flows = RunningTotals::new(openings.total(), Cents::ZERO, Cents::ZERO);
        if let Some(snapshot) = base {
            let read = snapshot.accounts(|id, balance, last| accounts[id.0 as usize] = Account { balance, last })?;
            read.map_err(Ended::wrong)?;
            flows = RunningTotals::new(openings.total(), snapshot.header.deposited, snapshot.header.withdrawn);
        }
        let flows = flows.ok_or_else(|| Ended::wrong("its sums do not go with what the accounts opened with"))?;
        Ok(ReferenceLedger {
            sum: Cents(accounts.iter().fold(0, |sum: i64, account| sum.wrapping_add(account.balance.0))),
            accounts,
            flows,
            base: base.map_or(Lsn(0), |snapshot| snapshot.header.lsn),
            settled: base.map_or(Lsn(0), |snapshot| snapshot.newest),
            keys: Keys::of_last(key_window),
        })
    }

    /// What `account` holds by the records so far.
    pub(super) fn account(&self, account: AccountId) -> Account {
        self.accounts[account.0 as usize]
    }

    /// Takes in the next record. Its accounts are known to be there, and its amount to be above zero where it was done.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), Ended> {
        if let Some(operation) = record.operation() {
            self.keys.take(operation)?;
            if operation.is_done() && operation.lsn > self.base {
                self.take_done(operation)?;
            }
        }
        if record.lsn() > self.base { self.check_sum(record.lsn()) } else { Ok(()) }
    }

    fn take_done(&mut self, operation: &OperationRecord) -> Result<(), Ended> {
        let (first, second) = operation.accounts;
        let gains = [operation.kind == Kind::Deposit, true];
        for (side, account) in [Some(first), second].into_iter().enumerate() {
            let Some(account) = account else { continue };
            self.take_side(operation, side, account, gains[side])?;
        }
        self.flows = self
            .flows
            .after(operation)
            .ok_or_else(|| Ended::wrong("with it more was deposited, or withdrawn, than there can be"))?;
        Ok(())
    }

    fn take_side(
        &mut self,
        record: &OperationRecord,
        side: usize,
        account: AccountId,
        gains: bool,
    ) -> Result<(), Ended> {
        let Account { balance, last } = self.accounts[account.0 as usize];
        let (says, amount) = (record.balances[side], record.amount);
        let wrong_balance = |held| {
            let says = format!("it says that account {account} held {says} afterwards");
            Err(Ended::wrong(format!("{says}; by the amounts it held {held}")))
        };
        if record.lsn <= last {
            // The snapshot has it already, and with it all that the account holds after its last record.
            return if record.lsn < last || says == balance { Ok(()) } else { wrong_balance(balance) };
        }
        if record.previous[side] != last {
            let says = record.previous[side];
            let what = format!("it says that record {says} changed account {account} before; that was record {last}");
            return Err(Ended::wrong(what));
        }
        let held = if gains { balance.checked_add(amount) } else { balance.checked_sub(amount) };
        let held = held
            .filter(|held| *held >= Cents::ZERO)
            .ok_or_else(|| Ended::wrong(format!("it took {amount} out of account {account}, which held {balance}")))?;
        if says != held {
            return wrong_balance(held);
        }
        self.sum.0 = self.sum.0.wrapping_sub(balance.0).wrapping_add(says.0);
        self.accounts[account.0 as usize] = Account { balance: held, last: record.lsn };
        Ok(())
    }

    /// The accounts hold what they opened with and what was deposited, less what was withdrawn.
    pub(super) fn check_sum(&self, lsn: Lsn) -> Result<(), Ended> {
        let expected = self.flows.sum();
        if lsn < self.settled || self.sum == expected {
            return Ok(());
        }
        let sum = self.sum;
        let should = "opened, deposited and not withdrawn were";
        Err(Ended::wrong(format!("afterwards all accounts hold {sum}; {should} {expected}")))
    }
}

/// Whose key it is, and the key.
type Owned = (u32, [u8; KEY_BYTES]);
/// What was asked for with it.
type Request = (Kind, AccountId, Option<AccountId>, Cents);

/// The keys of the last `window` operations.
struct Keys {
    window: u64,
    known: HashMap<Owned, (Lsn, Request)>,
    /// In order.
    ages: VecDeque<(Lsn, Owned)>,
}

impl Keys {
    fn of_last(window: u64) -> Self {
        Keys { window, known: HashMap::new(), ages: VecDeque::new() }
    }

    /// Takes in a record; an error if its key should have been known.
    fn take(&mut self, record: &OperationRecord) -> Result<(), Ended> {
        let Some(key) = record.key else { return Ok(()) };
        while let Some(&(lsn, owned)) = self.ages.front().filter(|(lsn, _)| record.lsn.0 - lsn.0 >= self.window) {
            self.ages.pop_front();
            debug_assert!(self.known.get(&owned).is_some_and(|&(of, _)| of == lsn));
            self.known.remove(&owned);
        }
        let request = (record.kind, record.accounts.0, record.accounts.1, record.amount);
        match self.known.entry((record.principal, key)) {
            Entry::Occupied(first) => {
                let &(earlier, ref asked) = first.get();
                let same = *asked == request;
                let how = if same { "and so is its request: it was done twice" } else { "with another request" };
                Err(Ended::wrong(format!("its key is that of record {earlier}, of the same user, {how}")))
            }
            Entry::Vacant(place) => {
                place.insert((record.lsn, request));
                self.ages.push_back((record.lsn, (record.principal, key)));
                Ok(())
            }
        }
    }
}
