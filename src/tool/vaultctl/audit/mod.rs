//! `vaultctl audit`: proves from the journal alone that the accounts are right; also beside a running server.
//!
//! [`reference`] computes the accounts again, from kinds and amounts alone, and compares every record with them; [`keys`] does the same
//! for keys. [`snapshots`] and the memory of the running server are compared with the outcome.

mod keys;
mod reference;
mod report;
mod snapshots;
mod violation;

use std::time::Instant;

use super::failure::{Failure, say};
use super::journal_source::{JournalArgs, JournalSource};
use crate::base::vocab::{AccountId, Lsn};
use crate::store::instance::Instance;
use crate::store::journal::{DiskError, FullScan, Record, RecoveryError, full_scan, segment};
use reference::{Account, ReferenceLedger};
use report::AuditReport;
use snapshots::Snapshots;
use violation::{Inconsistency, Violation};

/// How often an audit is begun again because the server removed old files under it.
const ATTEMPTS: usize = 5;
/// How often an account that is being changed is looked at again.
const READS: usize = 1000;

/// `vaultctl audit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It changes nothing and takes no lock. Beside a running server it audits what that has made durable when the \
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

/// Why an audit has not come to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// A record is wrong.
    #[error(transparent)]
    Violation(#[from] Box<Violation>),
    /// The journal is damaged.
    #[error(transparent)]
    Damaged(RecoveryError),
    /// A snapshot is.
    #[error("{0}")]
    Snapshot(String),
    /// Records are missing at the beginning.
    #[error(
        "the journal begins with record {oldest}, and no snapshot has the balances of then; put the missing files back from a copy"
    )]
    BeginningGone {
        /// The first record that is there.
        oldest: Lsn,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<RecoveryError> for Ended {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Disk(error) => Ended::Disk(error),
            other => Ended::Damaged(other),
        }
    }
}

impl Ended {
    fn lsn(&self) -> Option<Lsn> {
        match self {
            Ended::Violation(violation) => Some(violation.lsn),
            Ended::Damaged(RecoveryError::Corrupt { lsn, .. }) => Some(*lsn),
            _ => None,
        }
    }
}

/// Audits, says what was counted, and fails where something is wrong.
pub(super) fn run(audit: &Audit) -> Result<(), Failure> {
    let source = JournalSource::open(&audit.which)?;
    let begun = Instant::now();
    let mut report = AuditReport::default();
    let mut ended = Ok(());
    for _ in 0..ATTEMPTS {
        report = AuditReport { running: source.running.is_some(), ..AuditReport::default() };
        let before = files(&source)?;
        ended = examine(&source, audit.key_window, &mut report);
        // Beside a server, files that are no longer needed may go while they are read.
        if ended.is_ok() || source.running.is_none() || files(&source)? == before {
            break;
        }
    }
    report.data = source.directory.path().display().to_string();
    report.seconds = begun.elapsed().as_secs_f64();
    report.whole = ended.is_ok();
    report.violation = ended.as_ref().err().map(ToString::to_string);
    report.offending_lsn = ended.as_ref().err().and_then(Ended::lsn).map(|lsn| lsn.0);
    if let Err(Ended::Disk(error)) = ended {
        return Err(Failure::unavailable(error));
    }
    if audit.json {
        let json = serde_json::to_string_pretty(&report).map_err(Failure::unavailable)?;
        say(&format!("{json}\n"))?;
    } else {
        say(&report.to_string())?;
    }
    ended.map_err(Failure::refused)
}

/// The oldest of what a server removes.
fn files(source: &JournalSource) -> Result<[Option<Lsn>; 2], Failure> {
    let segments = segment::list(&source.directory).map_err(Failure::unavailable)?;
    let snapshots = crate::store::journal::snapshot::list(&source.directory).map_err(Failure::unavailable)?;
    Ok([segments.first().copied(), snapshots.first().copied()])
}

fn examine(source: &JournalSource, key_window: u64, report: &mut AuditReport) -> Result<(), Ended> {
    let directory = &source.directory;
    // Snapshots first: what they hold was durable before they were there.
    let mut snapshots = Snapshots::open(directory)?.map_err(Ended::Snapshot)?;
    let durable = source.durable();
    let key_window = source.running.as_ref().map_or(key_window, |running| running.table().sequencer().keys().window());
    let oldest = segment::list(directory)?.first().copied().unwrap_or(Lsn(1));
    let base = if oldest > Lsn(1) {
        // The last record of the segment before is enough, but its own segment tells what checksum it has.
        let found = snapshots.take_base(oldest);
        Some(found.ok_or(Ended::BeginningGone { oldest })?)
    } else {
        None
    };
    let newest = snapshots.newest().max(base.as_ref().map_or(Lsn(0), |base| base.newest));
    let reference = ReferenceLedger::begin(directory, base.as_ref(), key_window)?;
    let mut examiner =
        Examiner { reference: reference.map_err(|why| Ended::Snapshot(why.to_owned()))?, snapshots, ended: Ok(()) };
    examiner.begin(source);
    let scanned = full_scan(directory, newest, durable, |record| examiner.take(source, record, report));
    let Examiner { reference, snapshots, ended } = examiner;
    report.accounts = directory.openings().accounts();
    (report.opening_cents, report.sum_cents) = (reference.flows.opening.0, reference.sum.0);
    (report.deposited_cents, report.withdrawn_cents) = (reference.flows.deposited.0, reference.flows.withdrawn.0);
    report.from_snapshot = reference.base.0;
    report.snapshots = snapshots.compared;
    report.snapshot_accounts_skipped = snapshots.left().0;
    // A wrong record comes before whatever ended the reading.
    ended?;
    let FullScan { end, torn, .. } = scanned?;
    reference.check_sum(end).map_err(|what| violation(source, end, what))?;
    report.torn_tail = torn.map(|torn| torn.to_string());
    if let Some(running) = &source.running {
        compare_memory(running, &reference, end, report).map_err(|(lsn, what)| violation(source, lsn, what))?;
    }
    Ok(())
}

/// Takes record after record until one is wrong.
struct Examiner {
    reference: ReferenceLedger,
    snapshots: Snapshots,
    ended: Result<(), Ended>,
}

impl Examiner {
    /// What must be right before the first record.
    fn begin(&mut self, source: &JournalSource) {
        let compared = self.snapshots.compare(self.reference.base, &self.reference);
        self.conclude(source, self.reference.base, compared);
    }

    fn take(&mut self, source: &JournalSource, record: &Record, report: &mut AuditReport) {
        if self.ended.is_err() {
            return;
        }
        report.count(record);
        let taken = match self.reference.take(record) {
            Ok(()) if record.lsn > self.reference.base => self.snapshots.compare(record.lsn, &self.reference),
            other => Ok(other),
        };
        self.conclude(source, record.lsn, taken);
    }

    fn conclude(&mut self, source: &JournalSource, lsn: Lsn, outcome: Result<Result<(), Inconsistency>, DiskError>) {
        self.ended = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(what)) => Err(violation(source, lsn, what)),
            Err(error) => Err(error.into()),
        };
    }
}

/// `what` is wrong with record `lsn`, and where that stands.
fn violation(source: &JournalSource, lsn: Lsn, what: Inconsistency) -> Ended {
    let per_segment = source.directory.records_per_segment();
    // What is wrong before the first record is wrong at the beginning of its file.
    let first = segment::first_of(lsn.max(Lsn(1)), per_segment);
    let offset = if lsn == Lsn(0) { 0 } else { segment::offset_of(lsn, per_segment) };
    Box::new(Violation { lsn, path: source.directory.segment_path(first), offset, what }).into()
}

/// Compares the memory of the server with the reference, as far as that goes: to record `end`.
fn compare_memory(
    running: &Instance,
    reference: &ReferenceLedger,
    end: Lsn,
    report: &mut AuditReport,
) -> Result<(), (Lsn, Inconsistency)> {
    let table = running.table();
    let known = report.accounts;
    for account in (0..table.accounts().min(known)).map(AccountId) {
        let Some((says, of)) = (0..READS).find_map(|_| table.peek_stamped(account)).filter(|&(_, of)| of <= end) else {
            report.memory_skipped += 1;
            continue;
        };
        let Account { balance: held, last: was } = reference.account(account);
        if (says, of) != (held, was) {
            return Err((of.max(was), Inconsistency::Memory { account, says, of, held, was }));
        }
        report.memory_agrees += 1;
    }
    Ok(())
}
