//! Recovery: reads the newest good snapshot, then the records behind it.

use super::directory::Directory;
use super::quarantine::KeptTail;
use super::record::Record;
use super::recovery::{self, Damage, Known, RecoveryError, TornTail};
use super::running_totals::RunningTotals;
use super::segment::{self, first_of};
use super::shutdown_mark::{self, DamagedMark};
use super::snapshot::{self, Damaged, Snapshot};
use super::writer::{Writer, WriterError};
use crate::base::vocab::{AccountId, Cents, Committed, Lsn};

/// Receives what recovery reads.
pub trait Replay {
    /// What comes first is a snapshot of how things were after record `cut` (0: of the beginning).
    fn begin(&mut self, _cut: Lsn) {}

    /// Account `account` held `balance` after record `lsn` (0: since it was opened). Called once for each account, in order, before
    /// any record.
    fn snapshot_account(&mut self, account: AccountId, balance: Cents, lsn: Lsn);

    /// The key-value store had this key with this value and version at the snapshot's record, as far as the key was not changed while the
    /// snapshot was made; then a record brings it. Called once for each such key, after the accounts and before any record.
    fn snapshot_pair(&mut self, key: &[u8], version: Lsn, value: &[u8]);

    /// The next record. It changes an account only if it is of an operation that was done, and is newer than the account.
    fn record(&mut self, record: &Record);
}

/// Takes in nothing: only the outcome of the recovery is wanted.
#[derive(Debug)]
pub struct DiscardRecords;

impl Replay for DiscardRecords {
    fn snapshot_account(&mut self, _: AccountId, _: Cents, _: Lsn) {}
    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}
    fn record(&mut self, _: &Record) {}
}

/// A journal whose end is known: only from it can a [`Writer`] be made at a start.
#[derive(Debug)]
#[must_use = "a server writes behind it"]
pub struct Recovered {
    directory: Directory,
    /// The last record; 0 for none.
    pub end: Lsn,
    /// The last record that was handed on, or that the snapshot has: [`Recovered::end`], unless only what is committed was wanted.
    pub replayed_to: Lsn,
    /// The record after which the snapshot was taken; 0 for none.
    pub snapshot: Lsn,
    /// Records that were handed on.
    pub records: u64,
    /// What a power failure left of a batch that was never acknowledged, or of a raft entry that is not whole; see [`Recovered::truncate_torn_tail`].
    pub torn: Option<TornTail>,
    /// Snapshots that could not be used.
    pub damaged_snapshots: Vec<Damaged>,
    /// The mark of the last orderly stop, if it could not be used.
    pub damaged_mark: Option<DamagedMark>,
    /// All deposits and withdrawals, up to [`Recovered::replayed_to`].
    pub totals: RunningTotals,
}

/// Records between two calls of `progress`.
const PROGRESS_EVERY: u64 = 1 << 16;

/// Reads the newest good snapshot and the records behind it, and hands them to `replay`. Changes nothing.
///
/// Records from `from_at_most` on are handed on as well, if their segments exist, although the snapshot holds their results.
/// `progress` is called now and then with the record that was read.
pub fn recover(
    directory: &Directory,
    from_at_most: Lsn,
    replay: &mut impl Replay,
    progress: impl FnMut(Lsn),
) -> Result<Recovered, RecoveryError> {
    read(directory, || None, Lsn(u64::MAX), from_at_most, replay, progress)
}

/// [`recover`] of a member of a cluster: hands on no record behind `committed`, although the journal is read to its end. What is behind is
/// whole and may be truncated yet. `committed` may be an older state: what a snapshot or an orderly stop shows to be committed counts as
/// well. A truncation that was ordered must be [finished](super::finish_truncation) before.
pub fn recover_up_to(
    directory: &Directory,
    from_at_most: Lsn,
    committed: Committed,
    replay: &mut impl Replay,
    progress: impl FnMut(Lsn),
) -> Result<Recovered, RecoveryError> {
    read(directory, || None, committed.0, from_at_most, replay, progress)
}

/// Reads the balances as they are after record `committed()`, beside a running server, which says that all up to there is committed; with
/// `None` as they are at the end. Changes nothing.
///
/// `committed` is called once, after the snapshot was chosen: what that holds was committed before it was there, so it is nothing newer.
pub fn read_balances(
    directory: &Directory,
    committed: impl FnOnce() -> Option<Committed>,
    replay: &mut impl Replay,
) -> Result<Recovered, RecoveryError> {
    read(directory, committed, Lsn(u64::MAX), Lsn(u64::MAX), replay, |_| ())
}

/// Reads snapshot and records; where a server runs, up to what that says in `running`; hands on those up to `agreed`, or what else shows to
/// be committed.
fn read(
    directory: &Directory,
    running: impl FnOnce() -> Option<Committed>,
    agreed: Lsn,
    from_at_most: Lsn,
    replay: &mut impl Replay,
    mut progress: impl FnMut(Lsn),
) -> Result<Recovered, RecoveryError> {
    let found = snapshot::newest_good(directory)?;
    let committed = running();
    let opening = directory.openings().total();
    let (cut, newest, totals) = match &found.snapshot {
        None => (Lsn(0), Lsn(0), RunningTotals::new(opening, Cents::ZERO, Cents::ZERO)),
        Some(Snapshot { header, newest, .. }) => {
            (header.lsn, *newest, RunningTotals::new(opening, header.deposited, header.withdrawn))
        }
    };
    let totals = totals.ok_or(RecoveryError::TooMuchOpened { opening })?;
    replay.begin(cut);
    feed_snapshot(directory, found.snapshot.as_ref(), replay)?;
    let (closed, damaged_mark) =
        shutdown_mark::read(directory)?.map_or_else(|mark| (Lsn(0), Some(mark)), |lsn| (lsn, None));
    let mut recovered = Recovered {
        directory: directory.clone(),
        end: Lsn(0),
        replayed_to: cut,
        snapshot: cut,
        records: 0,
        torn: None,
        damaged_snapshots: found.damaged,
        damaged_mark,
        totals,
    };
    if committed == Some(Committed(Lsn(0))) {
        // What the first segment holds is being written.
        return Ok(recovered);
    }
    let Some(start) = start_of(directory, [cut, closed], from_at_most, &recovered.damaged_snapshots)? else {
        return Ok(recovered);
    };
    let known = Known { snapshotted: newest, closed, committed };
    let agreed = agreed.max(newest).max(closed);
    let mut beyond = None;
    let scanned = recovery::scan(directory, start, known, |record| {
        let lsn = record.lsn();
        if lsn > agreed {
            return;
        }
        recovered.replayed_to = recovered.replayed_to.max(lsn);
        if let Some(operation) = record.operation().filter(|_| lsn > cut) {
            match recovered.totals.after(operation) {
                Some(totals) => recovered.totals = totals,
                None => _ = beyond.get_or_insert(lsn),
            }
        }
        if lsn > cut || lsn >= from_at_most {
            recovered.records += 1;
            replay.record(record);
        }
        if lsn.0 % PROGRESS_EVERY == 0 {
            progress(lsn);
        }
    })?;
    if let Some(lsn) = beyond {
        return Err(RecoveryError::corrupt(directory, lsn, Damage::Totals));
    }
    (recovered.end, recovered.torn) = (scanned.end, scanned.torn);
    Ok(recovered)
}

/// Hands on every account once, from the snapshot, or as it was opened; and the snapshot's keys and values.
fn feed_snapshot(
    directory: &Directory,
    snapshot: Option<&Snapshot>,
    replay: &mut impl Replay,
) -> Result<(), RecoveryError> {
    let mut next = 0;
    if let Some(snapshot) = snapshot {
        next = snapshot.header.accounts;
        let read = snapshot.accounts(|account, balance, lsn| replay.snapshot_account(account, balance, lsn))?;
        read.map_err(|why| changed(snapshot, why))?;
    }
    for (account, balance) in directory.openings().from(next) {
        replay.snapshot_account(account, balance, Lsn(0));
    }
    if let Some(snapshot) = snapshot {
        let read = snapshot.pairs(|key, version, value| replay.snapshot_pair(key, version, value))?;
        read.map_err(|why| changed(snapshot, why))?;
    }
    Ok(())
}

/// It was good when it was looked at first.
fn changed(snapshot: &Snapshot, why: &'static str) -> RecoveryError {
    RecoveryError::SnapshotChanged(Damaged { path: snapshot.path().to_owned(), why })
}

/// The first record of the segment to begin with, so that the snapshot's record and `from_at_most` are read; `None` where there is
/// no journal and never was one.
fn start_of(
    directory: &Directory,
    [cut, closed]: [Lsn; 2],
    from_at_most: Lsn,
    damaged: &[Damaged],
) -> Result<Option<Lsn>, RecoveryError> {
    let segments = segment::list(directory)?;
    let per_segment = directory.records_per_segment();
    // The segment of the snapshot's own record, not of the next: it holds the checksum to go on from.
    let needed = first_of(Lsn(cut.0.max(1)), per_segment);
    let wanted = first_of(Lsn(from_at_most.0.max(1)), per_segment).min(needed);
    let gone = |oldest| RecoveryError::BeginningGone { oldest, wanted: needed, damaged: damaged.to_vec() };
    let Some(&oldest) = segments.first() else {
        // A damaged snapshot shows that there was a journal, and so does an orderly stop after a record.
        let never = cut == Lsn(0) && closed == Lsn(0) && damaged.is_empty();
        return if never { Ok(None) } else { Err(gone(Lsn(0))) };
    };
    if oldest > needed {
        return Err(gone(oldest));
    }
    Ok(Some(oldest.max(wanted)))
}

impl Recovered {
    /// Truncates the torn tail, if there is one, and keeps a copy of it under the time `now`, in seconds since 1970. Afterwards any
    /// process may go on behind [`Recovered::end`] by [`Writer::resume`].
    pub fn truncate_torn_tail(&mut self, now: u64) -> Result<Option<KeptTail>, RecoveryError> {
        self.torn.take().map(|torn| recovery::truncate(&self.directory, torn.from, now)).transpose()
    }

    /// [`Recovered::truncate_torn_tail`], and goes on writing behind the last good record.
    ///
    /// # Errors
    /// The tail cannot be copied or truncated, or those of [`Writer::resume`].
    pub fn into_writer(mut self, now: u64) -> Result<Writer, StartError> {
        self.truncate_torn_tail(now)?;
        Ok(Writer::resume(&self.directory, self.end)?)
    }
}

/// Why writing cannot begin behind a recovered journal.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The torn tail could not be truncated.
    #[error(transparent)]
    Cut(#[from] RecoveryError),
    /// The writer could not begin.
    #[error(transparent)]
    Writer(#[from] WriterError),
}
