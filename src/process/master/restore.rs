//! Restoring the accounts from the journal, before the first worker is started.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::config::{Durability, Settings};
use crate::base::vocab::{AccountId, Cents, Committed, Lsn};
use crate::process::master::error::MasterError;
use crate::store::cluster::{State, read_state};
use crate::store::instance::Instance;
use crate::store::journal::{
    Content, Directory, DirectoryError, DiscardRecords, OpeningBalances, OperationRecord, Record, Replay,
    RunningTotals, discard_incoming, finish_install, finish_truncation, recover, recover_up_to, segment,
};
use crate::store::kv::Restorer;
use crate::store::kv::restore::RestoreError;
use crate::store::ledger::Table;

/// Whoever waits longer for the accounts to be restored is shown the progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// The journal's directory; `None` where the accounts are in memory only. Accounts that `listed` has open with what it says.
///
/// # Errors
/// It cannot be used, or there is a journal that would be ignored.
pub fn open_directory(settings: &Settings, listed: Option<&OpeningBalances>) -> Result<Option<Directory>, MasterError> {
    if settings.durability == Durability::None {
        return match Directory::open(&settings.data) {
            Ok(_) => Err(MasterError::JournalIgnored(settings.data.clone())),
            // Whether there is a journal is not known then.
            Err(untrusted @ DirectoryError::Untrusted { .. }) => Err(untrusted.into()),
            Err(_) => Ok(None),
        };
    }
    if settings.durability == Durability::Async {
        log::warn!(
            "--durability async: replies do not wait for the disk; a loss of power may cost what was acknowledged in the last {} ms",
            settings.flush_interval.as_millis()
        );
    }
    check_membership(settings)?;
    check_growth(settings)?;
    let Settings { data, accounts, initial_balance, segment_records, .. } = settings;
    let directory = match listed {
        Some(listed) => Directory::open_or_create_with(data, *accounts, *initial_balance, listed, *segment_records)?,
        None => Directory::open_or_create(data, *accounts, *initial_balance, *segment_records)?,
    };
    if let Some(version) = directory.upgraded_from() {
        log::info!("{} was of format version {version} and was upgraded; older programs refuse it now", data.display());
    }
    Ok(Some(directory))
}

/// Opens the accounts of a new table with what `listed` says of them, where they are in memory only.
pub fn open_in_memory(table: &Table, listed: &OpeningBalances) {
    let mut opening = table.opening();
    for (account, balance) in listed.from(AccountId(0)) {
        // The sum fits at the end, but not necessarily on the way.
        let before = table.peek(account).unwrap_or_default();
        opening.0 = opening.0.wrapping_sub(before.0).wrapping_add(balance.0);
        table.restore(account, balance, Lsn(0));
    }
    table.set_opening(opening);
}

/// Whether the directory is for this start, before anything of it is changed: that of a member of a cluster is for one with peers only.
fn check_membership(settings: &Settings) -> Result<(), MasterError> {
    // Where there is none yet, or it cannot be used, `open_or_create` says so.
    let Ok(directory) = Directory::open(&settings.data) else { return Ok(()) };
    committed(&directory, settings.cluster.is_some()).map(|_| ())
}

/// Whether accounts can be added, which cannot be undone: what they open with, and all that was ever deposited, must be within the
/// range of amounts.
fn check_growth(settings: &Settings) -> Result<(), MasterError> {
    let (accounts, opening) = (settings.accounts, settings.initial_balance);
    // Where there is none yet, or it cannot be used, `open_or_create` says so.
    let Ok(directory) = Directory::open(&settings.data) else { return Ok(()) };
    let added = accounts.saturating_sub(directory.openings().accounts());
    if added == 0 || opening == Cents::ZERO {
        return Ok(());
    }
    let totals = recover(&directory, Lsn(u64::MAX), &mut DiscardRecords, |_| ())?.totals;
    let added = opening.0.checked_mul(added.into()).map(Cents);
    let opened = added.and_then(|added| totals.opening.checked_add(added));
    match opened.and_then(|opened| RunningTotals::new(opened, totals.deposited, totals.withdrawn)) {
        Some(_) => Ok(()),
        None => Err(DirectoryError::Opening { accounts, opening }.into()),
    }
}

/// Fills the table from the journal, and cuts off what a loss of power left of operations that were never acknowledged.
///
/// # Errors
/// The journal is damaged, or cannot be read.
pub fn restore(instance: &Instance, directory: &Directory, key_window: u32) -> Result<(), MasterError> {
    let began = Instant::now();
    let table = instance.table();
    // First, since it finishes what was ordered: then the journal is another.
    let committed = committed(directory, table.sequencer().is_replicated())?;
    // A key is remembered for so many operations. Where they end is not known yet, but not more than a segment before the last
    // one, which may have been prepared only. A record too many does no harm: what is older goes as newer ones come.
    let last = segment::list(directory)?.last().map_or(0, |first| first.0);
    let reach = directory.records_per_segment() + u64::from(key_window);
    let keys_from = Lsn(last.saturating_sub(reach).max(1));
    let bar = progress_bar();
    let writes = instance.kv().map(|kv| Restorer::new(table, kv));
    let mut restoring = Restoring { table, writes, keys_from, last_time_ns: 0, failure: None };
    let mut recovered = recover_up_to(directory, keys_from, committed, &mut restoring, |lsn| {
        if began.elapsed() >= PATIENCE {
            bar.set_position(lsn.0);
        }
    })?;
    bar.finish_and_clear();
    if let Some(failure) = restoring.failure {
        return Err(failure);
    }
    restoring.writes.map(Restorer::finish).transpose()?;
    for damaged in &recovered.damaged_snapshots {
        log::warn!("{damaged}; it is kept, and the one before is used");
    }
    for path in segment::misnamed(directory)? {
        log::warn!(
            "{} is named like a segment, and no segment can have that name; it was left where it is",
            path.display()
        );
    }
    if let Some(damaged) = &recovered.damaged_mark {
        log::warn!("{damaged}");
    }
    let (end, snapshot, records) = (recovered.end, recovered.snapshot, recovered.records);
    let applied = end.min(committed.0.max(recovered.replayed_to));
    let flows = [recovered.totals.deposited, recovered.totals.withdrawn];
    if let Some(torn) = recovered.torn {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let kept = recovered.truncate_torn_tail(now)?.unwrap_or_default();
        log::warn!("{torn}; it was cut, and {kept}");
    }
    table.sequencer().begin_after_time(restoring.last_time_ns);
    table.begin_after(applied, directory.openings().total(), flows);
    if table.sequencer().is_replicated() {
        table.sequencer().begin_log(end, applied);
    }
    instance.journal_row().set_snapshot(snapshot);
    if end > Lsn(0) {
        log::info!(
            "the ledger is read: {end} operations, snapshot of {snapshot}, {records} records in {} ms",
            began.elapsed().as_millis()
        );
    }
    Ok(())
}

/// How far the journal is committed. Of a member of a cluster, what is behind waits for its peers, and is not applied here; a truncation of
/// it, or an installation of what came in its place, that was ordered is finished first. Elsewhere all of it is.
fn committed(directory: &Directory, is_replicated: bool) -> Result<Committed, MasterError> {
    match read_state(directory)? {
        Some(state) if state.cluster.is_some() => {
            if !is_replicated {
                return Err(MasterError::MemberAlone(directory.path().to_owned()));
            }
            put_in_place(directory, &state)?;
            if let Some(keep) = state.keep {
                finish_truncation(directory, keep)?;
                log::info!("the log was cut behind record {keep}, as the cluster had ordered");
            }
            Ok(Committed(state.commit.lsn))
        }
        _ => Ok(Committed(Lsn(u64::MAX))),
    }
}

/// Finishes an installation that was ordered; otherwise removes what a transfer that was broken off has left.
fn put_in_place(directory: &Directory, state: &State) -> Result<(), MasterError> {
    if !state.install {
        return Ok(discard_incoming(directory)?);
    }
    let end = state.commit.lsn;
    if finish_install(directory, end)? {
        log::info!("the books that another member sent, up to record {end}, are in the place of those that were here");
    }
    Ok(())
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("reading the journal: record {pos}, {per_sec}, {elapsed}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Puts what the journal holds into the tables.
struct Restoring<'a> {
    table: &'a Table,
    /// The key-value table, if there is one.
    writes: Option<Restorer<'a>>,
    /// Keys of older records are out of the window.
    keys_from: Lsn,
    /// The time of the last record, which is always handed on.
    last_time_ns: u64,
    /// Why the key-value table cannot be filled.
    failure: Option<MasterError>,
}

impl Restoring<'_> {
    /// Hands something to the key-value table, unless something before was no write or there is no table.
    fn write(&mut self, to: impl FnOnce(&mut Restorer<'_>) -> Result<(), RestoreError>) {
        if self.failure.is_none() {
            let done = self.writes.as_mut().map_or(Err(MasterError::KeyValuesOff), |writes| Ok(to(writes)?));
            self.failure = done.err();
        }
    }

    fn operation(&self, operation: &OperationRecord) {
        if operation.lsn >= self.keys_from {
            self.table.restore_key(operation);
        }
        if operation.is_done() {
            let (first, second) = operation.accounts;
            for (account, balance) in [Some(first), second].into_iter().flatten().zip(operation.balances) {
                self.table.restore(account, balance, operation.lsn);
            }
        }
    }
}

impl Replay for Restoring<'_> {
    fn begin(&mut self, cut: Lsn) {
        if let Some(writes) = &mut self.writes {
            writes.begin_after(cut);
        }
    }

    fn snapshot_account(&mut self, account: AccountId, balance: Cents, lsn: Lsn) {
        self.table.restore(account, balance, lsn);
    }

    fn snapshot_pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) {
        self.write(|writes| {
            writes.pair(key, version, value);
            Ok(())
        });
    }

    fn record(&mut self, record: &Record) {
        self.last_time_ns = self.last_time_ns.max(record.time_ns());
        let keys_from = self.keys_from;
        match &record.content {
            Content::Operation(operation) => self.operation(operation),
            Content::KvHead(_) | Content::KvPiece(_) => {
                self.write(|writes| writes.record(record, |lsn| lsn >= keys_from));
            }
            Content::Term(_) | Content::Membership(_) => {}
        }
    }
}
