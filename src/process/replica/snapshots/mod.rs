//! Snapshots to members that are far behind: those whose next record the log of the primary has not any more.
//!
//! The sender streams its newest snapshot and the records behind it, with those of the remembered keys, a piece whenever the
//! connection has room for one. The receiver writes them into `DATA/incoming`, checks and syncs them, and says so. Only then the sender sends
//! raft's own message; with it the receiver's core has the snapshot take the place of books and log, and the instance starts again from it.
//! Whatever ends a transfer, the next one begins anew.

mod receiver;
mod sender;

use std::sync::Arc;

use self::receiver::Receiver;
use self::sender::Sender;
use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::ipc::process::monotonic_ns;
use crate::process::replica::core::Event;
use crate::process::replica::message::{Message, SnapshotRef};
use crate::process::replica::peers::{Peers, SnapshotFrame};
use crate::store::cluster::NodeId;
use crate::store::journal::Directory;

/// The snapshots that a member sends, and the one that it takes in.
pub struct Snapshots {
    sender: Sender,
    receiver: Receiver,
}

impl Snapshots {
    /// None yet. `wakeup` wakes the loop up, `key_window` is how many operations' keys are remembered.
    pub fn new(directory: &Directory, key_window: u64, wakeup: Arc<EventFd>) -> Snapshots {
        let sender = Sender::new(directory.clone(), key_window, wakeup.clone());
        Snapshots { sender, receiver: Receiver::new(directory.clone(), wakeup) }
    }

    /// Begins to send the snapshot that raft's message names.
    pub fn begin(&mut self, message: Message) {
        self.sender.begin(message, monotonic_ns());
    }

    /// Takes what `from` has sent: a piece, or an answer about one. `committed` is the last record that is committed here.
    pub fn take(&mut self, from: NodeId, frame: SnapshotFrame, committed: Lsn, peers: &mut Peers) {
        match frame {
            SnapshotFrame::End { index } if self.sender.delivered(from, index, peers) => {}
            SnapshotFrame::Refuse { index, why } => self.sender.refused(from, index, why, monotonic_ns()),
            frame => self.receiver.take(from, frame, committed, peers),
        }
    }

    /// Goes on with all that is under way, a piece for each; gives what the core is to be told.
    pub fn advance(&mut self, peers: &mut Peers) -> Vec<Event> {
        self.receiver.advance(peers);
        self.sender.advance(peers, monotonic_ns())
    }

    /// Whether there is a piece that could be sent at once.
    pub fn has_work(&self, peers: &Peers) -> bool {
        self.sender.has_work(peers)
    }

    /// The connection to a node has ended.
    pub fn lost(&mut self, node: NodeId) {
        self.sender.lost(node, monotonic_ns());
        self.receiver.lost(node);
    }

    /// This node does not lead: it sends none.
    pub fn stop_sending(&mut self) {
        self.sender.stop();
    }

    /// Whether that snapshot is here, whole and synced.
    pub fn has(&self, snapshot: &SnapshotRef) -> bool {
        self.receiver.has(snapshot)
    }

    /// The first record that must stay in the journal for those that are being sent.
    pub fn needs_from(&self) -> Option<Lsn> {
        self.sender.needs_from()
    }
}
