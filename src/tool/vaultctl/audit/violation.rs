//! What an audit finds wrong.

use std::path::PathBuf;

use crate::base::vocab::{AccountId, Cents, Lsn};

/// The first thing that is wrong, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("record {lsn}, byte {offset} of {}: {what}", path.display())]
pub(super) struct Violation {
    /// The record.
    pub(super) lsn: Lsn,
    /// The file that it stands in.
    pub(super) path: PathBuf,
    /// The byte in it.
    pub(super) offset: u64,
    /// What is wrong.
    pub(super) what: Inconsistency,
}

/// What is wrong with a record, or with what should agree with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Inconsistency {
    /// A link.
    #[error("it says that record {says} changed account {account} before; that was record {was}")]
    Link {
        /// The account.
        account: AccountId,
        /// What the record says.
        says: Lsn,
        /// What is so.
        was: Lsn,
    },
    /// A balance.
    #[error("it says that account {account} held {says} afterwards; by the amounts it held {held}")]
    Balance {
        /// The account.
        account: AccountId,
        /// What the record says.
        says: Cents,
        /// What is so.
        held: Cents,
    },
    /// An account that was overdrawn.
    #[error("it took {amount} out of account {account}, which held {held}")]
    Overdrawn {
        /// The account.
        account: AccountId,
        /// How much.
        amount: Cents,
        /// What was there.
        held: Cents,
    },
    /// Money was made or lost.
    #[error("afterwards all accounts hold {sum}; opened, deposited and not withdrawn were {expected}")]
    Sum {
        /// What all accounts hold.
        sum: Cents,
        /// What they should.
        expected: Cents,
    },
    /// More came in, or went out, than there can be.
    #[error("with it more was deposited, or withdrawn, than there can be")]
    TooMuch,
    /// A key that was known.
    #[error("its key is that of record {earlier}, of the same user, {}", if *.same { "and so is its request: it was done twice" } else { "with another request" })]
    Key {
        /// The record that had it first.
        earlier: Lsn,
        /// Whether the requests are the same.
        same: bool,
    },
    /// An account in a snapshot.
    #[error("{} says that account {account} held {says} after record {of}; by the journal it held {held} after record {was}", path.display())]
    Snapshot {
        /// The snapshot.
        path: PathBuf,
        /// The account.
        account: AccountId,
        /// What the snapshot says.
        says: Cents,
        /// The record that it says this of.
        of: Lsn,
        /// What is so.
        held: Cents,
        /// The record that is so of.
        was: Lsn,
    },
    /// The sums in a snapshot.
    #[error("{} says that {says_in} had come in and {says_out} gone out; it was {came} and {went}", path.display())]
    Flows {
        /// The snapshot.
        path: PathBuf,
        /// Deposits that it says.
        says_in: Cents,
        /// Withdrawals that it says.
        says_out: Cents,
        /// What is so.
        came: Cents,
        /// What is so.
        went: Cents,
    },
    /// The memory of the server.
    #[error(
        "the server has account {account} at {says} after record {of}; by the journal it held {held} after record {was}"
    )]
    Memory {
        /// The account.
        account: AccountId,
        /// What the memory says.
        says: Cents,
        /// The record that it says this of.
        of: Lsn,
        /// What is so.
        held: Cents,
        /// The record that is so of.
        was: Lsn,
    },
}
