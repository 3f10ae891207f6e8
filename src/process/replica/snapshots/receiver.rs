//! Takes a snapshot in.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::base::vocab::Lsn;
use crate::ipc::event::EventFd;
use crate::process::replica::message::SnapshotRef;
use crate::process::replica::peers::{Peers, SnapshotFrame, SnapshotRefusal};
use crate::store::cluster::NodeId;
use crate::store::journal::Directory;
use crate::store::journal::snapshot_transfer::{SinkError, SinkFailure, SnapshotSink};

/// The snapshot that is being taken in.
pub struct Receiver {
    directory: Directory,
    /// Wakes the loop up when the thread is done.
    wakeup: Arc<EventFd>,
    stage: Stage,
}

enum Stage {
    Nothing,
    /// Pieces come.
    Receiving {
        from: NodeId,
        snapshot: SnapshotRef,
        sink: Box<SnapshotSink>,
        next: u64,
    },
    /// A thread checks and syncs what has come.
    Finishing {
        from: NodeId,
        snapshot: SnapshotRef,
        thread: JoinHandle<Result<(), SinkError>>,
    },
    /// All is there and synced; whether the sender was told.
    Complete {
        from: NodeId,
        snapshot: SnapshotRef,
        is_told: bool,
    },
}

impl Receiver {
    /// Nothing is being taken in yet.
    pub fn new(directory: Directory, wakeup: Arc<EventFd>) -> Receiver {
        Receiver { directory, wakeup, stage: Stage::Nothing }
    }

    /// Takes a piece that `from` has sent. `committed` is the last record that is committed here.
    pub fn take(&mut self, from: NodeId, frame: SnapshotFrame, committed: Lsn, peers: &mut Peers) {
        let refused = match frame {
            SnapshotFrame::Begin { snapshot, bytes } => {
                let index = snapshot.index;
                self.begin(from, snapshot, bytes, committed).err().map(|why| (index, why))
            }
            SnapshotFrame::Chunk { offset, bytes } => self.chunk(from, offset, &bytes),
            SnapshotFrame::End { index } => self.end(from, index),
            SnapshotFrame::Refuse { .. } => None,
        };
        if let Some((index, why)) = refused {
            // Where it is dropped, the sender gives up by itself.
            let _dropped = peers.send_snapshot(from, &SnapshotFrame::Refuse { index, why });
        }
        self.advance(peers);
    }

    fn begin(
        &mut self,
        from: NodeId,
        snapshot: SnapshotRef,
        bytes: u64,
        committed: Lsn,
    ) -> Result<(), SnapshotRefusal> {
        if snapshot.last <= committed {
            return Err(SnapshotRefusal::Old);
        }
        match &mut self.stage {
            Stage::Finishing { .. } => return Err(SnapshotRefusal::Busy),
            Stage::Complete { from: sender, snapshot: have, is_told } if *have == snapshot => {
                (*sender, *is_told) = (from, false);
                return Ok(());
            }
            // The sender begins anew, or there is another leader.
            Stage::Nothing | Stage::Receiving { .. } | Stage::Complete { .. } => self.stage = Stage::Nothing,
        }
        let last = snapshot.last;
        log::info!("node {from} sends a snapshot with the records up to {last}, {bytes} bytes");
        let sink = SnapshotSink::create(&self.directory, bytes, last).map_err(|error| refusal(from, &error))?;
        self.stage = Stage::Receiving { from, snapshot, sink: Box::new(sink), next: 0 };
        Ok(())
    }

    fn chunk(&mut self, from: NodeId, offset: u64, bytes: &[u8]) -> Option<(u64, SnapshotRefusal)> {
        // Of one that was refused, pieces may still come.
        let Stage::Receiving { from: sender, snapshot, sink, next } = &mut self.stage else { return None };
        if *sender != from {
            return None;
        }
        let index = snapshot.index;
        let why = if offset == *next {
            *next += bytes.len() as u64;
            sink.write(bytes).err().map(|error| refusal(from, &error))
        } else {
            log::warn!("node {from} sends byte {offset} of a snapshot where byte {next} is next");
            Some(SnapshotRefusal::Damaged)
        };
        why.map(|why| {
            self.stage = Stage::Nothing;
            (index, why)
        })
    }

    fn end(&mut self, from: NodeId, index: u64) -> Option<(u64, SnapshotRefusal)> {
        match std::mem::replace(&mut self.stage, Stage::Nothing) {
            Stage::Receiving { from: sender, snapshot, sink, .. } if sender == from && snapshot.index == index => {
                let wakeup = self.wakeup.clone();
                let work = move || {
                    let finished = sink.finish();
                    wakeup.send();
                    finished
                };
                match thread::Builder::new().name("vault-snapshot".to_owned()).spawn(work) {
                    Ok(thread) => self.stage = Stage::Finishing { from, snapshot, thread },
                    Err(error) => {
                        log::error!("a snapshot cannot be taken over: cannot start a thread: {error}");
                        return Some((index, SnapshotRefusal::Room));
                    }
                }
            }
            other => self.stage = other,
        }
        None
    }

    /// Goes on where the thread is done: says so to the sender.
    pub fn advance(&mut self, peers: &mut Peers) {
        if matches!(&self.stage, Stage::Finishing { thread, .. } if thread.is_finished())
            && let Stage::Finishing { from, snapshot, thread } = std::mem::replace(&mut self.stage, Stage::Nothing)
        {
            match thread.join() {
                Ok(Ok(())) => self.stage = Stage::Complete { from, snapshot, is_told: false },
                Ok(Err(error)) => {
                    let (index, why) = (snapshot.index, refusal(from, &error));
                    let _dropped = peers.send_snapshot(from, &SnapshotFrame::Refuse { index, why });
                }
                Err(_) => log::error!("the thread that checked a snapshot has panicked; another one may be sent"),
            }
        }
        if let Stage::Complete { from, snapshot, is_told } = &mut self.stage
            && !*is_told
            && peers.has_snapshot_room(*from)
        {
            *is_told = peers.send_snapshot(*from, &SnapshotFrame::End { index: snapshot.index }).is_ok();
        }
    }

    /// The connection to a node has ended: what it was sending is of no use.
    pub fn lost(&mut self, node: NodeId) {
        if matches!(&self.stage, Stage::Receiving { from, .. } if *from == node) {
            self.stage = Stage::Nothing;
        }
    }

    /// Whether that snapshot is here, whole and synced.
    pub fn has(&self, wanted: &SnapshotRef) -> bool {
        matches!(&self.stage, Stage::Complete { snapshot, .. } if snapshot == wanted)
    }
}

/// Says why a snapshot is not taken in, here and to the sender.
fn refusal(from: NodeId, error: &SinkError) -> SnapshotRefusal {
    log::warn!("the snapshot that node {from} sends is not taken in: {error}");
    match error.failure() {
        SinkFailure::Damaged => SnapshotRefusal::Damaged,
        SinkFailure::NoRoom | SinkFailure::Disk => SnapshotRefusal::Room,
    }
}
