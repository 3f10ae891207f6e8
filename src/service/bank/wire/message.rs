//! What requests and responses have in common: how a body can be wrong, and how one is put together.

use byteorder::{BigEndian, ByteOrder};

use super::opcode::{Opcode, UnknownOpcode};
use super::status::{Status, UnknownStatus};
use crate::base::limits::{HEADER_BYTES, MAX_REPLY_BYTES};
use crate::base::vocab::{AccountId, Cents, Lsn};

/// Why a body is not the message that its header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is shorter or longer than the message.
    #[error("a body of {got} bytes is no {opcode} message")]
    Length {
        /// The message that the header announced.
        opcode: Opcode,
        /// The bytes that the body has.
        got: usize,
    },
    /// The header names no known operation.
    #[error(transparent)]
    Opcode(#[from] UnknownOpcode),
    /// The response names no known status.
    #[error(transparent)]
    Status(#[from] UnknownStatus),
    /// The status and the error flag contradict each other.
    #[error("a response with status {0} whose error flag says otherwise")]
    Contradiction(Status),
    /// An idempotency key where there is nothing that could be done twice.
    #[error("{0} moves no money and takes no idempotency key")]
    Key(Opcode),
    /// A page of a statement, or what CLUSTER tells, where a short reply was to be read; [`Statement`](super::Statement) and
    /// [`Cluster`](super::Cluster) read them.
    #[error("the answer to {0} is longer than a short reply")]
    Page(Opcode),
    /// A role in the answer to CLUSTER that is none.
    #[error("{0} is no role of a member")]
    Role(u8),
    /// More members in the answer to CLUSTER than a cluster can have, or a longer address than a member can have.
    #[error("an answer to CLUSTER with {0} members, or an address that is too long or no text")]
    Members(usize),
    /// An entry of a statement whose kind is unknown, or has a counterparty where it cannot or none where it must.
    #[error("a statement's entry of kind {kind} with the counterparty {counterparty:#x}")]
    Entry {
        /// The kind's number.
        kind: u8,
        /// The counterparty as sent.
        counterparty: u32,
    },
    /// An entry of a statement that moved nothing, or less.
    #[error("a statement's entry of {} cents", .0.0)]
    Amount(Cents),
}

/// Room for any message but LOGIN: header, key, and the longest body.
const ROOM: usize = MAX_REPLY_BYTES;

/// A message of a bounded length being put together, right where its reader wants it.
pub(super) struct Draft<'b> {
    pub(super) bytes: &'b mut [u8; ROOM],
    pub(super) length: usize,
}

impl<'b> Draft<'b> {
    /// One whose header is still to be sealed; what `bytes` held before does not matter.
    #[inline]
    pub(super) fn over(bytes: &'b mut [u8; ROOM]) -> Draft<'b> {
        Draft { bytes, length: HEADER_BYTES }
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    #[inline]
    pub(super) fn put_account(&mut self, account: AccountId) {
        self.put(&account.0.to_be_bytes());
    }

    #[inline]
    pub(super) fn put_lsn(&mut self, lsn: Lsn) {
        self.put(&lsn.0.to_be_bytes());
    }

    #[inline]
    pub(super) fn put_cents(&mut self, amount: Cents) {
        self.put(&amount.0.to_be_bytes());
    }

    #[inline]
    pub(super) fn put_status(&mut self, status: Status) {
        self.put(&status.code().to_be_bytes());
    }
}

#[inline]
pub(super) fn account_at(body: &[u8], at: usize) -> AccountId {
    AccountId(BigEndian::read_u32(&body[at..]))
}

#[inline]
pub(super) fn cents_at(body: &[u8], at: usize) -> Cents {
    Cents(BigEndian::read_i64(&body[at..]))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
