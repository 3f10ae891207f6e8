//! An operation of the ledger as the sequencer sees it, and as it is remembered by its key.

use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::record::{Kind, OperationRecord, Verdict};
use crate::store::ledger::commit::Sequenced;
use crate::store::ledger::keys::Remembered;
use crate::store::ledger::sequencer::Sequencer;
use crate::store::ledger::table::Table;

/// What is remembered of an operation with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedOperation {
    /// The operation's number.
    pub lsn: Lsn,
    /// Who asked.
    pub principal: u32,
    /// What was asked for.
    pub kind: Kind,
    /// The result.
    pub verdict: Verdict,
    /// The accounts.
    pub accounts: (AccountId, Option<AccountId>),
    /// How much.
    pub amount: Cents,
    /// The balances afterwards.
    pub balances: [Cents; 2],
}

impl RememberedOperation {
    /// That of `record`.
    #[must_use]
    pub fn of(record: &OperationRecord) -> Self {
        let OperationRecord { lsn, principal, kind, verdict, accounts, amount, balances, .. } = *record;
        RememberedOperation { lsn, principal, kind, verdict, accounts, amount, balances }
    }

    /// As it stands in the table of keys.
    #[must_use]
    pub fn to_table(self) -> Remembered {
        let (first, second) = self.accounts;
        let words = [
            u64::from(first.0) << 32 | second.map_or(0, |second| second.0.into()),
            self.amount.0.cast_unsigned(),
            self.balances[0].0.cast_unsigned(),
            self.balances[1].0.cast_unsigned(),
        ];
        let (kind, verdict) = (self.kind.code(), self.verdict.code());
        Remembered { lsn: self.lsn, principal: self.principal, kind, verdict, words }
    }

    /// What stands in the table of keys; `None` where that is no operation of the ledger.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    pub fn from_table(known: &Remembered) -> Option<Self> {
        let kind = Kind::from_code(known.kind).ok()?;
        let [accounts, amount, first, second] = known.words;
        Some(RememberedOperation {
            lsn: known.lsn,
            principal: known.principal,
            kind,
            verdict: Verdict::from_code(known.verdict).ok()?,
            accounts: (
                AccountId((accounts >> 32) as u32),
                (kind == Kind::Transfer).then_some(AccountId(accounts as u32)),
            ),
            amount: Cents(amount.cast_signed()),
            balances: [Cents(first.cast_signed()), Cents(second.cast_signed())],
        })
    }

    /// Whether `record`, which has the same key of the same user, asks for the same.
    #[must_use]
    pub fn is_same_request(&self, record: &OperationRecord) -> bool {
        (self.kind, self.accounts, self.amount) == (record.kind, record.accounts, record.amount)
    }
}

impl Table {
    /// Makes the key of `record`, which is in the journal, known again; before the first worker, in the order of the records.
    pub fn restore_key(&self, record: &OperationRecord) {
        self.restore_remembered(record.key, RememberedOperation::of(record).to_table());
    }
}

impl Sequenced for OperationRecord {
    fn clock_ns(&self) -> u64 {
        self.time_ns
    }

    fn place(&mut self, first: Lsn, time_ns: u64) {
        (self.lsn, self.time_ns) = (first, time_ns);
    }

    fn put(&self, sequencer: &Sequencer) {
        sequencer.put_bytes(self.lsn, &self.encode());
    }

    fn remembered(&self) -> Remembered {
        RememberedOperation::of(self).to_table()
    }

    fn is_same_request(&self, known: &Remembered) -> bool {
        RememberedOperation::from_table(known).is_some_and(|known| known.is_same_request(self))
    }
}
