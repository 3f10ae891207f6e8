//! What nodes say to each other, as the core sees it: raft's messages, without the records of their entries.
//!
//! The records travel beside a message, from ring or segment of one node into the ring of the other. So a message is small however many
//! operations it is about.

use crate::base::vocab::Lsn;
use crate::store::cluster::{Change, Membership, NodeId};

/// A raft message. What a field means depends on the kind, as in raft; one that a kind has no use for is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is said.
    pub kind: MessageKind,
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The sender's term; 0 in the kinds that have none.
    pub term: u64,
    /// The term of entry `index`.
    pub log_term: u64,
    /// The entry before the first of `entries`, or the last that the sender has.
    pub index: u64,
    /// The last entry that is committed, as far as the receiver may know.
    pub commit: u64,
    /// The term of entry `commit`, in answers to a request for a vote that is refused.
    pub commit_term: u64,
    /// Whether what was asked is refused.
    pub reject: bool,
    /// The entry up to which the logs of both may agree, in a refusal.
    pub reject_hint: u64,
    /// The entry from which on a snapshot is asked for; 0 for none.
    pub request_snapshot: u64,
    /// The candidate's priority.
    pub priority: i64,
    /// What the answer is to repeat: the number of a round of reads, or [`CAMPAIGN_TRANSFER`](Self::CAMPAIGN_TRANSFER).
    pub context: u64,
    /// Entries to append, in order and without a gap.
    pub entries: Vec<EntryRange>,
    /// The snapshot that the receiver is to take over instead of entries.
    pub snapshot: Option<SnapshotRef>,
}

impl Message {
    /// The context of a request for votes that the leader itself has asked for, so that nobody refuses it for the leader's sake.
    pub const CAMPAIGN_TRANSFER: u64 = u64::MAX;
}

/// What is said: the kinds of raft that travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    /// Entries to append.
    Append = 1,
    /// They were appended, or not.
    AppendResponse = 2,
    /// Whether a vote would be had.
    RequestPreVote = 3,
    /// It would, or not.
    RequestPreVoteResponse = 4,
    /// A request for a vote.
    RequestVote = 5,
    /// The vote, or a refusal.
    RequestVoteResponse = 6,
    /// The leader lives.
    Heartbeat = 7,
    /// Its follower does.
    HeartbeatResponse = 8,
    /// A snapshot is to be taken over.
    Snapshot = 9,
    /// The receiver is to become leader at once.
    TimeoutNow = 10,
    /// A follower asks the leader to hand leadership over.
    TransferLeader = 11,
    /// A follower asks the leader for a round of reads.
    ReadIndex = 12,
    /// The answer to it.
    ReadIndexResponse = 13,
}

/// A raft entry: which records it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRange {
    /// Its place in raft's log; the first is 1.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its first record.
    pub first: Lsn,
    /// Its last record, `first` or later.
    pub last: Lsn,
    /// What it is besides operations.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Operations.
    Operations,
    /// The first entry of a term; its last record is the term's. Operations that the leader had carried out before come first.
    Term,
    /// A change of membership, in one record.
    Change(Change),
}

/// A snapshot, as raft sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRef {
    /// The last entry that it covers.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The last record of that entry.
    pub last: Lsn,
    /// The members at that entry.
    pub membership: Membership,
}
