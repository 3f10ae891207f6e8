//! A small ledger: accounts, transfers with and without keys, and the records that carry them.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::vocab::Lsn;
use crate::process::replica::core::log::Log;
use crate::process::replica::message::{EntryKind, EntryRange};
use crate::store::cluster::Change;

pub const ACCOUNTS: usize = 8;
pub const OPENING: i64 = 50;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One of the first records of an operation that has several; the last is its transfer.
    Part {
        op: u64,
    },
    Transfer {
        op: u64,
        key: u64,
        from: usize,
        to: usize,
        balances: (i64, i64),
        parts: u64,
    },
    Term(u64),
    Change(Rc<Change>),
}

/// A record. Those of operations are not stamped until they are proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub lsn: u64,
    pub term: u64,
    pub index: u64,
    pub ends: bool,
    pub what: What,
}

impl Record {
    pub fn new(lsn: u64, what: What) -> Record {
        Record { lsn, term: 0, index: 0, ends: false, what }
    }

    /// Whether its operation has more records behind it.
    pub fn is_part(&self) -> bool {
        matches!(self.what, What::Part { .. })
    }
}

/// The books: balances, and the keys that were used, with their records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub balances: [i64; ACCOUNTS],
    pub keys: Rc<BTreeMap<u64, u64>>,
    /// The record that changed an account last.
    pub changed: [u64; ACCOUNTS],
    pub upto: u64,
}

impl Books {
    pub fn new() -> Books {
        Books { balances: [OPENING; ACCOUNTS], keys: Rc::default(), changed: [0; ACCOUNTS], upto: 0 }
    }

    /// Takes a record over by its absolute values. Books stand still inside an operation.
    pub fn apply(&mut self, record: &Record) {
        if record.is_part() {
            return;
        }
        if let What::Transfer { key, from, to, balances, .. } = record.what {
            (self.balances[from], self.balances[to]) = balances;
            (self.changed[from], self.changed[to]) = (record.lsn, record.lsn);
            if key != 0 {
                Rc::make_mut(&mut self.keys).insert(key, record.lsn);
            }
        }
        self.upto = record.lsn;
    }
}

/// So many operations that were done by an instance without peers.
pub fn records_of_before(many: u64) -> Vec<Record> {
    let mut books = Books::new();
    let mut done = |lsn: u64| {
        let [from, to] = [lsn, lsn + 1].map(|number| usize::try_from(number).unwrap() % ACCOUNTS);
        let balances = (books.balances[from] - 1, books.balances[to] + 1);
        // Clients count theirs from 1.
        let record = Record::new(lsn, What::Transfer { op: u64::MAX - lsn, key: 0, from, to, balances, parts: 0 });
        books.apply(&record);
        record
    };
    (1..=many).map(&mut done).collect()
}

/// The last entry that is gone: its index, its term and its last record.
pub type Base = (u64, u64, u64);

/// The last entry that ends at or before `lsn`.
pub fn base_at(base: Base, records: &[Record], lsn: u64) -> Base {
    let ends = |record: &&Record| record.ends && record.lsn <= lsn;
    records.iter().rfind(ends).map_or(base, |record| (record.index, record.term, record.lsn))
}

/// The log that records make.
pub fn log_of<'a>(base: Base, records: impl Iterator<Item = &'a Record>) -> Result<Log, String> {
    let mut log = Log::new(base.0, base.1, Lsn(base.2));
    let mut first = base.2 + 1;
    for record in records.filter(|record| record.ends) {
        let kind = match &record.what {
            What::Part { .. } | What::Transfer { .. } => EntryKind::Operations,
            What::Term(_) => EntryKind::Term,
            What::Change(change) => EntryKind::Change((**change).clone()),
        };
        let (index, term) = (record.index, record.term);
        let entry = EntryRange { index, term, first: Lsn(first), last: Lsn(record.lsn), kind };
        log.push(entry).map_err(|error| format!("the records make no log: {error}"))?;
        first = record.lsn + 1;
    }
    Ok(log)
}
