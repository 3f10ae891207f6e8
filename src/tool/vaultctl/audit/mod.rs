//! `vaultctl audit`: proves from the journal alone that the accounts are right; also beside a running server.
//!
//! [`entries`] checks the log of a cluster, [`times`] the times of records. [`reference`] computes the accounts and keys again, from kinds and amounts alone, and compares every record with them; [`key_value`] does so with the key-value store. [`snapshots`] and the memory of the running server are compared with the outcome.

mod ended;
mod entries;
mod key_value;
mod reference;
mod report;
mod snapshots;
mod times;

use std::time::Instant;

use super::failure::{Failure, say, say_json};
use super::source::{ATTEMPTS, JournalArgs, JournalSource};
use crate::base::vocab::{AccountId, Lsn};
use crate::store::instance::Instance;
use crate::store::journal::{Directory, FullScan, Record, full_scan, segment};
use ended::Ended;
use entries::Entries;
use key_value::ReferenceStore;
use reference::{Account, ReferenceLedger};
use report::AuditReport;
use snapshots::Snapshots;
use times::Times;

/// How often an account that is being changed is looked at again.
const READS: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It changes nothing and takes no lock. Beside a running server it audits what that had committed when the \
                        audit begins. Exit codes: 0 all is right; 1 something is not, and the first record that is wrong is \
                        named; 2 the journal cannot be read."
)]
pub(super) struct Audit {
    #[command(flatten)]
    which: JournalArgs,
    /// Operations whose keys a server that does not run remembered, as `master --key-window` took it
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    key_window: u64,
    /// Write JSON; money in cents
    #[arg(long)]
    json: bool,
}

/// Audits, says what was counted, and fails where something is wrong.
pub(super) fn run(audit: &Audit) -> Result<(), Failure> {
    let source = JournalSource::open(&audit.which)?;
    let begun = Instant::now();
    let mut report = AuditReport::default();
    let mut ended = Ok(());
    for _ in 0..ATTEMPTS {
        report = AuditReport { running: source.running.is_some(), ..AuditReport::default() };
        let before = source.oldest_files()?;
        ended = examine(&source, audit.key_window, &mut report);
        // Beside a server, files that are no longer needed may go while they are read.
        if ended.is_ok() || source.running.is_none() || source.oldest_files()? == before {
            break;
        }
    }
    report.data = source.directory.path().display().to_string();
    report.seconds = begun.elapsed().as_secs_f64();
    report.whole = ended.is_ok();
    match &ended {
        Ok(()) => {}
        Err(Ended::Disk(_)) => return ended.map_err(Failure::unavailable),
        Err(Ended::Wrong { what, lsn }) => {
            report.violation = Some(what.clone());
            report.offending_lsn = lsn.map(|lsn| lsn.0);
        }
    }
    if audit.json {
        say_json(&report)?;
    } else {
        say(&report.to_string())?;
    }
    ended.map_err(Failure::refused)
}

fn examine(source: &JournalSource, key_window: u64, report: &mut AuditReport) -> Result<(), Ended> {
    let directory = &source.directory;
    // Snapshots first: what they hold was committed before they were there.
    let mut snapshots = Snapshots::open(directory)?;
    let committed = source.committed();
    let key_window = source.running.as_ref().map_or(key_window, |running| running.table().sequencer().keys().window());
    let oldest = segment::list(directory)?.first().copied().unwrap_or(Lsn(1));
    let base = if oldest > Lsn(1) {
        // The last record of the segment before is enough, but its own segment tells what checksum it has.
        let gone = || {
            let begins = format!("the journal begins with record {oldest}, and no snapshot has the balances of then");
            Ended::wrong(format!("{begins}; put the missing files back from a copy"))
        };
        Some(snapshots.take_base(oldest).ok_or_else(gone)?)
    } else {
        None
    };
    let newest = snapshots.newest().max(base.as_ref().map_or(Lsn(0), |base| base.newest));
    let reference = ReferenceLedger::begin(directory, base.as_ref(), key_window)?;
    let store = ReferenceStore::begin(base.as_ref(), key_window)?;
    // What must be right before the first record.
    let base = reference.base;
    let ended = snapshots.compare(base, &reference, &store).map_err(|ended| ended.at(base, directory));
    let (entries, times) = (Entries::default(), Times::default());
    let mut examiner = Examiner { directory, entries, times, reference, store, snapshots, ended };
    let scanned = full_scan(directory, newest, committed, |record| examiner.take(record, report));
    let Examiner { reference, store, snapshots, ended, .. } = examiner;
    (report.kv_keys, report.kv_blocks) = store.counts();
    report.accounts = directory.openings().accounts();
    (report.opening_cents, report.sum_cents) = (reference.flows.opening.0, reference.sum.0);
    (report.deposited_cents, report.withdrawn_cents) = (reference.flows.deposited.0, reference.flows.withdrawn.0);
    report.from_snapshot = reference.base.0;
    report.snapshots = snapshots.compared;
    report.snapshot_accounts_skipped = snapshots.left();
    // A wrong record comes before whatever ended the reading.
    ended?;
    let FullScan { end, torn, .. } = scanned?;
    reference.check_sum(end).map_err(|ended| ended.at(end, directory))?;
    report.torn_tail = torn.map(|torn| torn.to_string());
    if let Some(running) = &source.running {
        compare_memory(running, &reference, end, report)
            .map_err(|(lsn, what)| Ended::wrong(what).at(lsn, directory))?;
    }
    Ok(())
}

/// Takes record after record until one is wrong.
struct Examiner<'a> {
    directory: &'a Directory,
    entries: Entries,
    times: Times,
    reference: ReferenceLedger,
    store: ReferenceStore,
    snapshots: Snapshots,
    ended: Result<(), Ended>,
}

impl Examiner<'_> {
    fn take(&mut self, record: &Record, report: &mut AuditReport) {
        if self.ended.is_err() {
            return;
        }
        report.count(record);
        let lsn = record.lsn();
        let placed = self.entries.take(record.place()).and_then(|()| self.times.take(record, report));
        let taken = placed.and_then(|()| self.reference.take(record)).and_then(|()| self.store.take(record));
        let taken = taken.and_then(|write| {
            if let Some(write) = write {
                self.snapshots.note_change(write.key());
            }
            let is_behind = lsn > self.reference.base;
            if is_behind { self.snapshots.compare(lsn, &self.reference, &self.store) } else { Ok(()) }
        });
        self.ended = taken.map_err(|ended| ended.at(lsn, self.directory));
    }
}

/// Compares the memory of the server with the reference, as far as that goes: to record `end`.
fn compare_memory(
    running: &Instance,
    reference: &ReferenceLedger,
    end: Lsn,
    report: &mut AuditReport,
) -> Result<(), (Lsn, String)> {
    let table = running.table();
    let known = report.accounts;
    let row = running.replica_row();
    let remakes = row.remakes.get();
    for account in (0..table.accounts().min(known)).map(AccountId) {
        let Some((says, of)) = (0..READS).find_map(|_| table.peek_stamped(account)).filter(|&(_, of)| of <= end) else {
            report.memory_skipped += 1;
            continue;
        };
        let Account { balance: held, last: was } = reference.account(account);
        if (says, of) != (held, was) {
            if row.is_remaking() || row.remakes.get() != remakes {
                // The books were emptied meanwhile, and are filled anew: nothing can be said of the rest.
                report.memory_skipped += u64::from(table.accounts().min(known) - account.0);
                return Ok(());
            }
            let says = format!("the server has account {account} at {says} after record {of}");
            return Err((of.max(was), format!("{says}; by the journal it held {held} after record {was}")));
        }
        report.memory_agrees += 1;
    }
    Ok(())
}
