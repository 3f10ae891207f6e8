//! Why bytes are not a record.

use crate::base::vocab::{Cents, Lsn};

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
    /// A byte that means nothing in a record of its kind is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// A term without an index, an index without a term, or one beyond all that there can be.
    #[error("term {term} and index {index} are no place in the log of a cluster")]
    Entry {
        /// The term.
        term: u64,
        /// The index.
        index: u64,
    },
    /// A record that only a cluster has, or the end of an entry, without an entry.
    #[error("it is no part of an entry of a cluster's log, and its kind or flag says that it is")]
    NoEntry,
    /// A membership of no bytes, or of more than there is room for.
    #[error("a membership of {0} bytes")]
    Payload(u32),
    /// A condition that this version does not know, or that has a version although it needs none.
    #[error("unknown condition {0}")]
    Condition(u8),
    /// Lengths of key and value that cannot be.
    #[error("a key of {key} bytes and a value of {value}")]
    Lengths {
        /// Of the key.
        key: u8,
        /// Of the value.
        value: u32,
    },
    /// A verdict that does not follow from version and condition, or counts that cannot follow from it.
    #[error("it says \"{0}\", and its version, condition and counts say that this cannot be")]
    Outcome(&'static str),
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
