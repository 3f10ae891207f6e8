//! Named places where a process can be made to die, so that tests can stop it at every step of every operation.
//!
//! A point costs one load of a process-private byte and a compare that the processor predicts; they are compiled in always,
//! so that what is tested is what runs. `VAULT_CRASH_POINT=WHO:NAME[#HIT][/stop][,…]` in the master's environment arms the
//! named point in the first life of WHO, a worker's number, `journal`, `cache` or `replica`: when it comes by for the HIT-th time (default 1) it ends
//! itself with SIGKILL, or, with `/stop`, halts as by SIGSTOP, with whatever it holds.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::ipc::process;

/// The environment variable that arms points.
pub const VARIABLE: &str = "VAULT_CRASH_POINT";

macro_rules! points {
    ($(#[doc = $doc:literal] $point:ident = $name:literal,)*) => {
        /// A step after (or before) which a worker can be made to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum CrashPoint { $(#[doc = $doc] $point,)* }

        impl CrashPoint {
            /// Every point, in the order in which an operation comes by.
            pub const ALL: &[CrashPoint] = &[$(CrashPoint::$point,)*];

            /// The name that [`VARIABLE`] takes.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(CrashPoint::$point => $name,)* }
            }

            /// What has just happened there, in one sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(CrashPoint::$point => $doc.trim_ascii(),)* }
            }
        }
    };
}

points! {
    /// A frame was read and decoded; nothing else was done.
    Decoded = "request.decoded",
    /// The first (or only) account is locked.
    FirstLocked = "ledger.first-locked",
    /// All accounts of the operation are locked.
    Locked = "ledger.locked",
    /// The rules have allowed the operation.
    Decided = "ledger.decided",
    /// The reply stands in the transmit ring, behind its end.
    ReplyWritten = "ledger.reply-written",
    /// The intent is written; the operation has not happened.
    Prepared = "ledger.prepared",
    /// The sequencer's lock is held, and nothing was done under it.
    SequencerLocked = "ledger.sequencer-locked",
    /// The record stands in the ring, and the key in its table, where neither counts yet.
    RecordWritten = "ledger.record-written",
    /// The reply shows the operation's number, as some clients ask; the operation has not happened.
    ReplyNumbered = "ledger.reply-numbered",
    /// The intent claims the next number, which is not taken.
    Claimed = "ledger.claimed",
    /// The commit point is passed; no balance has changed yet.
    Committed = "ledger.committed",
    /// The key is known; the sequencer's lock is still held.
    KeyKnown = "ledger.key-known",
    /// The sequencer's lock is given back; no balance has changed yet.
    Sequenced = "ledger.sequenced",
    /// The first account's balance is written, its LSN not.
    FirstBalanceSet = "ledger.first-balance-set",
    /// The first account has its new balance and LSN.
    FirstApplied = "ledger.first-applied",
    /// All accounts have their new balances.
    Applied = "ledger.applied",
    /// The worker's tally of deposits and withdrawals is moved.
    Tallied = "ledger.tallied",
    /// The connection's progress word is moved: request consumed, reply queued.
    ProgressMoved = "ledger.progress-moved",
    /// The intent is idle again; the locks are still held.
    IntentCleared = "ledger.intent-cleared",
    /// The first of the locks is given back.
    FirstUnlocked = "ledger.first-unlocked",
    /// The operation is over; its reply was not sent.
    Unlocked = "ledger.unlocked",
    /// A reply was sent; the count of sent bytes does not say so.
    ReplySent = "connection.reply-sent",
    /// Journal: a group of records is taken out of the ring; nothing of it is written.
    GroupTaken = "journal.group-taken",
    /// Journal: the group is written, and not synced.
    GroupWritten = "journal.group-written",
    /// Journal: the group is synced; shared memory does not say so yet.
    GroupSynced = "journal.group-synced",
    /// Journal: shared memory says that the group is committed; the workers that wait are not woken yet.
    CommittedPublished = "journal.committed-published",
    /// Journal: the log is to be cut, and shared memory says how far it will be on disk; nothing is cut.
    TruncationBegun = "journal.truncation-begun",
    /// Journal: the log is cut and synced; shared memory does not say so.
    TruncationSynced = "journal.truncation-synced",
    /// Replica: the note of a worker that waits is taken; the worker is not woken yet.
    WorkerNoteTaken = "replica.note-taken",
    /// Replica: DATA/raft says that the snapshot that has come takes the place of the books; nobody was told to do it.
    InstallOrdered = "replica.install-ordered",
    /// Key-value: the key's bucket is locked.
    KvLocked = "kv.locked",
    /// Key-value: the row says which blocks are being taken; the list of free blocks still has them.
    KvAllocating = "kv.allocating",
    /// Key-value: the blocks are taken; the row does not say so.
    KvTaken = "kv.taken",
    /// Key-value: the blocks are the row's.
    KvAllocated = "kv.allocated",
    /// Key-value: key and value stand in the blocks.
    KvFilled = "kv.filled",
    /// Key-value: the reply stands in the transmit ring, behind its end.
    KvReplyWritten = "kv.reply-written",
    /// Key-value: the intent is written; the operation has not happened.
    KvPrepared = "kv.prepared",
    /// Key-value: the word of counts is that after the operation; the sequencer's lock is still held.
    Counted = "kv.counted",
    /// Key-value: the sequencer's lock is given back; the bucket has not changed.
    KvSequenced = "kv.sequenced",
    /// Key-value: the new blocks say their version and lead to the bucket's next key; the bucket does not lead to them.
    KvStamped = "kv.stamped",
    /// Key-value: the bucket leads to the new blocks, or not to the old ones; its LSN does not say so.
    KvLinked = "kv.linked",
    /// Key-value: the bucket has its new LSN.
    KvApplied = "kv.applied",
    /// Key-value: the connection's progress word is moved: request consumed, reply queued.
    KvProgressMoved = "kv.progress-moved",
    /// Key-value: the row says which blocks are being given back; the list of free blocks does not have them.
    KvReleasing = "kv.releasing",
    /// Key-value: the blocks are given back; the row does not say so.
    KvGiven = "kv.given",
    /// Key-value: the row is idle; the intent is not.
    KvReleased = "kv.released",
    /// Key-value: the intent is idle; the bucket's lock is still held.
    KvIntentCleared = "kv.intent-cleared",
    /// Key-value: the operation is over; its reply was not sent.
    KvUnlocked = "kv.unlocked",
    /// Key-value repair: the bucket's lock was inherited; nothing is repaired.
    KvRepairInherited = "kv.repair-inherited",
    /// Key-value repair: the bucket leads to the dead process' new blocks, or not to its old ones; its LSN does not say so.
    KvRepairLinked = "kv.repair-linked",
    /// Key-value repair: the bucket has its new LSN.
    KvRepairApplied = "kv.repair-applied",
    /// Access log: a line stands in the worker's ring; the log thread was not called.
    LogAppended = "log.appended",
    /// Access log: the lock is taken; nothing was done under it.
    LogGuarded = "log.guarded",
    /// Access log: the plan of a dead writer is found; nothing of it is carried out.
    LogInherited = "log.inherited",
    /// Access log: the plan stands; nothing of it is written.
    LogPlanned = "log.planned",
    /// Access log: the plan's lines are in the file; the ring does not say so.
    LogWritten = "log.written",
    /// Access log: the ring says what is in the file; the plan still stands.
    LogFlushed = "log.flushed",
    /// Access log: the plan is carried out and cleared; the lock is held.
    LogCleared = "log.cleared",
    /// Access log: rotation, before one of the files is renamed.
    LogRotating = "log.rotating",
    /// Access log: rotation, all files are renamed and there is no new one.
    LogRotated = "log.rotated",
    /// Access log: the lock is given back.
    LogReleased = "log.released",
    /// Repair: a dead holder's lock is inherited.
    RepairInherited = "repair.inherited",
    /// Repair: a dead worker's claim to a number is withdrawn.
    RepairWithdrawn = "repair.claim-withdrawn",
    /// Repair: the key of a dead worker's operation is made known.
    RepairKeyKnown = "repair.key-known",
    /// Repair: the word of counts is that after the dead worker's operation.
    RepairCounted = "kv.repair-counted",
    /// Repair: the dead worker's tally is moved.
    RepairTallied = "repair.tallied",
    /// Repair: the balance is set, the account's LSN not.
    RepairBalanceSet = "repair.balance-set",
    /// Repair: the account is whole; the lock is not yet declared so.
    RepairApplied = "repair.applied",
    /// Transfer: a worker has claimed a segment and not offered it.
    TransferClaimed = "transfer.claimed",
    /// Transfer: the segment is offered; its worker still has the ticket.
    TransferOffered = "transfer.offered",
    /// Transfer: the cache process has picked the segment up.
    TransferPickedUp = "transfer.picked-up",
    /// Transfer: the length is announced; no chunk is filled.
    TransferAnnounced = "transfer.announced",
    /// Transfer: a chunk is filled and not handed over.
    TransferFilled = "transfer.filled",
    /// Transfer: a chunk is handed over.
    TransferHandedOver = "transfer.handed-over",
    /// Transfer: the worker has taken a chunk.
    TransferTaken = "transfer.taken",
    /// Transfer: the worker has given a chunk back.
    TransferReturned = "transfer.returned",
    /// Transfer: the cache process has let go of the segment.
    TransferWritten = "transfer.written",
    /// Transfer: the worker has given the segment back; who waits for one does not know.
    TransferFreed = "transfer.freed",
    /// Cache: a command is taken from the queue; nothing was done for it.
    CacheCommandTaken = "cache.command-taken",
    /// Cache: the origin has answered; nobody who waits knows.
    CacheHeadTaken = "cache.head-taken",
    /// Cache: a chunk of content is kept; no reader has it.
    CacheChunkKept = "cache.chunk-kept",
    /// Cache: content has come to its end; it is no entry.
    CacheWhole = "cache.whole",
    /// Cache: the descriptor of a content is passed; its worker is not told that it comes.
    CacheDescriptorPassed = "cache.descriptor-passed",
}

/// What is to happen where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Where.
    pub point: CrashPoint,
    /// When the process comes by for this many-th time; at least 1.
    pub hit: u32,
    /// Whether it halts instead of dying.
    pub stop: bool,
}

/// The armed point as its number plus one; 0 when none is.
static ARMED: AtomicU8 = AtomicU8::new(0);
static HITS_LEFT: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// Dies, or halts, here if this point is armed.
#[inline]
pub fn crash_point(point: CrashPoint) {
    #[cfg(feature = "model")]
    crate::ipc::model::come_by(point as u8);
    if ARMED.load(Ordering::Relaxed) == point as u8 + 1 {
        hit();
    }
}

#[cold]
fn hit() {
    match HITS_LEFT.fetch_sub(1, Ordering::Relaxed) {
        1 if STOP.load(Ordering::Relaxed) => process::stop_self(),
        1 => process::kill_self(),
        _ => {}
    }
}

/// Arms a point in this process.
pub fn arm(charge: Charge) {
    HITS_LEFT.store(charge.hit.max(1), Ordering::Relaxed);
    STOP.store(charge.stop, Ordering::Relaxed);
    ARMED.store(charge.point as u8 + 1, Ordering::Relaxed);
}

/// Arms what [`VARIABLE`] says for process `who`, a worker's number, `journal`, `cache` or `replica`. Only in its first life, else
/// its successor would die of it too.
pub fn arm_from_environment(who: &str, lives: u32) {
    if lives == 1
        && let Ok(text) = std::env::var(VARIABLE)
        && let Ok(Some(charge)) = armed_for(&text, who)
    {
        arm(charge);
    }
}

/// What `text`, as of [`VARIABLE`], says for process `who`.
///
/// # Errors
/// The part of the text that is no `WHO:NAME[#HIT][/stop]`.
pub fn armed_for(text: &str, who: &str) -> Result<Option<Charge>, String> {
    let mut found = None;
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        let (name, charge) = parse(entry).ok_or_else(|| entry.to_owned())?;
        if name == who {
            found = Some(charge);
        }
    }
    Ok(found)
}

fn parse(entry: &str) -> Option<(&str, Charge)> {
    let (who, rest) = entry.split_once(':')?;
    let (rest, stop) = rest.strip_suffix("/stop").map_or((rest, false), |rest| (rest, true));
    let (name, hit) = rest.split_once('#').unwrap_or((rest, "1"));
    let point = CrashPoint::ALL.iter().copied().find(|point| point.name() == name)?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let known = ["journal", "cache", "replica"].contains(&who)
        || number(who).is_some_and(|worker| u16::try_from(worker).is_ok());
    Some((who, Charge { point, hit: number(hit)?, stop })).filter(|(_, charge)| known && charge.hit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_workers_points_and_hits() {
        let text = "0:ledger.locked,1:ledger.applied#3,2:ledger.decided/stop,cache:cache.whole";
        let charge = |point, hit, stop| Ok(Some(Charge { point, hit, stop }));
        assert_eq!(armed_for(text, "0"), charge(CrashPoint::Locked, 1, false));
        assert_eq!(armed_for(text, "1"), charge(CrashPoint::Applied, 3, false));
        assert_eq!(armed_for(text, "2"), charge(CrashPoint::Decided, 1, true));
        assert_eq!(armed_for(text, "cache"), charge(CrashPoint::CacheWhole, 1, false));
        assert_eq!(armed_for(text, "3"), Ok(None));
        assert_eq!(armed_for("replica:replica.note-taken", "replica"), charge(CrashPoint::WorkerNoteTaken, 1, false));
        assert_eq!(armed_for("cache:transfer.filled#2", "cache"), charge(CrashPoint::TransferFilled, 2, false));
        for bad in [
            "ledger.locked",
            "0:nowhere",
            "x:ledger.locked",
            "+0:ledger.locked",
            "65536:ledger.locked",
            "0:ledger.locked#x",
            "0:ledger.locked#+1",
            "0:ledger.locked#0",
            "0:ledger.locked#4294967296",
        ] {
            assert_eq!(armed_for(bad, "0"), Err(bad.to_owned()));
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CrashPoint::ALL.iter().map(|p| p.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }
}
