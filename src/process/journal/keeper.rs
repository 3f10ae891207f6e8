//! The keeper: takes snapshots beside the journal's loop, and says which segments no snapshot needs any more.
//!
//! A snapshot begins with a cut, whose number is exact and whose sums are too; then a thread goes through the accounts, one lock at
//! a time, while traffic flows. An account may so be newer than the cut; replay applies a record only to an account that is
//! older. It is put in place once all that it shows is durable.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::base::config::Settings;
use crate::base::vocab::{AccountId, Lsn};
use crate::ipc::event::EventFd;
use crate::process::journal::JournaldError;
use crate::store::instance::Instance;
use crate::store::journal::snapshot::{self, Header};
use crate::store::journal::{Directory, SnapshotError, SnapshotWriter, Writer};
use crate::store::ledger::{Table, Totals, cut};

/// Snapshots that are kept: should the newest be damaged, the one before is used.
const KEPT: usize = 2;

/// What the thread is to do.
enum Order {
    /// Go through the accounts.
    Scan,
    /// All that the snapshot shows is durable, up to this record: put it in place.
    Finish(Box<SnapshotWriter>, Lsn),
}

/// What the thread has done.
enum Report {
    Scanned(Box<SnapshotWriter>),
    /// It is in place; the oldest one that is kept.
    Finished {
        oldest: Option<Lsn>,
        newest: Lsn,
    },
    Failed(SnapshotError),
}

/// How far the snapshot under way is.
enum Stage {
    Idle,
    /// The thread is at it.
    Underway,
    /// It waits until all that it shows is durable.
    Scanned(Box<SnapshotWriter>),
}

/// The keeper of one journal process.
pub struct Keeper {
    instance: &'static Instance,
    every: Option<u64>,
    key_window: u64,
    keep_journal: bool,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    stage: Stage,
    /// How many of the snapshots that were asked for the one under way is for.
    wanted: u64,
}

impl Keeper {
    /// Starts the thread; it wakes the loop up by `wakeup` when it has something to report.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        instance: &'static Instance,
        settings: &Settings,
        directory: Directory,
        wakeup: Arc<EventFd>,
    ) -> Result<Self, JournaldError> {
        let (orders, inbox) = unbounded();
        let (outbox, reports) = unbounded();
        let work = move || {
            for order in inbox {
                let report = match order {
                    Order::Scan => scan(instance.table(), &directory).map(Report::Scanned),
                    Order::Finish(writer, durable) => finish(&directory, *writer, durable),
                };
                if outbox.send(report.unwrap_or_else(Report::Failed)).is_err() {
                    return;
                }
                wakeup.send();
            }
        };
        let spawned = thread::Builder::new().name("vault-keeper".to_owned()).spawn(work);
        spawned.map_err(|source| JournaldError::Io { step: "start a thread", source })?;
        Ok(Keeper {
            instance,
            every: settings.snapshot_every.map(Into::into),
            key_window: settings.key_window.into(),
            keep_journal: settings.keep_journal,
            orders,
            reports,
            stage: Stage::Idle,
            wanted: 0,
        })
    }

    /// Does what is to be done now; never waits. What fails is logged, and tried again when the next snapshot is due.
    pub fn see_to(&mut self, writer: &mut Writer) {
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report, writer);
        }
        match std::mem::replace(&mut self.stage, Stage::Underway) {
            Stage::Idle if self.is_due(writer.durable()) => {
                self.wanted = self.instance.journal_row().snapshots_wanted();
                let _ = self.orders.send(Order::Scan);
            }
            Stage::Scanned(snapshot) if snapshot.newest() <= writer.durable() => {
                let _ = self.orders.send(Order::Finish(snapshot, writer.durable()));
            }
            other => self.stage = other,
        }
    }

    fn is_due(&self, durable: Lsn) -> bool {
        let row = self.instance.journal_row();
        let since = durable.0.saturating_sub(row.snapshot().0);
        row.snapshots_wanted() > row.snapshots_done() || self.every.is_some_and(|every| since >= every)
    }

    fn hear(&mut self, report: Report, writer: &mut Writer) {
        let row = self.instance.journal_row();
        self.stage = Stage::Idle;
        match report {
            Report::Scanned(snapshot) => {
                self.stage = Stage::Scanned(snapshot);
                return;
            }
            Report::Failed(error) => {
                log::error!("no snapshot could be taken: {error}; the journal goes on, and so keeps growing");
                // Not again at once: when as many records more have come.
                row.set_snapshot(Lsn(row.snapshot().0.max(writer.durable().0)));
            }
            Report::Finished { oldest, newest } => {
                row.set_snapshot(newest);
                log::info!("a snapshot of operation {newest} is in place");
                if let Some(oldest) = oldest.filter(|_| !self.keep_journal) {
                    // What is remembered of keys is in the journal alone.
                    let keys_from = writer.durable().0.saturating_sub(self.key_window);
                    if let Err(error) = writer.remove_before(Lsn(oldest.0.min(keys_from)), 0) {
                        log::error!("old segments stay: {error}");
                    }
                }
            }
        }
        row.set_snapshots_done(self.wanted);
    }
}

/// Writes down what each account holds.
fn scan(table: &Table, directory: &Directory) -> Result<Box<SnapshotWriter>, SnapshotError> {
    // A cut fails only while workers die one after the other, and this is not urgent.
    let Totals { accounts, deposited, withdrawn, lsn, .. } = loop {
        if let Some(totals) = cut::take(table) {
            break totals;
        }
    };
    let mut writer = SnapshotWriter::begin(directory, Header { lsn, accounts, deposited, withdrawn })?;
    for account in (0..accounts).map(AccountId) {
        if let Some(cell) = table.lock(account, || ()) {
            let (balance, lsn) = (cell.balance(), cell.lsn());
            drop(cell);
            writer.push(balance, lsn)?;
        }
    }
    Ok(Box::new(writer))
}

fn finish(directory: &Directory, writer: SnapshotWriter, durable: Lsn) -> Result<Report, SnapshotError> {
    let newest = writer.lsn();
    writer.finish(durable)?;
    Ok(Report::Finished { oldest: snapshot::keep_newest(directory, KEPT)?, newest })
}
