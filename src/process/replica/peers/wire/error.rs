//! What can be wrong with a frame.

use super::kind::FrameKind;
use crate::base::limits::{MAX_LSN, MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS};

/// Why bytes are no frame, or a message cannot be one. Nothing of such a frame is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It does not begin as a frame does.
    #[error("it does not begin as a frame does")]
    Magic,
    /// A version that this program does not speak.
    #[error("version {0} of the protocol")]
    Version(u16),
    /// A kind that there is not.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A byte that must be zero is not.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// The header was damaged.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// The body was damaged.
    #[error("the body's checksum is wrong")]
    BodyChecksum,
    /// The records were damaged.
    #[error("the records' checksum is wrong")]
    RecordsChecksum,
    /// A body that is longer than one of its kind can be.
    #[error("a body of {length} bytes, and {kind:?} has {most} at most")]
    Length {
        /// What it is said to be.
        kind: FrameKind,
        /// Bytes of its body.
        length: usize,
        /// The most that there may be.
        most: usize,
    },
    /// More records than a frame can have, or records in a frame that has none.
    #[error("{count} records, and {kind:?} has {most} at most")]
    Records {
        /// What it is said to be.
        kind: FrameKind,
        /// How many there are.
        count: u64,
        /// The most that there may be.
        most: u64,
    },
    /// The body ends before what it is to hold does.
    #[error("the body ends too early")]
    Short,
    /// The body goes on behind what it is to hold.
    #[error("{0} bytes too many in the body")]
    Trailing(usize),
    /// A kind of frame that is not to come now.
    #[error("{0:?} is not to come now")]
    Unexpected(FrameKind),
    /// A node of number 0.
    #[error("node 0 is nobody")]
    Node,
    /// A replica number that there cannot be.
    #[error("replica {0} is not of 1 to {MAX_REPLICAS}")]
    Replica(u8),
    /// An address that is empty, too long, or not of printable characters.
    #[error("an address that is not 1 to {MAX_PEER_ADDRESS_BYTES} printable characters of ASCII")]
    Address,
    /// A cluster of identity 0 where there must be one.
    #[error("no identity of a cluster")]
    Cluster,
    /// No accounts, or a total below zero.
    #[error("books that cannot be")]
    Books,
    /// More members than there can be, or no voter.
    #[error("{0} members, and there are 1 to {MAX_REPLICAS}, one of them a voter at least")]
    Members(usize),
    /// The same node twice.
    #[error("a node is a member twice")]
    MemberTwice,
    /// A kind of message that there is not.
    #[error("unknown kind of message {0}")]
    MessageKind(u8),
    /// A flag that there is not.
    #[error("unknown flag in {0:#04x}")]
    Flags(u8),
    /// A kind of entry that there is not.
    #[error("unknown kind of entry {0}")]
    EntryKind(u8),
    /// A kind of change that there is not.
    #[error("unknown kind of change {0}")]
    ChangeKind(u8),
    /// More entries than a message can have, or entries in a message that has none.
    #[error("{0} entries")]
    Entries(usize),
    /// An entry that does not follow the one before.
    #[error("entry {index} does not follow the one before")]
    Gap {
        /// The entry.
        index: u64,
    },
    /// An entry of an earlier term than the one before, or of a later one than the message.
    #[error("entry {index} has a term that cannot be")]
    EntryTerm {
        /// The entry.
        index: u64,
    },
    /// A first record behind the last.
    #[error("entry {index} ends before it begins")]
    Backwards {
        /// The entry.
        index: u64,
    },
    /// An LSN that is no place in the journal.
    #[error("LSN {0} is not of 1 to {MAX_LSN}")]
    Lsn(u64),
    /// A change of membership that is not one record.
    #[error("entry {index} changes the membership and is not one record")]
    ChangeRecords {
        /// The entry.
        index: u64,
    },
    /// More or fewer records than the entries have.
    #[error("{records} records, and the entries have {entries}")]
    RecordCount {
        /// Records in the frame.
        records: u64,
        /// Records that the entries have.
        entries: u64,
    },
    /// A record that is not the one that should be there.
    #[error("record {found} where {wanted} should be")]
    RecordLsn {
        /// What its bytes claim.
        found: u64,
        /// What it should be.
        wanted: u64,
    },
    /// A snapshot in a message of another kind, or none in a message of that kind.
    #[error("a message without its snapshot, or a snapshot without its message")]
    Snapshot,
    /// A chunk of no bytes, of too many, or beyond 64 bits.
    #[error("a chunk that cannot be part of a snapshot")]
    Chunk,
    /// A reason to refuse a snapshot that there is not.
    #[error("unknown reason {0} to refuse a snapshot")]
    Reason(u8),
    /// A message from or to somebody else.
    #[error("a message from or to somebody else")]
    Misaddressed,
}
