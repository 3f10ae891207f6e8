//! Sends snapshots, one to a member at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::base::limits::{
    MAX_SNAPSHOT_CHUNK_BYTES, SNAPSHOT_PATIENCE_SECONDS, SNAPSHOT_RETRY_FIRST_MILLISECONDS,
    SNAPSHOT_RETRY_LONGEST_MILLISECONDS,
};
use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::process::replica::core::Event;
use crate::process::replica::message::{Message, SnapshotRef};
use crate::process::replica::peers::{Peers, SnapshotFrame, SnapshotRefusal};
use crate::store::cluster::NodeId;
use crate::store::journal::Directory;
use crate::store::journal::snapshot_transfer::{SnapshotSource, SourceError};

const NS_PER_MILLISECOND: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1000 * NS_PER_MILLISECOND;

/// The snapshots that are being sent.
pub struct Sender {
    directory: Directory,
    /// Operations whose keys are remembered: their records are sent as well.
    key_window: u64,
    /// Wakes the loop up when a thread is done.
    wakeup: Arc<EventFd>,
    transfers: BTreeMap<NodeId, Transfer>,
    /// Who could not take the last one over, and when the next one may begin.
    failures: BTreeMap<NodeId, Failure>,
    /// What the core is to be told.
    outcomes: Vec<Event>,
}

struct Transfer {
    /// Raft's message, which goes last.
    message: Message,
    snapshot: SnapshotRef,
    stage: Stage,
    /// When a frame was queued last.
    moved_ns: u64,
}

enum Stage {
    /// A thread looks for what can be sent, and whether it is good.
    Opening(JoinHandle<Result<Option<SnapshotSource>, SourceError>>),
    /// What comes is to be announced.
    Begin(Box<SnapshotSource>),
    /// So many bytes of it were queued.
    Chunks(Box<SnapshotSource>, u64),
    /// All is queued; the receiver is to say that it has it.
    Receipt,
}

/// After a failure there is a wait, which doubles with each that follows.
#[derive(Clone, Copy)]
struct Failure {
    not_before_ns: u64,
    wait_milliseconds: u64,
}

impl Sender {
    /// Nothing is being sent yet.
    pub fn new(directory: Directory, key_window: u64, wakeup: Arc<EventFd>) -> Sender {
        Sender {
            directory,
            key_window,
            wakeup,
            transfers: BTreeMap::new(),
            failures: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Begins to send the snapshot of raft's `message`; one that was being sent to the same member is broken off. What becomes of it is told
    /// by [`advance`](Self::advance).
    pub fn begin(&mut self, message: Message, now_ns: u64) {
        let Some(snapshot) = message.snapshot.clone() else { return };
        let to = message.to;
        self.transfers.remove(&to);
        if self.failures.get(&to).is_some_and(|failure| now_ns < failure.not_before_ns) {
            self.tell(to, false);
            return;
        }
        match self.open(snapshot.last) {
            Ok(thread) => {
                let transfer = Transfer { message, snapshot, stage: Stage::Opening(thread), moved_ns: now_ns };
                self.transfers.insert(to, transfer);
            }
            Err(error) => self.fail(to, now_ns, &format!("cannot start a thread: {error}")),
        }
    }

    /// Looks in a thread for what can be sent up to record `last`: a large snapshot file is read through for that.
    fn open(&self, last: Lsn) -> io::Result<JoinHandle<Result<Option<SnapshotSource>, SourceError>>> {
        let (directory, wakeup) = (self.directory.clone(), self.wakeup.clone());
        let keys_from = Lsn(last.0.saturating_sub(self.key_window).max(1));
        thread::Builder::new().name("vault-snapshot".to_owned()).spawn(move || {
            let source = SnapshotSource::open(&directory, keys_from, last);
            wakeup.send();
            source
        })
    }

    /// Queues the next piece for each member that has room for one; gives what the core is to be told.
    pub fn advance(&mut self, peers: &mut Peers, now_ns: u64) -> Vec<Event> {
        let members: Vec<_> = self.transfers.keys().copied().collect();
        for to in members {
            if let Err(why) = self.advance_one(to, peers, now_ns) {
                self.fail(to, now_ns, &why);
            }
        }
        std::mem::take(&mut self.outcomes)
    }

    fn advance_one(&mut self, to: NodeId, peers: &mut Peers, now_ns: u64) -> Result<(), String> {
        let Some(transfer) = self.transfers.get_mut(&to) else { return Ok(()) };
        if now_ns.saturating_sub(transfer.moved_ns) > SNAPSHOT_PATIENCE_SECONDS * NS_PER_SECOND {
            return Err(format!(
                "for {SNAPSHOT_PATIENCE_SECONDS} s nothing of it could be sent, and nothing was answered"
            ));
        }
        if matches!(transfer.stage, Stage::Opening(_)) && !transfer.open()? {
            self.transfers.remove(&to);
            self.tell(to, false);
            return Ok(());
        }
        if !transfer.has_piece() || !peers.has_snapshot_room(to) {
            return Ok(());
        }
        transfer.moved_ns = now_ns;
        let frame = transfer.next_frame()?;
        peers.send_snapshot(to, &frame).map_err(|why| format!("a piece of it was dropped: {why:?}"))
    }

    /// Whether there is a piece that could be queued now.
    pub fn has_work(&self, peers: &Peers) -> bool {
        let is_due = |(to, transfer): (&NodeId, &Transfer)| match &transfer.stage {
            Stage::Opening(thread) => thread.is_finished(),
            _ => transfer.has_piece() && peers.has_snapshot_room(*to),
        };
        !self.outcomes.is_empty() || self.transfers.iter().any(is_due)
    }

    /// That member says that it has the snapshot of entry `index`, durably; whether one was being sent to it. Raft's own message follows.
    pub fn delivered(&mut self, from: NodeId, index: u64, peers: &mut Peers) -> bool {
        let is_it = |transfer: &Transfer| transfer.snapshot.index == index;
        if !self.transfers.get(&from).is_some_and(is_it) {
            return false;
        }
        if let Some(transfer) = self.transfers.remove(&from) {
            log::info!("node {from} has the snapshot with the records up to {}", transfer.snapshot.last);
            // Where it is dropped, raft asks that member how far it is.
            let _dropped = peers.send(&transfer.message);
        }
        self.failures.remove(&from);
        self.tell(from, true);
        true
    }

    /// That member does not want the snapshot of entry `index`.
    pub fn refused(&mut self, from: NodeId, index: u64, why: SnapshotRefusal, now_ns: u64) {
        if self.transfers.get(&from).is_none_or(|transfer| transfer.snapshot.index != index) {
            return;
        }
        match why {
            SnapshotRefusal::Old => {
                self.transfers.remove(&from);
                self.tell(from, true);
            }
            SnapshotRefusal::Room => self.fail(from, now_ns, "it has no room for it"),
            SnapshotRefusal::Damaged => self.fail(from, now_ns, "what came there was not a snapshot of these books"),
            SnapshotRefusal::Busy => self.fail(from, now_ns, "it is still taking another one in"),
        }
    }

    /// The connection to a member has ended.
    pub fn lost(&mut self, node: NodeId, now_ns: u64) {
        if self.transfers.contains_key(&node) {
            self.fail(node, now_ns, "its connection has ended");
        }
    }

    /// This node does not lead any more: nothing is sent to anybody.
    pub fn stop(&mut self) {
        self.transfers.clear();
        self.outcomes.clear();
    }

    /// The first record that a transfer under way may still need.
    pub fn needs_from(&self) -> Option<Lsn> {
        let needed = |transfer: &Transfer| match &transfer.stage {
            Stage::Opening(_) => Some(Lsn(1)),
            Stage::Begin(source) | Stage::Chunks(source, _) => Some(source.first_record()),
            Stage::Receipt => None,
        };
        self.transfers.values().filter_map(needed).min()
    }

    fn fail(&mut self, to: NodeId, now_ns: u64, why: &str) {
        self.transfers.remove(&to);
        let before = self.failures.get(&to).map(|failure| failure.wait_milliseconds);
        let wait_milliseconds = before
            .map_or(SNAPSHOT_RETRY_FIRST_MILLISECONDS, |wait| (wait * 2).min(SNAPSHOT_RETRY_LONGEST_MILLISECONDS));
        log::warn!("node {to} could not be sent a snapshot: {why}; it is tried again in {wait_milliseconds} ms");
        let not_before_ns = now_ns + wait_milliseconds * NS_PER_MILLISECOND;
        self.failures.insert(to, Failure { not_before_ns, wait_milliseconds });
        self.tell(to, false);
    }

    fn tell(&mut self, to: NodeId, ok: bool) {
        self.outcomes.push(Event::SnapshotSent { to, ok });
    }
}

impl Transfer {
    /// Takes what the thread has found, if it is done; `false` where nothing can be sent now: all that there is has records behind the entry
    /// that raft has named, and a moment later that is another one.
    fn open(&mut self) -> Result<bool, String> {
        let thread = match std::mem::replace(&mut self.stage, Stage::Receipt) {
            Stage::Opening(thread) if thread.is_finished() => thread,
            other => {
                self.stage = other;
                return Ok(true);
            }
        };
        let found = thread.join().map_err(|_| "the thread that looked for it has panicked".to_owned())?;
        let Some(source) = found.map_err(|error| error.to_string())? else { return Ok(false) };
        let (to, last, bytes) = (self.message.to, self.snapshot.last, source.bytes());
        log::info!("node {to} is sent a snapshot with the records up to {last}, {bytes} bytes");
        self.stage = Stage::Begin(Box::new(source));
        Ok(true)
    }

    /// Whether something is left to be sent.
    fn has_piece(&self) -> bool {
        matches!(self.stage, Stage::Begin(_) | Stage::Chunks(..))
    }

    /// The next piece; only where there is one.
    fn next_frame(&mut self) -> Result<SnapshotFrame, String> {
        let index = self.snapshot.index;
        let (frame, next) = match std::mem::replace(&mut self.stage, Stage::Receipt) {
            Stage::Begin(source) => {
                let (snapshot, bytes) = (self.snapshot.clone(), source.bytes());
                (SnapshotFrame::Begin { snapshot, bytes }, Stage::Chunks(source, 0))
            }
            Stage::Chunks(mut source, offset) => {
                let bytes = source.read(MAX_SNAPSHOT_CHUNK_BYTES).map_err(|error| error.to_string())?;
                if bytes.is_empty() {
                    (SnapshotFrame::End { index }, Stage::Receipt)
                } else {
                    let next = offset + bytes.len() as u64;
                    (SnapshotFrame::Chunk { offset, bytes }, Stage::Chunks(source, next))
                }
            }
            other => (SnapshotFrame::End { index }, other),
        };
        self.stage = next;
        Ok(frame)
    }
}
