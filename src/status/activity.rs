//! The activity of the accounts: a summary of the newest committed records in the journal ring. It names no user.

use std::collections::HashMap;

use serde::Serialize;

use crate::base::calendar::iso_utc;
use crate::base::vocab::{AccountId, Lsn};
use crate::store::instance::Instance;
use crate::store::journal::record::{Kind, OperationRecord, Record};

/// The most records that are read: half a megabyte, which takes a fraction of a millisecond.
const LOOKED_AT: u64 = 4096;
/// Records that the busiest accounts are counted in.
const BUSIEST_OF: usize = 1024;
/// Busiest accounts that are shown.
const BUSIEST: usize = 8;
/// Operations that are shown one by one.
const SHOWN: usize = 10;

/// The activity of the accounts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Activity {
    /// Operations on accounts that were committed in the interval; where there were more records than are looked at, those among the others
    /// that are of keys and values are counted, too.
    pub operations: u64,
    /// How many of them, the newest, `kinds` counts: all, unless there were very many.
    pub looked_at: u64,
    /// The operations by their kind.
    pub kinds: [OfKind; 3],
    /// How many records `busiest` counts, also older ones than the interval.
    pub busiest_of: usize,
    /// The accounts that most of these records name, the busiest first.
    pub busiest: Vec<Busy>,
    /// The last operations, the newest first.
    pub last: Vec<Operation>,
}

/// Operations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OfKind {
    /// `deposit`, `withdraw` or `transfer`.
    pub kind: &'static str,
    /// How many were done.
    pub done: u64,
    /// How many were refused; only refusals of requests with a key are in the journal.
    pub refused: u64,
    /// The sum of the amounts of those that were done.
    pub amount_cents: i64,
}

/// A busy account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Busy {
    /// Its number.
    pub account: u32,
    /// Operations that name it.
    pub operations: u64,
    /// The sum of the amounts of those that were done, to it and from it.
    pub amount_cents: i64,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its number.
    pub lsn: u64,
    /// When it happened, ISO 8601 in UTC.
    pub time: String,
    /// `deposit`, `withdraw` or `transfer`.
    pub kind: &'static str,
    /// Whether it was done, and not refused.
    pub done: bool,
    /// The account; of a transfer, the one that is debited.
    pub account: u32,
    /// Of a transfer, the account that is credited.
    pub to: Option<u32>,
    /// The amount of the request.
    pub amount_cents: i64,
}

impl Activity {
    /// The operations that were committed after operation `since`, up to operation `until`; `None` without a journal.
    pub fn between(instance: &Instance, since: Lsn, until: Lsn) -> Option<Activity> {
        let table = instance.table();
        if !table.sequencer().is_journaled() {
            return None;
        }
        let oldest = until.0.saturating_sub(LOOKED_AT).max(since.0.min(until.0.saturating_sub(BUSIEST_OF as u64)));
        // From the newest backwards, until one is overwritten.
        let records = (oldest + 1..=until.0).rev().map_while(|lsn| table.recent_record(Lsn(lsn)));
        let records = records.map(Record::into_operation);
        Some(Activity::of(records, since, until))
    }

    /// Sums up records, the newest, `until`, first; `None` is one that is of no account. Those after `since` belong to the interval.
    fn of(records: impl Iterator<Item = Option<OperationRecord>>, since: Lsn, until: Lsn) -> Activity {
        let kinds = [Kind::Deposit, Kind::Withdraw, Kind::Transfer];
        let kinds = kinds.map(|kind| OfKind { kind: kind.name(), ..OfKind::default() });
        let mut activity = Activity { operations: until.0.saturating_sub(since.0), kinds, ..Activity::default() };
        let mut accounts: HashMap<AccountId, Busy> = HashMap::new();
        let mut place = 0;
        for (lsn, record) in (0..=until.0).rev().zip(records) {
            let Some(record) = record else {
                activity.operations -= u64::from(lsn > since.0);
                continue;
            };
            let done = if record.is_done() { record.amount.0 } else { 0 };
            if record.lsn > since {
                activity.looked_at += 1;
                let of_kind = &mut activity.kinds[record.kind as usize];
                *(if record.is_done() { &mut of_kind.done } else { &mut of_kind.refused }) += 1;
                of_kind.amount_cents = of_kind.amount_cents.saturating_add(done);
            }
            if place < BUSIEST_OF {
                activity.busiest_of += 1;
                for account in [Some(record.accounts.0), record.accounts.1].into_iter().flatten() {
                    let new = Busy { account: account.0, operations: 0, amount_cents: 0 };
                    let busy = accounts.entry(account).or_insert(new);
                    busy.operations += 1;
                    busy.amount_cents = busy.amount_cents.saturating_add(done);
                }
            }
            if place < SHOWN {
                activity.last.push(Operation::of(&record));
            }
            place += 1;
        }
        activity.busiest = accounts.into_values().collect();
        activity.busiest.sort_unstable_by_key(|busy| (u64::MAX - busy.operations, busy.account));
        activity.busiest.truncate(BUSIEST);
        activity
    }
}

impl Operation {
    fn of(record: &OperationRecord) -> Operation {
        let (first, second) = record.accounts;
        Operation {
            lsn: record.lsn.0,
            time: iso_utc(record.time_ns / 1_000_000),
            kind: record.kind.name(),
            done: record.is_done(),
            account: first.0,
            to: second.map(|account| account.0),
            amount_cents: record.amount.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Cents;
    use crate::store::journal::record::Verdict;

    fn transfer(lsn: u64, from: u32, to: u32, verdict: Verdict) -> OperationRecord {
        OperationRecord {
            lsn: Lsn(lsn),
            time_ns: lsn * 1_000_000,
            kind: Kind::Transfer,
            verdict,
            principal: 1,
            accounts: (AccountId(from), Some(AccountId(to))),
            amount: Cents(5),
            balances: [Cents(0); 2],
            previous: [Lsn(0); 2],
            key: Some([1; 16]),
        }
    }

    #[test]
    fn only_the_interval_is_summed_and_what_is_older_still_shows_who_is_busy() {
        let verdict = |lsn| if lsn == 2000 { Verdict::Insufficient } else { Verdict::Done };
        let records = (1..=2000).rev().map(|lsn| transfer(lsn, 7, u32::try_from(100 + lsn % 3).unwrap(), verdict(lsn)));
        let activity = Activity::of(records.map(Some), Lsn(1990), Lsn(2000));
        assert_eq!((activity.operations, activity.looked_at, activity.busiest_of), (10, 10, BUSIEST_OF));
        let transfers = OfKind { kind: "transfer", done: 9, refused: 1, amount_cents: 45 };
        assert_eq!(
            activity.kinds,
            [
                OfKind { kind: "deposit", ..OfKind::default() },
                OfKind { kind: "withdraw", ..OfKind::default() },
                transfers
            ]
        );
        let first = activity.busiest[0];
        assert_eq!(first, Busy { account: 7, operations: 1024, amount_cents: 5 * 1023 });
        assert_eq!(activity.busiest.len(), 4);
        let shown: Vec<_> = activity.last.iter().map(|operation| (operation.lsn, operation.done)).collect();
        assert_eq!((shown.len(), shown[0], shown[9]), (SHOWN, (2000, false), (1991, true)));
        assert_eq!(activity.last[0].time, "1970-01-01T00:00:02.000Z");
    }

    #[test]
    fn records_of_keys_and_values_are_no_operations_on_accounts() {
        // Every other one, from operation 1 on.
        let records = (1..=100).rev().map(|lsn| (lsn % 2 == 0).then(|| transfer(lsn, 7, 8, Verdict::Done)));
        let activity = Activity::of(records, Lsn(90), Lsn(100));
        assert_eq!((activity.operations, activity.looked_at, activity.busiest_of), (5, 5, 50));
        let shown: Vec<_> = activity.last.iter().map(|operation| operation.lsn).collect();
        assert_eq!(shown, [100, 98, 96, 94, 92, 90, 88, 86, 84, 82], "also older ones");
    }
}
