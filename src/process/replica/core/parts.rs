//! What the core's state is made of.

use std::collections::VecDeque;

use crate::base::vocab::Lsn;
use crate::process::replica::message::Message;

/// What raft has asked for in one go, and is to be told when it is on disk.
pub(super) struct Pending {
    /// Raft's number for it.
    pub number: u64,
    /// What must be on disk for it, with all before it.
    pub needs: Lsn,
    /// Whether entries of it, or of what was before it, have been cut since. Then its messages promise what is not there any more, and raft
    /// is not told of it but with what comes later.
    pub is_cut: bool,
    /// What may be sent then.
    pub messages: Vec<Message>,
}

/// Rounds.
#[derive(Default)]
pub(super) struct Reads {
    /// The last that is wanted.
    pub wanted: u64,
    /// The last that raft was asked for.
    pub asked: u64,
    /// The last that was confirmed.
    pub confirmed: u64,
    /// The last that is tied to an entry.
    pub tied: u64,
    /// Entries that were proposed after a round was wanted, and that confirm it when they are committed.
    pub ties: VecDeque<(u64, u64)>,
}
