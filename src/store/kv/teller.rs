//! The teller of the key-value table: carries out one operation at a time for its process.

use xxhash_rust::xxh3::Xxh3;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::{Condition, Lsn};
use crate::ipc::cells::expect_to_write;
use crate::store::journal::record::{Fingerprint, KvHead, KvKind, KvVerdict, blocks_of};
use crate::store::kv::bucket::{FoundKey, LockedBucket};
use crate::store::kv::layout::Link;
use crate::store::kv::operation::{KvOperation, RememberedWrite};
use crate::store::kv::pool::LockedPool;
use crate::store::kv::row::{Chain, Change, KvRow};
use crate::store::kv::table::{Home, KvTable};
use crate::store::ledger::commit::Uncommitted;
use crate::store::ledger::intent::{LedgerRow, Plan};
use crate::store::ledger::{Completion, Table};

/// A write that is asked for. Key and value are within the bounds of `docs/kv.x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvWriteRequest<'a> {
    /// Put or delete.
    pub kind: KvKind,
    /// The key, of 1 to 255 bytes.
    pub key: &'a [u8],
    /// The value, of at most 65536 bytes; empty where a key goes.
    pub value: &'a [u8],
    /// What the key's version must be.
    pub condition: Condition,
}

impl KvWriteRequest<'_> {
    /// A digest of all that is asked for (XXH3, 128 bits). It tells a request that is repeated from one that has its id by mistake. Who makes
    /// two of one digest deceives only himself, so it need not withstand that; a cryptographic one takes ten times as long.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let (condition, expected) = self.condition.to_code();
        let mut digest = Xxh3::new();
        digest.update(&[self.kind.code(), condition]);
        digest.update(&expected.to_le_bytes());
        digest.update(&(self.key.len() as u64).to_le_bytes());
        digest.update(self.key);
        digest.update(self.value);
        digest.digest128().to_le_bytes()
    }
}

/// Who asks, and the id by which a repeated request is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvAsker {
    /// The user's number: a request id is the user's own.
    pub principal: u32,
    /// The request id, if the request has one.
    pub request: Option<[u8; KEY_BYTES]>,
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvRefusal {
    /// There is no such key.
    NotFound,
    /// The key has this version, which its condition does not admit; 0 where it is not there.
    Mismatch(Lsn),
    /// The table is full.
    Full,
}

impl KvRefusal {
    fn verdict(self) -> KvVerdict {
        match self {
            KvRefusal::NotFound => KvVerdict::NotFound,
            KvRefusal::Mismatch(_) => KvVerdict::Mismatch,
            KvRefusal::Full => KvVerdict::Full,
        }
    }

    /// What was answered the first time that a request came.
    ///
    /// # Errors
    /// It was refused then.
    pub fn of_first(verdict: KvVerdict, previous: Lsn) -> Result<(), KvRefusal> {
        match verdict {
            KvVerdict::Done => Ok(()),
            KvVerdict::NotFound => Err(KvRefusal::NotFound),
            KvVerdict::Mismatch => Err(KvRefusal::Mismatch(previous)),
            KvVerdict::Full => Err(KvRefusal::Full),
        }
    }
}

/// Why a write was not done: nothing has changed, and what `reply` prepared does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvUndone {
    /// It is refused.
    Refused(KvRefusal),
    /// Its request id is known, with the same request, which became operation `lsn` and was answered so.
    Repeated {
        /// Its number, and the version that it has written.
        lsn: Lsn,
        /// The first answer.
        first: Result<(), KvRefusal>,
    },
    /// Its request id is known, with another request.
    Conflict,
    /// There is no room in the journal's ring: try again when more is on disk.
    Later,
    /// The disk is full: try again much later.
    NoSpace,
    /// The gate is closed: another instance is the primary, or none is.
    NotPrimary,
}

/// Carries out a process' operations. It is used by `&mut`: a process has one intent, so one operation in flight, of the ledger or of
/// the table.
pub struct KvTeller<'a> {
    ledger: &'a Table,
    table: &'a KvTable,
    pub(super) row: &'a KvRow,
    ledger_row: &'a LedgerRow,
    pub(super) still_waiting: Box<dyn Fn() + 'a>,
    wall_clock_ns: u64,
    seen: Lsn,
    has_read: bool,
}

impl<'a> KvTeller<'a> {
    /// The teller of process `row`, whose rows must be settled. `still_waiting` is called now and then while it waits for a lock.
    #[must_use]
    pub fn new(ledger: &'a Table, table: &'a KvTable, row: usize, still_waiting: impl Fn() + 'a) -> Self {
        KvTeller {
            ledger,
            table,
            row: &table.rows()[row],
            ledger_row: &ledger.rows()[row],
            still_waiting: Box::new(still_waiting),
            wall_clock_ns: 0,
            seen: Lsn(0),
            has_read: false,
        }
    }

    pub(super) fn ledger(&self) -> &'a Table {
        self.ledger
    }

    pub(super) fn ledger_row(&self) -> &'a LedgerRow {
        self.ledger_row
    }

    /// Sets the time that records bear, nanoseconds since 1970.
    pub fn set_wall_clock(&mut self, now_ns: u64) {
        self.wall_clock_ns = now_ns;
    }

    /// The last operation whose result this teller has shown since the last call.
    pub fn take_seen(&mut self) -> Lsn {
        std::mem::take(&mut self.seen)
    }

    /// Whether this teller has shown what is so at a moment since the last call: what others do later makes it untrue, unlike the result
    /// of an operation.
    pub fn take_has_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read)
    }

    /// Notes that what is so now is shown: what operation `lsn` and those before it have led to.
    pub fn see_state(&mut self, lsn: Lsn) {
        self.seen = self.seen.max(lsn);
        self.has_read = true;
    }

    pub(super) fn home(&self, key: &[u8]) -> Home {
        self.table.home(key)
    }

    pub(super) fn lock(&self, home: Home) -> Option<LockedBucket<'a>> {
        let bucket = self.table.lock(self.ledger, home.bucket, &self.still_waiting);
        crash_point(CrashPoint::KvLocked);
        bucket
    }

    /// Has the memory fetched that is touched first when `key` is looked up, or written by a request with this id, while the caller does
    /// something else. A hint: there need be no such key.
    #[inline]
    pub fn prefetch(&self, key: &[u8], request: Option<[u8; KEY_BYTES]>) {
        self.prefetch_bucket(self.home(key));
        if let Some(request) = request {
            self.prefetch_request(request);
        }
    }

    /// Has the memory fetched that is touched next: the first key of the bucket, which was fetched before.
    #[inline]
    pub fn prefetch_first_key(&self, key: &[u8]) {
        self.prefetch_first_key_of(self.home(key));
    }

    #[inline]
    pub(super) fn prefetch_bucket(&self, home: Home) {
        if let Some(bucket) = self.table.bucket(home.bucket) {
            expect_to_write(bucket);
        }
    }

    #[inline]
    pub(super) fn prefetch_first_key_of(&self, home: Home) {
        if let Some(bucket) = self.table.bucket(home.bucket)
            && let Some(block) = bucket.first.target().and_then(|first| self.table.blocks().get(first))
        {
            expect_to_write(block);
        }
    }

    /// Has the memory fetched that tells whether a request id is known.
    #[inline]
    pub(super) fn prefetch_request(&self, request: [u8; KEY_BYTES]) {
        // Probing fetches the buckets, which are the same for all users.
        let _probe = self.ledger.sequencer().keys().probe(request, 0);
    }

    /// Looks `key` up; its version. Its bytes and behind them its value are appended to `into`, copied while nobody can change them.
    pub fn get(&mut self, key: &[u8], into: &mut Vec<u8>) -> Option<Lsn> {
        let home = self.table.home(key);
        let bucket = self.lock(home)?;
        let found = bucket.find(home, key);
        if let Some(found) = &found {
            bucket.copy(found, usize::MAX, into);
        }
        // That a key is not there shows the operation after which it was not, which is no newer than the bucket.
        let shown = found.map_or(bucket.lsn(), |found| found.entry.version);
        drop(bucket);
        self.see_state(shown);
        found.map(|found| found.entry.version)
    }

    /// Carries out a write wholly or not at all, whenever this process may die; the operation's number, which is the version that the key
    /// has then.
    ///
    /// `reply` is called with the outcome before the write is committed: it puts the answer where it will be sent from, and names the
    /// word that makes it count there. It may be called a second time, should the outcome become another; only the last call counts. A refusal
    /// with a request id is remembered, and so committed as well.
    ///
    /// # Errors
    /// [`KvUndone`]; should `reply` have been called, what it prepared does not count.
    pub fn carry_out<'c>(
        &mut self,
        write: &KvWriteRequest<'_>,
        asker: &KvAsker,
        reply: impl Fn(Result<(), KvRefusal>) -> Completion<'c>,
    ) -> Result<Lsn, KvUndone> {
        let home = self.table.home(write.key);
        // Before anything is locked: of a long value the fingerprint takes its time.
        let head = self.head(write, asker);
        let Some(bucket) = self.lock(home) else { return Err(KvUndone::Later) };
        let found = bucket.find(home, write.key);
        let current = found.map_or(Lsn(0), |found| found.entry.version);
        let refusal = match (write.condition.admits(current), write.kind, &found) {
            (false, ..) => Some(KvRefusal::Mismatch(current)),
            (true, KvKind::Delete, None) => Some(KvRefusal::NotFound),
            (true, ..) => None,
        };
        let outcome = match refusal {
            None => self.write(&bucket, home, found.as_ref(), (write, head), &reply),
            Some(refusal) => Err(KvUndone::Refused(refusal)),
        };
        let outcome = match outcome {
            Err(KvUndone::Refused(refusal)) => {
                // The refusal shows what is in the bucket, which stays locked, so that no write comes in between; or how much all writes
                // so far have left.
                let is_full = refusal == KvRefusal::Full;
                let shown = if is_full { self.ledger.order().now().lsn } else { bucket.lsn() };
                self.seen = self.seen.max(shown);
                self.refuse((write, head), current, refusal, &reply)
            }
            outcome => outcome,
        };
        drop(bucket);
        crash_point(CrashPoint::KvUnlocked);
        outcome
    }

    /// Carries out a write that its condition admits.
    fn write<'c>(
        &mut self,
        bucket: &LockedBucket<'a>,
        home: Home,
        found: Option<&FoundKey>,
        (write, head): (&KvWriteRequest<'_>, KvHead),
        reply: &impl Fn(Result<(), KvRefusal>) -> Completion<'c>,
    ) -> Result<Lsn, KvUndone> {
        let displaced = found.map(|found| found.chain);
        let data = (write.kind == KvKind::Put).then_some((write.key, write.value));
        let change = self.take_blocks(home, displaced, data).ok_or(KvUndone::Refused(KvRefusal::Full))?;
        let completion = reply(Ok(()));
        crash_point(CrashPoint::KvReplyWritten);
        let previous = found.map_or(Lsn(0), |found| found.entry.version);
        let blocks = [displaced, change.fresh].map(|chain| chain.map_or(0, |chain| chain.blocks));
        let head = KvHead { verdict: KvVerdict::Done, previous, ..head };
        match self.commit(write, head, blocks, completion) {
            Ok(lsn) => {
                bucket.carry_out(lsn, &change);
                completion.complete();
                crash_point(CrashPoint::KvProgressMoved);
                self.give_back(displaced);
                self.end();
                Ok(lsn)
            }
            Err(undone) => {
                self.give_back(change.fresh);
                self.end();
                Err(undone)
            }
        }
    }

    /// Takes and fills the blocks for key and value, and notes what the write does to its bucket; `None` where there are none left.
    pub(super) fn take_blocks(
        &self,
        home: Home,
        displaced: Option<Chain>,
        data: Option<(&[u8], &[u8])>,
    ) -> Option<Change> {
        let allocate = |blocks| self.table.pool().lock(&self.still_waiting).allocate(self.row, blocks);
        self.take_blocks_by(allocate, home, displaced, data)
    }

    /// [`KvTeller::take_blocks`], of a list of free blocks whose lock the caller holds.
    pub(super) fn take_blocks_of(
        &self,
        pool: &LockedPool<'_>,
        home: Home,
        displaced: Option<Chain>,
        data: Option<(&[u8], &[u8])>,
    ) -> Option<Change> {
        self.take_blocks_by(|blocks| pool.allocate(self.row, blocks), home, displaced, data)
    }

    fn take_blocks_by(
        &self,
        allocate: impl FnOnce(u32) -> Option<Chain>,
        home: Home,
        displaced: Option<Chain>,
        data: Option<(&[u8], &[u8])>,
    ) -> Option<Change> {
        self.row.prepare(home.bucket, displaced);
        let Some((key, value)) = data else {
            self.row.own();
            return self.row.change();
        };
        let fresh = allocate(blocks_of(key.len(), value.len()))?;
        crash_point(CrashPoint::KvAllocated);
        self.table.blocks().fill(fresh.first, home.hash, key, value);
        crash_point(CrashPoint::KvFilled);
        Some(Change { bucket: home.bucket, fresh: Some(fresh), displaced })
    }

    /// Gives back the blocks that the row has now.
    pub(super) fn give_back(&self, chain: Option<Chain>) {
        match chain {
            Some(chain) => self.table.pool().lock(&self.still_waiting).release(self.row, chain),
            None => self.row.clear(),
        }
        crash_point(CrashPoint::KvReleased);
    }

    /// [`KvTeller::give_back`], to a list whose lock the caller holds.
    pub(super) fn give_back_to(&self, pool: &LockedPool<'_>, chain: Option<Chain>) {
        match chain {
            Some(chain) => pool.release(self.row, chain),
            None => self.row.clear(),
        }
    }

    /// Ends the operation, while its bucket is still locked.
    pub(super) fn end(&self) {
        self.ledger_row.intent.clear();
        crash_point(CrashPoint::KvIntentCleared);
    }

    /// Commits a refusal, if it has a request id.
    #[cold]
    fn refuse<'c>(
        &mut self,
        (write, head): (&KvWriteRequest<'_>, KvHead),
        current: Lsn,
        refusal: KvRefusal,
        reply: &impl Fn(Result<(), KvRefusal>) -> Completion<'c>,
    ) -> Result<Lsn, KvUndone> {
        if head.request.is_none() {
            self.has_read = true;
            return Err(KvUndone::Refused(refusal));
        }
        let completion = reply(Err(refusal));
        crash_point(CrashPoint::KvReplyWritten);
        let head = KvHead { verdict: refusal.verdict(), previous: current, ..head };
        // What is refused shows no number.
        let committed = self.commit(write, head, [0; 2], completion.unnumbered());
        if committed.is_ok() {
            completion.complete();
            crash_point(CrashPoint::KvProgressMoved);
        }
        self.end();
        committed
    }

    /// What a write's first record says before anything of its outcome is known.
    fn head(&self, write: &KvWriteRequest<'_>, asker: &KvAsker) -> KvHead {
        #[allow(clippy::cast_possible_truncation, reason = "within the bounds of a request")]
        let (key_bytes, value_bytes) = (write.key.len() as u8, write.value.len() as u32);
        KvHead {
            // The sequencer sets it.
            lsn: Lsn(0),
            time_ns: self.wall_clock_ns,
            kind: write.kind,
            verdict: KvVerdict::Done,
            principal: asker.principal,
            key_bytes,
            value_bytes,
            condition: write.condition,
            fingerprint: asker.request.map_or(Fingerprint::default(), |_| write.fingerprint()),
            previous: Lsn(0),
            keys: 0,
            blocks: 0,
            request: asker.request,
        }
    }

    /// Passes the commit point; the intent stays. `blocks` is how many the key takes before and after.
    fn commit(
        &mut self,
        write: &KvWriteRequest<'_>,
        head: KvHead,
        blocks: [u32; 2],
        completion: Completion<'_>,
    ) -> Result<Lsn, KvUndone> {
        let (key, value, capacity) = (write.key, write.value, self.table.capacity());
        let mut operation = KvOperation { head, key, value, blocks, capacity };
        let probe = head.request.map(|id| self.ledger.sequencer().keys().probe(id, head.principal));
        let plan = Plan { connection: completion.connection, progress: completion.next, ..Plan::NOTHING };
        let intent = &self.ledger_row.intent;
        intent.prepare(&plan);
        crash_point(CrashPoint::KvPrepared);
        let keyed = (probe.as_ref(), completion.number);
        match self.ledger.commit(intent, &mut operation, keyed, &self.still_waiting) {
            Ok(stamp) => {
                crash_point(CrashPoint::KvSequenced);
                self.seen = self.seen.max(stamp.lsn);
                Ok(stamp.lsn)
            }
            Err(uncommitted) => {
                self.seen = self.seen.max(uncommitted.shows());
                Err(undone(uncommitted))
            }
        }
    }
}

fn undone(uncommitted: Uncommitted) -> KvUndone {
    match uncommitted {
        Uncommitted::Repeated(known) => match RememberedWrite::from_table(&known) {
            Some(first) => {
                KvUndone::Repeated { lsn: first.lsn, first: KvRefusal::of_first(first.verdict, first.previous) }
            }
            None => KvUndone::Conflict,
        },
        Uncommitted::Conflict(_) => KvUndone::Conflict,
        Uncommitted::Later => KvUndone::Later,
        Uncommitted::NoSpace => KvUndone::NoSpace,
        Uncommitted::Full => KvUndone::Refused(KvRefusal::Full),
        Uncommitted::NotPrimary => KvUndone::NotPrimary,
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "teller_tests.rs"]
mod tests;
