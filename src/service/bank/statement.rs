//! How an account's holder sees a record. Pure.

use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::service::bank::wire::{Entry, Movement};
use crate::store::journal::record::{Kind, OperationRecord};

const NS_PER_MS: u64 = 1_000_000;

/// What `record` did to `account`: the statement's entry, and the record that had changed the account before (0 for none).
/// `None` where it did nothing to it: a refused operation is no entry.
#[must_use]
pub fn entry_of(record: &OperationRecord, account: AccountId) -> Option<(Entry, Lsn)> {
    let (first, second) = record.accounts;
    let (movement, side) = match (record.kind, second) {
        _ if !record.is_done() => return None,
        (Kind::Deposit, _) if first == account => (Movement::Deposit, 0),
        (Kind::Withdraw, _) if first == account => (Movement::Withdraw, 0),
        (Kind::Transfer, Some(to)) if first == account => (Movement::TransferOut { to }, 0),
        (Kind::Transfer, Some(to)) if to == account => (Movement::TransferIn { from: first }, 1),
        _ => return None,
    };
    let balance_after: Cents = record.balances[side];
    let (lsn, time_ms, amount) = (record.lsn, record.time_ns / NS_PER_MS, record.amount);
    Some((Entry { lsn, time_ms, movement, amount, balance_after }, record.previous[side]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::record::Verdict;

    const ONE: AccountId = AccountId(1);
    const TWO: AccountId = AccountId(2);

    fn record(kind: Kind, verdict: Verdict) -> OperationRecord {
        OperationRecord {
            lsn: Lsn(30),
            time_ns: 1_700_000_000_123_456_789,
            kind,
            verdict,
            principal: 7,
            accounts: (ONE, (kind == Kind::Transfer).then_some(TWO)),
            amount: Cents(5),
            balances: [Cents(95), Cents(105)],
            previous: [Lsn(10), Lsn(20)],
            key: Some([1; 16]),
        }
    }

    #[test]
    fn each_side_of_a_record_has_its_own_entry() {
        let entry = |movement, balance| {
            let (lsn, time_ms) = (Lsn(30), 1_700_000_000_123);
            Entry { lsn, time_ms, movement, amount: Cents(5), balance_after: Cents(balance) }
        };
        let (deposit, withdrawal, transfer) = (Kind::Deposit, Kind::Withdraw, Kind::Transfer);
        let cases = [
            (deposit, ONE, Some((entry(Movement::Deposit, 95), Lsn(10)))),
            (deposit, TWO, None),
            (withdrawal, ONE, Some((entry(Movement::Withdraw, 95), Lsn(10)))),
            (withdrawal, TWO, None),
            (transfer, ONE, Some((entry(Movement::TransferOut { to: TWO }, 95), Lsn(10)))),
            (transfer, TWO, Some((entry(Movement::TransferIn { from: ONE }, 105), Lsn(20)))),
            (transfer, AccountId(3), None),
        ];
        for (kind, account, wanted) in cases {
            assert_eq!(entry_of(&record(kind, Verdict::Done), account), wanted, "{kind:?} of {account}");
            assert_eq!(entry_of(&record(kind, Verdict::Insufficient), account), None, "refused {kind:?} of {account}");
        }
    }
}
