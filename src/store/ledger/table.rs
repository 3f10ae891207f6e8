//! The account table: one 64-byte cell per account in shared memory, each under its own robust lock.

use crate::base::limits::MAX_WORKERS;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::IpcError;
use crate::ipc::cells::{
    AtomicI64, AtomicU32, AtomicU64, Ordering, RobustMutex, Segment, fence, shared_struct, unlink,
};
use crate::ipc::segment::Access;
use crate::store::journal::record::Record;
use crate::store::ledger::headroom::Headroom;
use crate::store::ledger::intent::LedgerRow;
use crate::store::ledger::keys::{Found, Key, Remembered};
use crate::store::ledger::order::Order;
use crate::store::ledger::sequencer::{Sequencer, Shape};

/// Version of the layout of both segments; goes up with every change of a structure in them.
pub const LAYOUT_VERSION: u32 = 5;

/// The row of the process that applies what other instances decide.
pub const REPLICA_ROW: usize = if cfg!(feature = "model") { 2 } else { MAX_WORKERS };
/// Rows: one for each worker that there can be and one for the replica process, or as many as a model looks at.
const ROWS: usize = REPLICA_ROW + 1;

shared_struct! {
    /// What precedes the cells. Writers are named at each field.
    pub struct TableHeader, align 64, size 192; {
        /// The master, before the first worker.
        accounts: AtomicU32,
        reserved: AtomicU32,
        /// The sum of all opening balances, in cents. The master, before the first worker.
        opening: AtomicI64,
        /// The largest balance that an account may have, in cents. The master, before the first worker.
        cap: AtomicI64,
        /// See `Headroom`. Workers, now and then, by compare-and-swap.
        headroom: AtomicI64,
        spare: [AtomicU64; 4],
        /// See `Order`. Every worker, by atomic addition.
        sequence: AtomicU64,
        sequence_line: [AtomicU64; 7],
        /// Held while a cut is taken.
        cut_lock: RobustMutex,
        /// Locks inherited from dead holders so far. Every heir, by atomic addition.
        inherited: AtomicU64,
        cut_line: [AtomicU64; 2],
    }
}

shared_struct! {
    /// One account. All fields but the lock are written only by the lock's holder.
    pub struct AccountCell, align 64, size 64; {
        pub(super) lock: RobustMutex,
        pub(super) balance: AtomicI64,
        /// The last operation that changed it.
        pub(super) lsn: AtomicU64,
        /// The last cut that it was counted in.
        pub(super) cut: AtomicU32,
        flags: AtomicU32,
    }
}

/// The account table, and what the ledger keeps for each worker.
pub struct Table {
    accounts: Segment<TableHeader, AccountCell>,
    rows: Segment<(), LedgerRow>,
    sequencer: Sequencer,
}

impl AccountCell {
    pub(super) fn balance(&self) -> Cents {
        Cents(self.balance.load(Ordering::Relaxed))
    }

    /// The last operation that changed the account.
    pub(super) fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }
}

impl Table {
    /// Makes the segments, by their full names: `accounts`, `intents`, `journal`, `keys`, `key-index`.
    ///
    /// # Errors
    /// A segment or a lock cannot be made; then none is left behind.
    pub fn create(names: [&str; 5], boot: u32, shape: &Shape) -> Result<Self, IpcError> {
        let made = Self::make(names, boot, shape);
        if made.is_err() {
            names.iter().try_for_each(|name| unlink(name))?;
        }
        made
    }

    /// Bytes of the segments `accounts`, `intents`, `journal`, `keys`, `key-index` of a table of this shape.
    #[must_use]
    pub fn bytes_for(shape: &Shape) -> [usize; 5] {
        let accounts = Segment::<TableHeader, AccountCell>::bytes_for(shape.accounts as usize);
        let [ring, keys, index] = Sequencer::bytes_for(shape);
        [accounts, Segment::<(), LedgerRow>::bytes_for(ROWS), ring, keys, index]
    }

    fn make([accounts_name, rows_name, sequencer @ ..]: [&str; 5], boot: u32, shape: &Shape) -> Result<Self, IpcError> {
        let count = shape.accounts as usize;
        let cells = Segment::create(accounts_name, LAYOUT_VERSION, boot, count, |header, cells| {
            Self::prepare(accounts_name, shape, header, cells)
        })?;
        let rows = Segment::create(rows_name, LAYOUT_VERSION, boot, ROWS, |(), _| Ok(()))?;
        Ok(Table { accounts: cells, rows, sequencer: Sequencer::create(sequencer, boot, shape)? })
    }

    /// Fills what is zero.
    fn prepare(name: &str, shape: &Shape, header: &TableHeader, cells: &[AccountCell]) -> Result<(), IpcError> {
        let (accounts, initial) = (shape.accounts, shape.initial_balance);
        header.accounts.store(accounts, Ordering::Relaxed);
        // The settings ensure that this fits, unless accounts exist that opened with other balances; see `begin_after`.
        let opening = Cents(initial.0.saturating_mul(accounts.into()));
        header.opening.store(opening.0, Ordering::Relaxed);
        Headroom(&header.headroom).begin(opening, Cents::ZERO);
        header.cap.store(i64::MAX / i64::from(accounts), Ordering::Relaxed);
        header.cut_lock.init(name)?;
        cells.iter().try_for_each(|cell| {
            cell.balance.store(initial.0, Ordering::Relaxed);
            cell.lock.init(name)
        })
    }

    /// Makes the table what [`Table::create`] makes, in place: nothing is left of accounts, intents, records and keys, nor of locks. Only
    /// while no other process or thread has part in it; whoever did is dead. `shape` is what the table was made for.
    ///
    /// # Errors
    /// A lock cannot be initialised, or there are no random numbers. What the table holds means nothing then, and this may be tried again.
    #[cfg(not(feature = "model"))]
    pub fn reset(&self, shape: &Shape) -> Result<(), IpcError> {
        self.accounts.refill(|header, cells| Self::prepare(self.accounts.name(), shape, header, cells))?;
        self.rows.refill(|(), _| Ok(()))?;
        self.sequencer.reset(shape)
    }

    /// Maps an existing table; mapped for reading only, balances and intents can be looked at, nothing can be locked.
    pub fn open([accounts, rows, sequencer @ ..]: [&str; 5], access: Access) -> Result<Self, IpcError> {
        Ok(Table {
            accounts: Segment::open(accounts, LAYOUT_VERSION, access)?,
            rows: Segment::open(rows, LAYOUT_VERSION, access)?,
            sequencer: Sequencer::open(sequencer, access)?,
        })
    }

    fn header(&self) -> &TableHeader {
        self.accounts.root()
    }

    /// How many accounts there are.
    #[inline]
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.header().accounts.load(Ordering::Relaxed)
    }

    /// The sum of all opening balances.
    #[must_use]
    pub fn opening(&self) -> Cents {
        Cents(self.header().opening.load(Ordering::Relaxed))
    }

    /// The largest balance that an account may have.
    #[inline]
    #[must_use]
    pub fn cap(&self) -> Cents {
        Cents(self.header().cap.load(Ordering::Relaxed))
    }

    /// What may yet be deposited.
    #[inline]
    pub(super) fn headroom(&self) -> Headroom<'_> {
        Headroom(&self.header().headroom)
    }

    /// The order of operations.
    #[inline]
    #[must_use]
    pub fn order(&self) -> Order<'_> {
        Order(&self.header().sequence)
    }

    /// What makes operations happen: the journal ring and the known keys.
    #[inline]
    #[must_use]
    pub fn sequencer(&self) -> &Sequencer {
        &self.sequencer
    }

    /// What the ledger keeps for each worker.
    #[inline]
    #[must_use]
    pub fn rows(&self) -> &[LedgerRow] {
        self.rows.elements()
    }

    /// The segments' names and sizes in bytes.
    #[must_use]
    pub fn segments(&self) -> [(&str, usize); 5] {
        let [ring, keys, index] = self.sequencer.segments();
        [(self.accounts.name(), self.accounts.bytes()), (self.rows.name(), self.rows.bytes()), ring, keys, index]
    }

    pub(super) fn cell(&self, account: AccountId) -> Option<&AccountCell> {
        self.accounts.elements().get(account.0 as usize)
    }

    /// Held while a cut is taken.
    pub(super) fn cut_lock(&self) -> &RobustMutex {
        &self.header().cut_lock
    }

    /// Counts a lock that was inherited from a dead holder.
    pub(super) fn count_inherited(&self) {
        self.header().inherited.fetch_add(1, Ordering::AcqRel);
    }

    /// How many locks were inherited from dead holders so far.
    #[must_use]
    pub fn inherited(&self) -> u64 {
        self.header().inherited.load(Ordering::Acquire)
    }

    /// The balance of `account` at some moment, without its lock; for tools that look.
    #[must_use]
    pub fn peek(&self, account: AccountId) -> Option<Cents> {
        self.cell(account).map(AccountCell::balance)
    }

    /// The balance of `account` and the last operation that changed it, without its lock; `None` where there is no such account, while
    /// it is being changed, and after its changer died. For tools that look.
    #[must_use]
    pub fn peek_stamped(&self, account: AccountId) -> Option<(Cents, Lsn)> {
        let cell = self.cell(account)?;
        let before = cell.lsn();
        let balance = Cents(cell.balance.load(Ordering::Acquire));
        // While a balance is set and not yet stamped, its setter holds the lock.
        let changing = cell.lock.holder().is_some() || cell.lock.is_orphaned();
        (!changing && cell.lsn() == before).then_some((balance, before))
    }

    /// The record of operation `lsn`, if that is committed and its place in the ring is not used again yet. For tools that look. The
    /// place may be overwritten while it is read; then the result is `None`.
    #[must_use]
    pub fn recent_record(&self, lsn: Lsn) -> Option<Record> {
        let sequencer = self.sequencer();
        if !sequencer.is_journaled() || lsn == Lsn(0) || !sequencer.committed().includes(lsn) {
            return None;
        }
        let bytes = sequencer.record(lsn);
        // The record that takes this place next is written only after the number before its own was taken.
        fence(Ordering::Acquire);
        // On an instance that follows, records are written ahead of what is applied.
        let newest = self.order().now().lsn.max(sequencer.log_end().unwrap_or_default());
        if newest.0 + 1 >= lsn.0 + sequencer.capacity() {
            return None;
        }
        // After a start the ring is empty, although the numbers go on from those on disk.
        Record::decode(&bytes).ok().filter(|record| record.lsn() == lsn)
    }

    /// The accounts that are locked at some moment of the call, with the kernel's thread id of each holder.
    pub fn holders(&self) -> impl Iterator<Item = (AccountId, u32)> {
        (0..).zip(self.accounts.elements()).filter_map(|(id, cell)| cell.lock.holder().map(|tid| (AccountId(id), tid)))
    }

    /// The accounts whose last holder died and that were not locked since, at some moment of the call.
    pub fn orphaned(&self) -> impl Iterator<Item = AccountId> {
        let cells = (0..).map(AccountId).zip(self.accounts.elements());
        cells.filter_map(|(account, cell)| cell.lock.is_orphaned().then_some(account))
    }

    /// Sets the balance of `account` after operation `lsn`, which is in the journal; before the first worker. Does nothing where
    /// there is no such account.
    pub fn restore(&self, account: AccountId, balance: Cents, lsn: Lsn) {
        if let Some(cell) = self.cell(account).filter(|cell| lsn >= cell.lsn()) {
            cell.balance.store(balance.0, Ordering::Relaxed);
            cell.lsn.store(lsn.0, Ordering::Relaxed);
        }
    }

    /// Makes the key of an operation, which is in the journal, known again; before the first worker, in the order of the records.
    pub(in crate::store) fn restore_remembered(&self, key: Option<Key>, remembered: Remembered) {
        let keys = self.sequencer.keys();
        let Some(probe) = key.map(|key| keys.probe(key, remembered.principal)) else { return };
        if let Found::Free(slot) = keys.find(&probe) {
            keys.make_known(keys.write(&probe, remembered, slot), remembered.lsn);
        }
    }

    /// Sets the sum of all opening balances, where accounts were opened with other ones than the table was made with; before the first
    /// worker, and before anything was deposited.
    pub fn set_opening(&self, opening: Cents) {
        self.header().opening.store(opening.0, Ordering::Relaxed);
        self.headroom().begin(opening, Cents::ZERO);
    }

    /// Goes on after operation `lsn`, where all is on disk and committed; before the first worker. `opening` is the sum of all opening
    /// balances, and `deposited` and `withdrawn` are what came in and went out so far.
    pub fn begin_after(&self, lsn: Lsn, opening: Cents, [deposited, withdrawn]: [Cents; 2]) {
        self.header().opening.store(opening.0, Ordering::Relaxed);
        // Any row will do: only the sums over all rows have a meaning.
        let tally = &self.rows()[0].tally;
        tally.deposited.store(deposited.0, Ordering::Relaxed);
        tally.deposit_limit.store(deposited.0, Ordering::Relaxed);
        self.headroom().begin(opening, deposited);
        tally.withdrawn.store(withdrawn.0, Ordering::Relaxed);
        self.order().begin_after(lsn);
        self.sequencer.begin_after(lsn);
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "table_tests.rs"]
mod tests;
