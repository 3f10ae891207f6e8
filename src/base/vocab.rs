//! The words of the bank: account numbers, money, log positions, sessions.
//!
//! Each is its own type, so that an amount can never be passed where an account is meant.

use std::fmt;
use std::str::FromStr;

use crate::base::limits::MAX_REPLICAS;

/// An account number; valid ones are `0 .. accounts` of the running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount of money in cents; negative only in differences and in requests that are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cents(pub i64);

impl Cents {
    /// Nothing.
    pub const ZERO: Cents = Cents(0);

    /// The sum, or `None` where it does not fit in 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Cents) -> Option<Cents> {
        self.0.checked_add(other.0).map(Cents)
    }

    /// The difference, or `None` where it does not fit in 64 bits.
    #[must_use]
    pub fn checked_sub(self, other: Cents) -> Option<Cents> {
        self.0.checked_sub(other.0).map(Cents)
    }
}

/// Writes decimal money with exactly two places: `-12.05`.
impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not of the form `12`, `12.3` or `12.34`, with an optional sign.
    #[error("`{0}` is not an amount of money: write it like 12, 12.3 or 12.34")]
    Malformed(String),
    /// Larger than 64 bits of cents can hold.
    #[error("`{0}` is beyond the largest amount, 92233720368547758.07")]
    TooLarge(String),
}

/// Reads decimal money: `12`, `12.3`, `12.34`, with an optional sign; never more than two places.
impl FromStr for Cents {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed(text.to_owned());
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, places) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(places) || places.len() > 2 {
            return Err(malformed());
        }
        let too_large = || MoneyError::TooLarge(text.to_owned());
        let units: i64 = whole.parse().map_err(|_| too_large())?;
        let hundredths: i64 = format!("{places:0<2}").parse().map_err(|_| malformed())?;
        let cents = units.checked_mul(100).and_then(|c| c.checked_add(hundredths)).ok_or_else(too_large)?;
        Ok(Cents(if negative { -cents } else { cents }))
    }
}

/// A log sequence number: the place of an operation in the one order of all operations; the first is 1, 0 means "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far the journal of this instance is on its own disk: all records up to this one.
///
/// It says which places of the ring may be used again. It does not say what may be shown; that is [`Committed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnDisk(pub Lsn);

/// How far operations are committed: none up to this one can be lost any more, so all of them may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed(pub Lsn);

impl Committed {
    /// Of an instance without peers, where what is on its disk is committed.
    #[must_use]
    pub fn alone(on_disk: OnDisk) -> Self {
        Committed(on_disk.0)
    }

    /// Whether operation `lsn` is committed.
    #[inline]
    #[must_use]
    pub fn includes(self, lsn: Lsn) -> bool {
        lsn <= self.0
    }
}

/// What the version of a key must be, so that a write to the key-value store is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Any, and the key need not be there.
    #[default]
    Always,
    /// The key must not be there.
    IfAbsent,
    /// This one; a key that is not there has none.
    IfVersion(u64),
}

impl Condition {
    /// Its number, as in `kv_condition` of `docs/kv.x`, and the version that is expected; 0 where none is.
    #[must_use]
    pub fn to_code(self) -> (u8, u64) {
        match self {
            Condition::Always => (0, 0),
            Condition::IfAbsent => (1, 0),
            Condition::IfVersion(version) => (2, version),
        }
    }

    /// What a number means, with the version that is expected; `None` where it means nothing, or the version is one of no condition.
    #[must_use]
    pub fn from_code(code: u8, expected: u64) -> Option<Self> {
        match (code, expected) {
            (0, 0) => Some(Condition::Always),
            (1, 0) => Some(Condition::IfAbsent),
            (2, version) => Some(Condition::IfVersion(version)),
            _ => None,
        }
    }

    /// Whether a key of this version may be written; 0 stands for a key that is not there.
    #[must_use]
    pub fn admits(self, current: Lsn) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfAbsent => current == Lsn(0),
            Condition::IfVersion(version) => current.0 == version && version > 0,
        }
    }
}

/// What a server is in its cluster; the numbers are the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplicaRole {
    /// It has no peers, and answers everything.
    #[default]
    Alone = 0,
    /// It applies what the primary does.
    Follower = 1,
    /// It knows no primary, and asks to become it.
    Candidate = 2,
    /// It answers everything.
    Primary = 3,
    /// It applies what the primary does, and has no vote.
    Learner = 4,
}

impl ReplicaRole {
    /// All of them, by their numbers.
    pub const ALL: [ReplicaRole; 5] =
        [ReplicaRole::Alone, ReplicaRole::Follower, ReplicaRole::Candidate, ReplicaRole::Primary, ReplicaRole::Learner];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The role of that number.
    #[must_use]
    pub fn of(code: u8) -> Option<ReplicaRole> {
        ReplicaRole::ALL.get(usize::from(code)).copied()
    }

    /// The word in the documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReplicaRole::Alone => "alone",
            ReplicaRole::Follower => "follower",
            ReplicaRole::Candidate => "candidate",
            ReplicaRole::Primary => "primary",
            ReplicaRole::Learner => "learner",
        }
    }
}

/// The number that LOGIN hands out; never zero, so zero can stand for "not logged in".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

/// The number of an instance in its cluster, as it is configured: 1 to [`MAX_REPLICAS`].
///
/// It stays the same when an instance loses its data directory. Its identity (`NodeId`) does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ReplicaId(u8);

impl ReplicaId {
    /// The id of that number; `None` beyond 1 to [`MAX_REPLICAS`].
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=MAX_REPLICAS).contains(&number).then_some(ReplicaId(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is none of an instance in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a whole number from 1 to {MAX_REPLICAS}")]
pub struct NoReplicaId(u8);

impl TryFrom<u8> for ReplicaId {
    type Error = NoReplicaId;

    fn try_from(number: u8) -> Result<Self, NoReplicaId> {
        ReplicaId::new(number).ok_or(NoReplicaId(number))
    }
}

impl From<ReplicaId> for u8 {
    fn from(replica: ReplicaId) -> u8 {
        replica.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn money_reads_what_people_write() {
        for (text, cents) in [("0", 0), ("12", 1200), ("12.3", 1230), ("12.34", 1234), ("-0.05", -5), ("+1.00", 100)] {
            assert_eq!(text.parse(), Ok(Cents(cents)), "{text}");
        }
        for text in ["", ".", "-", "1.", ".5", "1.234", "1e3", "1,00", " 1", "--1", "1.-1"] {
            assert!(matches!(text.parse::<Cents>(), Err(MoneyError::Malformed(_))), "{text}");
        }
        for text in ["92233720368547758.08", "99999999999999999999"] {
            assert!(matches!(text.parse::<Cents>(), Err(MoneyError::TooLarge(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn money_round_trips(cents in (i64::MIN + 1)..=i64::MAX) {
            prop_assert_eq!(Cents(cents).to_string().parse(), Ok(Cents(cents)));
        }
    }
}
