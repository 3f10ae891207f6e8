//! What the owner of the connections gives and gets.

use std::os::fd::BorrowedFd;

use super::refusal::{Closed, Refusal};
use super::settings::Identity;
use super::wire::{Found, SnapshotFrame};
use crate::base::vocab::Lsn;
use crate::process::replica::message::Message;
use crate::store::cluster::{NodeId, ReplicaId};
use crate::store::journal::record::RecordBytes;

/// Where the records of entries are read, when the socket of a peer can take them: ring or segments.
pub trait Records {
    /// Appends the records `first` to `last`, 128 bytes each, to `into`. They are those of entry `index` of `term`; `None` when that entry is
    /// not, or no longer, what the log has there: then the message is dropped. `into` may then have been appended to.
    fn read(&self, first: Lsn, last: Lsn, index: u64, term: u64, into: &mut Vec<u8>) -> Option<()>;
}

/// What has happened.
#[derive(Debug)]
pub enum PeerEvent {
    /// A peer has proved that it belongs here; messages can be sent to it.
    Connected(Accepted),
    /// The connection to it is gone. It is made again.
    Disconnected {
        /// Which node.
        node: NodeId,
        /// Its number.
        replica: ReplicaId,
        /// Why.
        why: Closed,
    },
    /// A raft message; its sender and receiver have been checked.
    Message {
        /// What it says.
        message: Message,
        /// The records of its entries, in order. Their LSNs have been checked, their checksums in the log's chain have not.
        records: Vec<RecordBytes>,
    },
    /// A founder or member says which cluster this node is a member of.
    Found {
        /// Who says it.
        from: NodeId,
        /// What it says.
        found: Found,
    },
    /// A piece of a snapshot, or an answer about one.
    Snapshot {
        /// Who sends it.
        from: NodeId,
        /// What it is.
        frame: SnapshotFrame,
    },
    /// A connection ended before its other end was accepted as a peer, or could not be made.
    Refused {
        /// Which configured peer was to be reached; `None` for who connected here.
        replica: Option<ReplicaId>,
        /// Where the other end is; the name, where that could not be looked up.
        place: String,
        /// Why.
        why: Refusal,
    },
}

/// A peer that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it says of itself, which it has proved to know the secret for. Whether it is fresh stands in `cluster`.
    pub peer: Identity,
    /// The node that the membership, or this node, has under the same number: it was replaced, or is being.
    pub replaces: Option<NodeId>,
}

impl Accepted {
    /// Whether it is no member of any cluster yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.peer.cluster.is_none()
    }
}

/// Which descriptor of the connections something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub(super) u64);

/// What is to be polled for, level-triggered, as by poll(2).
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// By which readiness is told.
    pub token: Token,
    /// What to poll.
    pub fd: BorrowedFd<'a>,
    /// Whether for reading.
    pub read: bool,
    /// Whether for writing.
    pub write: bool,
}

/// What a descriptor was found ready for. POLLERR and POLLHUP count as both.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which one; a descriptor that has been closed meanwhile is passed over.
    pub token: Token,
    /// It can be read.
    pub read: bool,
    /// It can be written to.
    pub write: bool,
}
