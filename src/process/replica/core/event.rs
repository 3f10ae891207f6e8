//! What goes into the core, and what comes out.

use super::log::Log;
use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryRange, Message, SnapshotRef};
use crate::store::cluster::{Change, Membership, NodeId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One tick of time has gone by (50 ms).
    Tick,
    /// A peer's message, after its frame was checked. The sender has proved that it is `from`.
    ///
    /// The records of its entries stay with the shell until [`Core::is_done_with_message`](super::Core::is_done_with_message): an
    /// [`Action::Append`] that names them may come after the next [`Event::Truncated`] only. A message of kind `Snapshot` is given when all
    /// of the snapshot is here and synced, and nothing of it is in use yet.
    Message(Message),
    /// On the primary, all records up to here are in the ring, whole, and carried out; an operation ends with it. Told as often as the shell
    /// looks; a smaller one than before means nothing. Where there are more than an entry has, the shell has
    /// [noted](super::Core::note_end) some ends of operations among them.
    Executed(Lsn),
    /// The journal process has synced all records up to here.
    OnDisk {
        /// The generation of the log that `upto` was published with: both are read together. One of a generation that is over is ignored.
        generation: u64,
        /// The last record that is on disk.
        upto: Lsn,
    },
    /// What [`Action::Truncate`] asked for is done: the cut is synced, and the journal process has published this generation.
    Truncated {
        /// The generation that the action named.
        generation: u64,
    },
    /// The answer to [`Action::AppendControl`]: the record is in the ring, whole. All records before it are whole and, where the gate was
    /// open, carried out.
    Appended {
        /// The LSN that it has got.
        lsn: Lsn,
    },
    /// The answer to [`Action::CloseGate`]: no worker executes any more.
    GateClosed {
        /// The last record that was executed before.
        executed: Lsn,
    },
    /// Reads wait for a proof that this node still leads. A round is wanted after everything that shares it was executed; rounds count up
    /// from 1. To be told again means nothing.
    ReadsWanted(u64),
    /// On a node whose gate is closed, all committed records up to here are applied to the books.
    Applied(Lsn),
    /// Journal and ring have no records before this one any more, so peers that need them get a snapshot.
    Trimmed(Lsn),
    /// Entries before those that are known, from the journal: a log that ends with the entry that [`Core::log_base`](super::Core::log_base)
    /// names. One that ends with another is ignored, since the log has forgotten its oldest entries meanwhile.
    Older {
        /// The entries, and the one before them.
        log: Log,
        /// Whether still older ones are to come. While they are, no peer gets a snapshot for want of them.
        more: bool,
    },
    /// Leadership is to go to that node. On a follower: to this node itself, for which it asks the leader.
    Transfer(NodeId),
    /// A change of membership is wanted. On the leader alone.
    Change(Change),
    /// There is a connection to a node again: what was sent before it, and dropped, can be sent once more without waiting for a tick.
    Connected(NodeId),
    /// Messages to that node were lost, or its connection ended.
    Unreachable(NodeId),
    /// A snapshot was handed over to that node whole, or was not.
    SnapshotSent {
        /// To whom.
        to: NodeId,
        /// Whether it has all of it, durably.
        ok: bool,
    },
    /// This node is about to stop: another is to lead. Answered by [`Action::Left`].
    Leave,
}

/// What a node promises and must not forget: raft's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// For whom this node has voted in it.
    pub vote: Option<NodeId>,
    /// An entry that is committed, and on this node's disk. It may lag.
    pub commit: u64,
}

/// A record that the log needs beside operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first of a term.
    Term(u64),
    /// A change of membership.
    Change(Change),
}

/// Something to do. Actions are carried out one after the other in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the hard state to DATA/raft.
    Save {
        /// What is to be written.
        state: HardState,
        /// Whether it must be on disk before the next action: the term or the vote is new. Otherwise it is enough that it is written.
        sync: bool,
    },
    /// Write the membership to DATA/raft, and that this entry is committed, on disk before the next action.
    SaveMembership {
        /// The members.
        membership: Membership,
        /// The entry that made it so.
        index: u64,
    },
    /// Cut all records after this one: write the intent, synced, then lower `log_end` and publish the generation as wanted, so that the
    /// journal process cuts and syncs. When it has, clear the intent and tell [`Event::Truncated`]. Nothing is appended meanwhile, since
    /// the core asks for nothing.
    Truncate {
        /// The last record that stays. It is never before one that is committed or executed.
        after: Lsn,
        /// The generation of the log from then on.
        generation: u64,
    },
    /// Put a record into the ring, at the next LSN, with the sequencer's lock, and answer by [`Event::Appended`] as the **next** event. It
    /// is not stamped yet, nor is `log_end` raised: [`Action::Append`] follows.
    AppendControl(Control),
    /// These entries are in the log from now on. Their records are in the ring already (all that this node has executed, and control
    /// records), or came with a message and are to be put there. Stamp term and index into each, `ENDS_ENTRY` into the last of each entry,
    /// and then raise `log_end` to the last.
    Append(Vec<EntryRange>),
    /// Send a message, together with the records of its entries.
    ///
    /// Where they are read later than now, they are to be sent only if they still carry the term and index of the entry, since the log may
    /// have been cut meanwhile. It may be dropped; then tell [`Event::Unreachable`].
    ///
    /// With a message of kind `Snapshot` goes a snapshot of exactly the state at the end of [`SnapshotRef::last`]; how that went is told by
    /// [`Event::SnapshotSent`].
    Send(Message),
    /// Everything up to here is committed: it may be shown, and where the gate is closed it is to be applied. It never goes back.
    Commit(Lsn),
    /// This node is primary, and all it has is applied: workers may execute.
    OpenGate {
        /// In which term.
        term: u64,
    },
    /// Workers may execute no longer, from this instant. Everything that they hold back is dropped, replies and reads, and their clients are
    /// closed. Answer by [`Event::GateClosed`] as the **next** event.
    CloseGate,
    /// The books have records that the log will not have. Write the intent to cut the log after `keep`, synced, and end this instance's
    /// children; it starts again from its snapshot and its log. The core is at its end, and ignores what comes.
    Remake {
        /// The last record that stays.
        keep: Lsn,
    },
    /// Take over the snapshot that has come: in one durable step it takes the place of books and log, and its index that of `commit`. The
    /// instance starts again from it. The core is at its end, and ignores what comes.
    Install(SnapshotRef),
    /// All reads of this round and of earlier ones may leave as soon as what they show is committed.
    ConfirmReads(u64),
    /// Who leads, as far as this node knows.
    Leader {
        /// The leader.
        node: Option<NodeId>,
        /// In which term.
        term: u64,
    },
    /// A change of membership that was asked for is not to be had.
    ChangeRefused {
        /// The change.
        change: Change,
        /// Why.
        why: Refusal,
    },
    /// Leadership is not handed over: this node does not lead, or that node does not vote, or it took too long.
    TransferFailed(NodeId),
    /// A peer has said what cannot be. Nothing was done about it; the connection is to be closed, and the event counted.
    Malformed {
        /// Who.
        from: NodeId,
        /// What is wrong.
        what: &'static str,
    },
    /// What [`Event::Leave`] asked for is done, as far as it can be: this node does not lead, or nobody takes over.
    Left,
}

/// Why a change of membership is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the leader can propose it.
    #[error("this node is not the leader")]
    NotLeader,
    /// An earlier change is not applied yet, or leadership is being handed over. It is to be tried again.
    #[error("another change is under way")]
    Busy,
    /// It would change nothing: the node is a member already, or is none, or is the last voter.
    #[error("it would change nothing")]
    NoEffect,
    /// There would be more members than a cluster can have.
    #[error("there are as many members as there can be")]
    Full,
    /// The learner has not got the log yet. It is to be tried again.
    #[error("the learner does not have the log yet")]
    Behind,
    /// This node itself was to be removed. Leadership is to be handed over first.
    #[error("a leader does not remove itself")]
    Leader,
}
