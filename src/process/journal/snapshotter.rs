//! Takes snapshots beside the journal's loop, and removes the segments that no snapshot needs any more.
//!
//! A snapshot begins with a cut, whose number and sums are exact. Then a thread visits the accounts, one lock at a time, while
//! operations go on. So an account may be newer than the cut; replay applies a record only to an account that is older. The snapshot
//! is put in place once all that it shows is committed.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::base::config::Settings;
use crate::base::vocab::{AccountId, Committed, Lsn};
use crate::ipc::event::EventFd;
use crate::process::journal::error::JournalProcessError;
use crate::store::instance::Instance;
use crate::store::journal::snapshot::{self, Header};
use crate::store::journal::{Directory, SnapshotError, SnapshotWriter, Writer};
use crate::store::ledger::{Totals, cut};

/// Snapshots that are kept: should the newest be damaged, the one before is used.
const KEPT: usize = 2;

/// What the thread is to do.
enum Job {
    /// Write down all accounts.
    Write,
    /// All that the snapshot shows is committed: put it in place.
    Finish(Box<SnapshotWriter>, Committed),
}

/// What the thread has done.
enum JobResult {
    Written(Box<SnapshotWriter>),
    /// It is in place; the oldest one that is kept.
    Finished {
        oldest: Option<Lsn>,
        newest: Lsn,
    },
    Failed(SnapshotError),
}

/// How far the snapshot is.
enum Stage {
    Idle,
    /// The thread works on it.
    Underway,
    /// It waits until all that it shows is committed.
    Written(Box<SnapshotWriter>),
}

/// The snapshots of one journal process.
pub struct Snapshotter {
    instance: &'static Instance,
    every: Option<u64>,
    key_window: u64,
    keep_journal: bool,
    /// Whether peers may need what no snapshot needs.
    has_peers: bool,
    jobs: Sender<Job>,
    results: Receiver<JobResult>,
    stage: Stage,
    /// How many of the snapshots that were asked for the one under way is for.
    wanted: u64,
}

impl Snapshotter {
    /// Starts the thread; it wakes the loop up by `wakeup` when it has done something.
    pub fn start(
        instance: &'static Instance,
        settings: &Settings,
        directory: Directory,
        wakeup: Arc<EventFd>,
    ) -> Result<Self, JournalProcessError> {
        let (jobs, to_do) = unbounded();
        let (done, results) = unbounded();
        let work = move || {
            for job in to_do {
                let result = match job {
                    Job::Write => write(instance, &directory).map(JobResult::Written),
                    Job::Finish(writer, committed) => finish(&directory, *writer, committed),
                };
                if done.send(result.unwrap_or_else(JobResult::Failed)).is_err() {
                    return;
                }
                wakeup.send();
            }
        };
        let spawned = thread::Builder::new().name("vault-snapshot".to_owned()).spawn(work);
        spawned.map_err(|source| JournalProcessError::Io { step: "start a thread", source })?;
        Ok(Snapshotter {
            instance,
            every: settings.snapshot_every.map(Into::into),
            key_window: settings.key_window.into(),
            keep_journal: settings.keep_journal,
            has_peers: settings.cluster.is_some(),
            jobs,
            results,
            stage: Stage::Idle,
            wanted: 0,
        })
    }

    /// Begins, goes on with or finishes a snapshot where that is due; never waits. A failure is logged, and tried again when the next
    /// snapshot is due.
    pub fn advance(&mut self, writer: &mut Writer, committed: Committed) {
        while let Ok(result) = self.results.try_recv() {
            self.complete(result, writer, committed);
        }
        match std::mem::replace(&mut self.stage, Stage::Underway) {
            Stage::Idle if self.is_due(committed) => {
                self.wanted = self.instance.journal_row().snapshots_wanted();
                let _ = self.jobs.send(Job::Write);
            }
            Stage::Written(snapshot) if committed.includes(snapshot.newest()) => {
                let _ = self.jobs.send(Job::Finish(snapshot, committed));
            }
            other => self.stage = other,
        }
    }

    fn is_due(&self, Committed(committed): Committed) -> bool {
        let row = self.instance.journal_row();
        let since = committed.0.saturating_sub(row.snapshot().0);
        row.snapshots_wanted() > row.snapshots_done() || self.every.is_some_and(|every| since >= every)
    }

    fn complete(&mut self, result: JobResult, writer: &mut Writer, Committed(committed): Committed) {
        let row = self.instance.journal_row();
        self.stage = Stage::Idle;
        match result {
            JobResult::Written(snapshot) => {
                self.stage = Stage::Written(snapshot);
                return;
            }
            JobResult::Failed(error) => {
                log::error!("no snapshot could be taken: {error}; the journal goes on, and so keeps growing");
                // Not again at once: when as many records more have come.
                row.set_snapshot(Lsn(row.snapshot().0.max(committed.0)));
            }
            JobResult::Finished { oldest, newest } => {
                row.set_snapshot(newest);
                log::info!("a snapshot of operation {newest} is in place");
                if let Some(oldest) = oldest.filter(|_| !self.keep_journal) {
                    // The remembered keys are in the journal alone.
                    let keys_from = Lsn(committed.0.saturating_sub(self.key_window));
                    let peers_from = self.has_peers.then(|| self.instance.replica_row().trim_to());
                    if let Err(error) = writer.remove_before(first_needed(oldest, keys_from, peers_from), 0) {
                        log::error!("old segments stay: {error}");
                    }
                }
            }
        }
        row.set_snapshots_done(self.wanted);
    }
}

/// The first record that is still needed: by the oldest snapshot that is kept, for the remembered keys, or by peers, who get the log as long
/// as it reaches back to where they are.
fn first_needed(oldest: Lsn, keys_from: Lsn, peers_from: Option<Lsn>) -> Lsn {
    oldest.min(keys_from).min(peers_from.unwrap_or(oldest))
}

/// Writes down what each account holds, and then the keys and values that were there at the cut and have not changed since.
fn write(instance: &Instance, directory: &Directory) -> Result<Box<SnapshotWriter>, SnapshotError> {
    let table = instance.table();
    // A cut fails only while workers die one after the other, and this is not urgent.
    let Totals { accounts, deposited, withdrawn, lsn, .. } = loop {
        if let Some(totals) = cut::take(table) {
            break totals;
        }
    };
    let header = Header { lsn, accounts, deposited, withdrawn };
    let mut writer = match instance.kv() {
        None => SnapshotWriter::begin(directory, header)?,
        Some(_) => SnapshotWriter::begin_with_pairs(directory, header)?,
    };
    for account in (0..accounts).map(AccountId) {
        if let Some(cell) = table.lock(account, || ()) {
            let (balance, lsn) = (cell.balance(), cell.lsn());
            drop(cell);
            writer.push(balance, lsn)?;
        }
    }
    if let Some(kv) = instance.kv() {
        kv.pairs(table, lsn, |key, version, value| writer.push_pair(key, version, value))?;
        // What was changed meanwhile is missing, and the records up to here bring it.
        writer.covers(table.order().now().lsn);
    }
    Ok(Box::new(writer))
}

fn finish(directory: &Directory, writer: SnapshotWriter, committed: Committed) -> Result<JobResult, SnapshotError> {
    let newest = writer.lsn();
    writer.finish(committed)?;
    Ok(JobResult::Finished { oldest: snapshot::keep_newest(directory, KEPT)?, newest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_as_long_as_anybody_needs_it() {
        for (oldest, keys_from, peers_from, needed) in [
            (50, 70, None, 50),
            (50, 30, None, 30),
            (50, 70, Some(90), 50),
            (50, 70, Some(20), 20),
            (50, 30, Some(40), 30),
            // As long as the replica process has not said anything, all is needed.
            (50, 70, Some(0), 0),
        ] {
            assert_eq!(first_needed(Lsn(oldest), Lsn(keys_from), peers_from.map(Lsn)), Lsn(needed), "{peers_from:?}");
        }
    }
}
