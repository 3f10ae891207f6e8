//! One record: 128 bytes that say what was done or refused, chained to the record before.
//!
//! The layout is fixed and little-endian, whatever machine writes it. A record's checksum covers the checksum of the record
//! before it, and so the whole journal so far: a record that is lost, repeated or in the wrong place breaks the chain. The
//! chain starts from the identity of the data directory.

mod error;
mod key_value;
mod layout;
mod operation;
mod replication;

use byteorder::{ByteOrder, LittleEndian};

use crate::base::limits::MAX_LSN;
use crate::base::vocab::Lsn;
pub use error::RecordError;
pub use key_value::{
    BLOCK_BYTES, FIRST_BLOCK_BYTES, Fingerprint, KvHead, KvKind, KvPiece, KvVerdict, MAX_BLOCKS, MAX_WRITE_RECORDS,
    NEXT_BLOCK_BYTES, PIECE_BYTES, blocks_of, is_piece, write_records,
};
pub use layout::{
    Place, RECORD_BYTES, RecordBytes, check, computed_crc, lsn_of, place_of, seal, stamp, stored_crc, synced_of,
    time_of, unseal,
};
pub use operation::{Kind, OperationRecord, Verdict};
pub use replication::{MAX_PAYLOAD_BYTES, MembershipRecord, Payload, TermRecord};

use layout::{AT_CODE, AT_CRC, AT_FLAGS, AT_KIND, AT_REFERENCE, ENDS_ENTRY, KEYED};

/// One record, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The raft term of its entry; 0 on an instance without peers.
    pub term: u64,
    /// The raft index of its entry; 0 on an instance without peers.
    pub index: u64,
    /// Whether it is the last record of its entry; never without peers.
    pub ends_entry: bool,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An operation was done or refused.
    Operation(OperationRecord),
    /// A term of raft has begun.
    Term(TermRecord),
    /// The members of the cluster change.
    Membership(MembershipRecord),
    /// A write to the key-value store was done or refused.
    KvHead(KvHead),
    /// A part of what such a write carries.
    KvPiece(KvPiece),
}

impl From<OperationRecord> for Record {
    /// Of an instance without peers.
    fn from(operation: OperationRecord) -> Self {
        Record { term: 0, index: 0, ends_entry: false, content: Content::Operation(operation) }
    }
}

impl Record {
    /// Its place in the order of all operations; never 0.
    #[inline]
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        match &self.content {
            Content::Operation(operation) => operation.lsn,
            Content::Term(term) => term.lsn,
            Content::Membership(membership) => membership.lsn,
            Content::KvHead(head) => head.lsn,
            Content::KvPiece(piece) => piece.lsn,
        }
    }

    /// When it was decided, nanoseconds since 1970; never earlier than the record before.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match &self.content {
            Content::Operation(operation) => operation.time_ns,
            Content::Term(term) => term.time_ns,
            Content::Membership(membership) => membership.time_ns,
            Content::KvHead(head) => head.time_ns,
            Content::KvPiece(piece) => piece.time_ns,
        }
    }

    /// Its place, and that of its entry.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { lsn: self.lsn(), term: self.term, index: self.index, ends_entry: self.ends_entry }
    }

    /// The operation, if it is of one.
    #[inline]
    #[must_use]
    pub fn operation(&self) -> Option<&OperationRecord> {
        match &self.content {
            Content::Operation(operation) => Some(operation),
            _ => None,
        }
    }

    /// The operation, if it is of one.
    #[must_use]
    pub fn into_operation(self) -> Option<OperationRecord> {
        match self.content {
            Content::Operation(operation) => Some(operation),
            _ => None,
        }
    }

    /// The record's bytes, not yet sealed: `synced` and checksum are zero until [`seal`] fills them in.
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        let mut bytes = match &self.content {
            Content::Operation(operation) => operation.encode(),
            Content::Term(term) => term.encode(),
            Content::Membership(membership) => membership.encode(),
            Content::KvHead(head) => head.encode(),
            Content::KvPiece(piece) => piece.encode(),
        };
        if self.index > 0 {
            stamp(&mut bytes, self.term, self.index, self.ends_entry);
        }
        bytes
    }

    /// Reads a record and checks every field of it but `synced`, and the checksum, which is [`check`]'s.
    #[inline]
    pub fn decode(bytes: &RecordBytes) -> Result<Record, RecordError> {
        let flags = LittleEndian::read_u16(&bytes[AT_FLAGS..]);
        let Place { lsn, term, index, ends_entry } = place_of(bytes);
        if flags & !(KEYED | ENDS_ENTRY) != 0 {
            return Err(RecordError::Flags(flags));
        }
        if lsn == Lsn(0) || lsn.0 > MAX_LSN {
            return Err(RecordError::Lsn(lsn));
        }
        if (term == 0) != (index == 0) || index > MAX_LSN {
            return Err(RecordError::Entry { term, index });
        }
        if ends_entry && index == 0 {
            return Err(RecordError::NoEntry);
        }
        let kind = bytes[AT_KIND];
        let content = match (kind, KvKind::from_code(kind)) {
            (replication::TERM | replication::MEMBERSHIP | key_value::PIECE, _) if flags & KEYED != 0 => {
                return Err(RecordError::Flags(flags));
            }
            (replication::TERM | replication::MEMBERSHIP, _) if index == 0 => return Err(RecordError::NoEntry),
            (key_value::PIECE, _) => Content::KvPiece(KvPiece::decode(bytes)?),
            (_, Some(kind)) => Content::KvHead(KvHead::decode(bytes, kind)?),
            // The reference and the code: other kinds have no meaning for them yet.
            _ if bytes[AT_REFERENCE..AT_CRC] != [0; AT_CRC - AT_REFERENCE] => return Err(RecordError::Reserved),
            (replication::TERM, _) => Content::Term(TermRecord::decode(bytes)?),
            (replication::MEMBERSHIP, _) => Content::Membership(MembershipRecord::decode(bytes)?),
            _ => Content::Operation(OperationRecord::decode(bytes)?),
        };
        Ok(Record { term, index, ends_entry, content })
    }

    /// Whether the operation that it is of has begun with an earlier record.
    #[must_use]
    pub fn is_piece(&self) -> bool {
        matches!(self.content, Content::KvPiece(_))
    }
}

const _: () = assert!(AT_REFERENCE + 8 == AT_CODE, "both are checked as one");

#[cfg(test)]
mod tests;
