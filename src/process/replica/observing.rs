//! What a node does in each turn of the loop: it looks at the instance's memory, goes on with what is under way, and publishes how
//! things stand.

use crate::base::vocab::Lsn;
use crate::ipc::process::monotonic_ns;
use crate::process::replica::core::{Event, Log};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::node::{Node, Stage};
use crate::process::replica::publish::{note_connected, view};
use crate::process::replica::seen::Seen;

impl Node {
    /// Looks at the instance's memory, and tells the core what has changed; whether there is more to do at once.
    pub fn observe(&mut self) -> Result<bool, ReplicaError> {
        let seen = self.seen();
        self.observed = seen;
        let Stage::Member(shell) = &mut self.stage else { return Ok(false) };
        let peers = &mut self.peers;
        if let Some(generation) = shell.note_truncated()? {
            shell.handle(Event::Truncated { generation }, peers)?;
        }
        if shell.told.on_disk != Some((seen.truncated, seen.on_disk)) {
            shell.told.on_disk = Some((seen.truncated, seen.on_disk));
            shell.handle(Event::OnDisk { generation: seen.truncated, upto: seen.on_disk.0 }, peers)?;
        }
        if shell.gate_is_open && seen.executed > shell.told.executed {
            shell.told.executed = seen.executed;
            shell.note_ends(seen.executed);
            shell.handle(Event::Executed(seen.executed), peers)?;
        }
        if shell.sequencer.is_round_due() {
            let round = shell.sequencer.begin_round();
            self.arguments.instance.control().cluster.rounds.add(1);
            shell.handle(Event::ReadsWanted(round), peers)?;
        }
        for event in shell.snapshots.advance(peers) {
            let is_delivered = matches!(event, Event::SnapshotSent { ok: true, .. });
            self.arguments.instance.control().cluster.snapshots_sent.add(is_delivered.into());
            shell.handle(event, peers)?;
        }
        let is_behind = shell.apply_committed()?;
        let applied = shell.table.order().now().lsn;
        if !shell.gate_is_open && applied > shell.told.applied {
            shell.told.applied = applied;
            shell.handle(Event::Applied(applied), peers)?;
        }
        if std::mem::take(&mut shell.has_changed) {
            self.publish(monotonic_ns());
        }
        Ok(is_behind)
    }

    /// Tells the core which records are gone, where segments may have been removed: they are, after a snapshot. At most once a tick.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn note_trimmed(&mut self) -> Result<(), ReplicaError> {
        let Stage::Member(shell) = &mut self.stage else { return Ok(()) };
        let snapshot = shell.instance.journal_row().snapshot();
        if snapshot != self.snapshot.0 {
            // Once more in the next tick: the snapshot is announced just before the segments are removed.
            self.snapshot = (snapshot, 2);
        }
        if self.snapshot.1 == 0 {
            return Ok(());
        }
        self.snapshot.1 -= 1;
        match shell.records.oldest()? {
            Some(oldest) => shell.handle(Event::Trimmed(oldest), &mut self.peers),
            None => Ok(()),
        }
    }

    /// Reads some of the entries that are older than those that the core knows; whether any were to come.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn read_back(&mut self) -> Result<bool, ReplicaError> {
        let Stage::Member(shell) = &mut self.stage else { return Ok(false) };
        if !shell.core.are_older_to_come() {
            return Ok(false);
        }
        let (_, end) = shell.core.log_base();
        let (log, more) = match shell.records.read_back(end) {
            Ok(None) => return Ok(true),
            Ok(Some(read)) => read,
            Err(error) => {
                // They are of use for others only, who can have a snapshot.
                log::error!(
                    "entries before record {end} cannot be read, and peers that need them get a snapshot: {error}"
                );
                (Log::new(0, 0, end), false)
            }
        };
        shell.handle(Event::Older { log, more }, &mut self.peers)?;
        Ok(true)
    }

    /// The instance's memory as it is now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let table = self.arguments.instance.table();
        let sequencer = table.sequencer();
        loop {
            // Both of one generation: a truncation lowers the one before it raises the other.
            let truncated = sequencer.truncated();
            let on_disk = sequencer.on_disk();
            if sequencer.truncated() == truncated {
                return Seen { executed: table.order().now().lsn, on_disk, truncated };
            }
        }
    }

    /// The last operation that had a number when [`Node::observe`] looked last.
    #[must_use]
    pub fn observed(&self) -> Lsn {
        self.observed.executed
    }

    /// Whether something has changed since [`Node::observe`] looked last, or a round of reads is wanted.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let Stage::Member(shell) = &self.stage else { return false };
        self.seen() != self.observed || shell.sequencer.is_round_due() || shell.snapshots.has_work(&self.peers)
    }

    /// Publishes how things stand, for workers, clients and tools.
    pub fn publish(&mut self, now_ns: u64) {
        let row = &self.arguments.instance.control().cluster;
        let counts = self.peers.counters();
        row.peers.add(&counts.since(&self.counted));
        self.counted = counts;
        if let Stage::Member(shell) = &self.stage {
            shell.publish_trimming();
            let status = shell.core.status();
            self.heard.insert(self.own.node, now_ns);
            note_connected(&mut self.heard, &self.greetings, &status, now_ns);
            let view = view(&self.own, &self.greetings, &status, shell.gate_is_open, &self.heard);
            row.count_changes(&view);
            row.publish(&view);
        }
    }
}
