//! The record of an operation: what was asked for, by whom, and what came of it.

use byteorder::{ByteOrder, LittleEndian};

use super::error::RecordError;
use super::layout::{
    AT_ACCOUNTS, AT_AMOUNT, AT_BALANCES, AT_FLAGS, AT_KEY, AT_KIND, AT_LSN, AT_PREVIOUS, AT_PRINCIPAL, AT_SYNCED,
    AT_TIME, AT_VERDICT, KEYED, RECORD_BYTES, RecordBytes, lsn_of,
};
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::{AccountId, Cents, Lsn};

/// The account number that stands for "no second account".
pub(super) const NO_ACCOUNT: u32 = u32::MAX;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Money came in.
    Deposit,
    /// Money went out.
    Withdraw,
    /// Money moved from the first account to the second.
    Transfer,
}

impl Kind {
    /// The number on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Kind::Deposit => 1,
            Kind::Withdraw => 2,
            Kind::Transfer => 3,
        }
    }

    /// Its name, as people and programs see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Deposit => "deposit",
            Kind::Withdraw => "withdraw",
            Kind::Transfer => "transfer",
        }
    }

    /// What a number on disk means.
    pub fn from_code(code: u8) -> Result<Self, RecordError> {
        match code {
            1 => Ok(Kind::Deposit),
            2 => Ok(Kind::Withdraw),
            3 => Ok(Kind::Transfer),
            other => Err(RecordError::Kind(other)),
        }
    }
}

/// Its result; the numbers on disk are those of the wire's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done.
    Done,
    /// Refused: there was no such account.
    NoAccount,
    /// Refused: the account held too little.
    Insufficient,
    /// Refused: the operation was invalid.
    Invalid,
}

impl Verdict {
    /// The number on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Verdict::Done => 0,
            Verdict::NoAccount => 4,
            Verdict::Insufficient => 5,
            Verdict::Invalid => 8,
        }
    }

    /// What a number on disk means.
    pub fn from_code(code: u8) -> Result<Self, RecordError> {
        match code {
            0 => Ok(Verdict::Done),
            4 => Ok(Verdict::NoAccount),
            5 => Ok(Verdict::Insufficient),
            8 => Ok(Verdict::Invalid),
            other => Err(RecordError::Verdict(other)),
        }
    }
}

/// One operation, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    /// Its place in the order of all operations; never 0.
    pub lsn: Lsn,
    /// When it was decided, nanoseconds since 1970.
    pub time_ns: u64,
    /// What was asked for.
    pub kind: Kind,
    /// Its result. Refusals are journaled only when they have a key, so that a repeated request gets the same answer.
    pub verdict: Verdict,
    /// Who asked: the user's number, by `DATA/principals`.
    pub principal: u32,
    /// The accounts; a transfer, and nothing else, has a second one.
    pub accounts: (AccountId, Option<AccountId>),
    /// How much; positive when it was done, whatever was asked for in a refusal.
    pub amount: Cents,
    /// The balances afterwards, in the order of the accounts; zero where there is no account, and in a refusal.
    pub balances: [Cents; 2],
    /// The records that changed the accounts before; 0 for none, where there is no account, and in a refusal.
    pub previous: [Lsn; 2],
    /// The idempotency key of the request.
    pub key: Option<[u8; KEY_BYTES]>,
}

impl OperationRecord {
    /// Whether it changed the accounts.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.verdict == Verdict::Done
    }

    /// What it deposited, and what it withdrew.
    #[inline]
    #[must_use]
    pub fn deposited_and_withdrawn(&self) -> (Cents, Cents) {
        match (self.kind, self.verdict) {
            (Kind::Deposit, Verdict::Done) => (self.amount, Cents::ZERO),
            (Kind::Withdraw, Verdict::Done) => (Cents::ZERO, self.amount),
            _ => (Cents::ZERO, Cents::ZERO),
        }
    }

    /// The record's bytes: without an entry until [`stamp`](super::stamp) gives it one, and not yet sealed: `synced` and checksum
    /// are zero until [`seal`](super::seal) fills them in.
    ///
    /// Balances and links are written as zero where the layout demands that.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        let (first, second) = self.accounts;
        debug_assert_eq!(second.is_some(), self.kind == Kind::Transfer);
        debug_assert!(self.is_done() || self.key.is_some(), "a refusal is journaled only when it is keyed");
        let mut bytes = [0; RECORD_BYTES];
        LittleEndian::write_u64(&mut bytes[AT_LSN..], self.lsn.0);
        LittleEndian::write_u64(&mut bytes[AT_TIME..], self.time_ns);
        bytes[AT_KIND] = self.kind.code();
        bytes[AT_VERDICT] = self.verdict.code();
        LittleEndian::write_u32(&mut bytes[AT_PRINCIPAL..], self.principal);
        LittleEndian::write_u32(&mut bytes[AT_ACCOUNTS..], first.0);
        LittleEndian::write_u32(&mut bytes[AT_ACCOUNTS + 4..], second.map_or(NO_ACCOUNT, |account| account.0));
        LittleEndian::write_i64(&mut bytes[AT_AMOUNT..], self.amount.0);
        if self.is_done() {
            LittleEndian::write_i64(&mut bytes[AT_BALANCES..], self.balances[0].0);
            LittleEndian::write_u64(&mut bytes[AT_PREVIOUS..], self.previous[0].0);
            if second.is_some() {
                LittleEndian::write_i64(&mut bytes[AT_BALANCES + 8..], self.balances[1].0);
                LittleEndian::write_u64(&mut bytes[AT_PREVIOUS + 8..], self.previous[1].0);
            }
        }
        if let Some(key) = self.key {
            LittleEndian::write_u16(&mut bytes[AT_FLAGS..], KEYED);
            bytes[AT_KEY..AT_SYNCED].copy_from_slice(&key);
        }
        bytes
    }

    /// Reads what is an operation's own, and checks it. What is common to all records, [`Record::decode`](super::Record::decode) has checked.
    #[inline]
    pub(super) fn decode(bytes: &RecordBytes) -> Result<Self, RecordError> {
        let u64_at = |at: usize| LittleEndian::read_u64(&bytes[at..]);
        let i64_at = |at: usize| LittleEndian::read_i64(&bytes[at..]);
        let kind = Kind::from_code(bytes[AT_KIND])?;
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&bytes[AT_KEY..AT_SYNCED]);
        let keyed = LittleEndian::read_u16(&bytes[AT_FLAGS..]) & KEYED != 0;
        if !keyed && key != [0; KEY_BYTES] {
            return Err(RecordError::Key);
        }
        let second = LittleEndian::read_u32(&bytes[AT_ACCOUNTS + 4..]);
        if kind != Kind::Transfer && second != NO_ACCOUNT {
            return Err(RecordError::Second(second));
        }
        let record = OperationRecord {
            lsn: lsn_of(bytes),
            time_ns: u64_at(AT_TIME),
            kind,
            verdict: Verdict::from_code(bytes[AT_VERDICT])?,
            principal: LittleEndian::read_u32(&bytes[AT_PRINCIPAL..]),
            // A refused transfer keeps the number that was asked for, even the one that otherwise means "none".
            accounts: (
                AccountId(LittleEndian::read_u32(&bytes[AT_ACCOUNTS..])),
                (kind == Kind::Transfer).then_some(AccountId(second)),
            ),
            amount: Cents(i64_at(AT_AMOUNT)),
            balances: [Cents(i64_at(AT_BALANCES)), Cents(i64_at(AT_BALANCES + 8))],
            previous: [Lsn(u64_at(AT_PREVIOUS)), Lsn(u64_at(AT_PREVIOUS + 8))],
            key: keyed.then_some(key),
        };
        record.check_consistency()?;
        Ok(record)
    }

    /// Checks the fields against each other.
    #[inline]
    fn check_consistency(&self) -> Result<(), RecordError> {
        if !self.is_done() && self.key.is_none() {
            return Err(RecordError::UnkeyedRefusal);
        }
        if self.is_done() && self.amount <= Cents::ZERO {
            return Err(RecordError::Amount(self.amount));
        }
        let (first, second) = self.accounts;
        if let Some(second) = second.filter(|&second| self.is_done() && (second == first || second.0 == NO_ACCOUNT)) {
            return Err(RecordError::Second(second.0));
        }
        for (place, there) in [self.is_done(), self.is_done() && second.is_some()].into_iter().enumerate() {
            let (balance, previous) = (self.balances[place], self.previous[place]);
            // An account that received money has at least that much.
            let gains = there && (self.kind == Kind::Deposit || place == 1);
            let least = if gains { self.amount } else { Cents::ZERO };
            if balance < least || (!there && balance != Cents::ZERO) {
                return Err(RecordError::Balance(balance));
            }
            if previous >= self.lsn || (!there && previous != Lsn(0)) {
                return Err(RecordError::Previous(previous));
            }
        }
        Ok(())
    }
}
