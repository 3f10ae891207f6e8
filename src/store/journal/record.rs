//! One record: 128 bytes that say what was done or refused, chained to the record before.
//!
//! The layout is fixed and little-endian, whatever machine writes it. A record's checksum covers the checksum of the record
//! before it, and so the whole journal so far: a record that is lost, repeated or in the wrong place breaks the chain. The
//! chain starts from the identity of the data directory.

use byteorder::{ByteOrder, LittleEndian};

use crate::base::limits::{KEY_BYTES, MAX_LSN};
use crate::base::vocab::{AccountId, Cents, Lsn};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 128;
/// A record as it is in the file.
pub type RecordBytes = [u8; RECORD_BYTES];

const AT_LSN: usize = 0; // u64
const AT_TERM: usize = AT_LSN + 8; // u64
const AT_TIME: usize = AT_TERM + 8; // u64
const AT_KIND: usize = AT_TIME + 8; // u8
const AT_VERDICT: usize = AT_KIND + 1; // u8
const AT_FLAGS: usize = AT_VERDICT + 1; // u16
const AT_PRINCIPAL: usize = AT_FLAGS + 2; // u32
const AT_ACCOUNTS: usize = AT_PRINCIPAL + 4; // 2 × u32
const AT_AMOUNT: usize = AT_ACCOUNTS + 8; // i64
const AT_BALANCES: usize = AT_AMOUNT + 8; // 2 × i64
const AT_PREVIOUS: usize = AT_BALANCES + 16; // 2 × u64
const AT_KEY: usize = AT_PREVIOUS + 16; // the idempotency key
const AT_SYNCED: usize = AT_KEY + KEY_BYTES; // u64: the highest LSN that was durable when this was written
const AT_RESERVED: usize = AT_SYNCED + 8; // 20 bytes, zero in this version
const AT_CRC: usize = AT_RESERVED + 20; // u32

const _: () = {
    assert!(AT_CRC + 4 == RECORD_BYTES);
    assert!(AT_ACCOUNTS == 32 && AT_AMOUNT == 40 && AT_PREVIOUS == 64 && AT_SYNCED == 96, "as documented");
};

/// The account number that stands for "no second account".
const NO_ACCOUNT: u32 = u32::MAX;
/// Flag bit: an idempotency key is there.
const KEYED: u16 = 1;

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
pub struct Record {
    /// Its place in the order of all operations; never 0.
    pub lsn: Lsn,
    /// Who led the replicas when it was written; 0 as long as there are none.
    pub term: u64,
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

/// Why 128 bytes are not a record, although their checksum may be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The LSN is 0, or beyond all that there can be.
    #[error("LSN {0} is no place in the journal")]
    Lsn(Lsn),
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A verdict that this version does not know.
    #[error("unknown verdict {0}")]
    Verdict(u8),
    /// A flag that this version does not know.
    #[error("unknown flag in {0:#06x}")]
    Flags(u16),
    /// A reserved byte is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// A key without the flag for it.
    #[error("a key without its flag")]
    Key,
    /// A refusal without a key; such are never journaled.
    #[error("a refusal without a key")]
    UnkeyedRefusal,
    /// A second account where there is none, or the first one again.
    #[error("wrong second account {0}")]
    Second(u32),
    /// An amount that cannot have been moved.
    #[error("amount {0} cannot have been moved")]
    Amount(Cents),
    /// A balance below zero, below what the account has just been given, or one of no account.
    #[error("balance {0} cannot be")]
    Balance(Cents),
    /// A link to a record that is not earlier, or of no account.
    #[error("link to record {0}, which cannot have been before")]
    Previous(Lsn),
}

impl Record {
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

    /// The record's bytes, not yet sealed: `synced` and checksum are zero until [`seal`] fills them in.
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
        LittleEndian::write_u64(&mut bytes[AT_TERM..], self.term);
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

    /// Reads a record and checks every field of it but the checksum, which is [`check`]'s.
    #[inline]
    pub fn decode(bytes: &RecordBytes) -> Result<Record, RecordError> {
        let u64_at = |at: usize| LittleEndian::read_u64(&bytes[at..]);
        let i64_at = |at: usize| LittleEndian::read_i64(&bytes[at..]);
        let flags = LittleEndian::read_u16(&bytes[AT_FLAGS..]);
        if flags & !KEYED != 0 {
            return Err(RecordError::Flags(flags));
        }
        let kind = Kind::from_code(bytes[AT_KIND])?;
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&bytes[AT_KEY..AT_SYNCED]);
        let keyed = flags & KEYED != 0;
        if !keyed && key != [0; KEY_BYTES] {
            return Err(RecordError::Key);
        }
        if bytes[AT_RESERVED..AT_CRC] != [0; AT_CRC - AT_RESERVED] {
            return Err(RecordError::Reserved);
        }
        let second = LittleEndian::read_u32(&bytes[AT_ACCOUNTS + 4..]);
        if kind != Kind::Transfer && second != NO_ACCOUNT {
            return Err(RecordError::Second(second));
        }
        let record = Record {
            lsn: lsn_of(bytes),
            term: u64_at(AT_TERM),
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
        if self.lsn == Lsn(0) || self.lsn.0 > MAX_LSN {
            return Err(RecordError::Lsn(self.lsn));
        }
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

/// The LSN that a record's bytes claim.
#[inline]
#[must_use]
pub fn lsn_of(bytes: &RecordBytes) -> Lsn {
    Lsn(LittleEndian::read_u64(&bytes[AT_LSN..]))
}

/// The highest LSN that was durable when these bytes were written.
#[inline]
#[must_use]
pub fn synced_of(bytes: &RecordBytes) -> Lsn {
    Lsn(LittleEndian::read_u64(&bytes[AT_SYNCED..]))
}

/// The checksum in a record's bytes.
#[inline]
#[must_use]
pub fn stored_crc(bytes: &RecordBytes) -> u32 {
    LittleEndian::read_u32(&bytes[AT_CRC..])
}

/// The checksum that a record's bytes should carry behind a record of checksum `chain`: CRC-32 (IEEE) of all 128 bytes, with
/// `chain` in the place of the checksum itself.
#[inline]
#[must_use]
pub fn computed_crc(bytes: &RecordBytes, chain: u32) -> u32 {
    // Continuing the predecessor's checksum over 124 bytes would be as strong and take half as long again: the wide steps of the
    // computation need whole blocks, and begin at 128 bytes.
    let mut block = *bytes;
    LittleEndian::write_u32(&mut block[AT_CRC..], chain);
    crc32fast::hash(&block)
}

/// Completes a record that will be written behind one of checksum `chain`; gives its own checksum.
///
/// `synced` is the highest LSN known to be durable: recovery tells a torn tail from a damaged journal by it.
#[inline]
pub fn seal(bytes: &mut RecordBytes, synced: Lsn, chain: u32) -> u32 {
    LittleEndian::write_u64(&mut bytes[AT_SYNCED..], synced.0);
    let crc = computed_crc(bytes, chain);
    LittleEndian::write_u32(&mut bytes[AT_CRC..], crc);
    crc
}

/// Whether a record's checksum is right behind a record of checksum `chain`.
#[inline]
#[must_use]
pub fn check(bytes: &RecordBytes, chain: u32) -> bool {
    stored_crc(bytes) == computed_crc(bytes, chain)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
