//! What was promised, held against what happens.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;

use super::records::{ACCOUNTS, Books, OPENING, Record, What};
use crate::process::replica::message::EntryRange;
use crate::store::cluster::{Membership, NodeId};

/// Nothing, or what is wrong.
pub type Verdict = Result<(), String>;
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;
type Set<K> = HashSet<K, BuildHasherDefault<DefaultHasher>>;

/// What is known of the whole cluster, which no node knows.
pub struct Oracle {
    /// The one log: what any node has called committed.
    pub log: Vec<Record>,
    /// Balances after each record, from none on.
    states: Vec<[i64; ACCOUNTS]>,
    keys: Set<u64>,
    ops: Set<u64>,
    /// Entries by index and term: the term before, the first record, and all records.
    entries: Map<(u64, u64), (u64, u64, Vec<Record>)>,
    primaries: Map<u64, NodeId>,
    /// The members, by what is committed.
    pub members: Membership,
    /// The last record that any client has seen the effect of.
    pub completed: u64,
    pub acknowledged: u64,
    pub read: u64,
    /// Changes of membership by their kind, as [`ChangeKind`] has them.
    pub changes: [u64; 3],
}

pub fn hold(good: bool, what: impl FnOnce() -> String) -> Verdict {
    if good { Ok(()) } else { Err(what()) }
}

impl Oracle {
    /// Before anything happens, but for these records of one that founds the cluster.
    pub fn new(members: Membership, before: &[Record]) -> Oracle {
        let mut oracle = Oracle {
            log: Vec::new(),
            states: vec![[OPENING; ACCOUNTS]],
            keys: Set::default(),
            ops: Set::default(),
            entries: Map::default(),
            primaries: Map::default(),
            members,
            completed: 0,
            acknowledged: 0,
            read: 0,
            changes: [0; 3],
        };
        oracle.committed(before.iter()).unwrap();
        oracle
    }

    /// A node is primary in a term.
    pub fn primary(&mut self, term: u64, node: NodeId) -> Verdict {
        let first = *self.primaries.entry(term).or_insert(node);
        hold(first == node, || format!("{first} and {node} are primary in term {term}"))
    }

    /// A node has an entry in its log.
    pub fn appended(&mut self, before: u64, entry: &EntryRange, records: &[Record]) -> Verdict {
        let is_whole = records.last().is_none_or(|last| !last.is_part());
        hold(is_whole, || format!("{entry:?} ends inside an operation: {:?}", records.last()))?;
        let seen = self.entries.entry((entry.index, entry.term));
        let seen = seen.or_insert_with(|| (before, entry.first.0, records.to_vec()));
        let same = seen.0 == before && seen.1 == entry.first.0 && seen.2 == records;
        hold(same, || format!("logs do not match: {entry:?} after term {before} has {records:?} and {seen:?}"))
    }

    /// A node says that these records, which follow each other, are committed.
    pub fn committed<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> Verdict {
        for record in records {
            let place = usize::try_from(record.lsn - 1).unwrap();
            if let Some(known) = self.log.get(place) {
                hold(known == record, || format!("{known:?} was committed, and now it is {record:?}"))?;
            } else {
                hold(place == self.log.len(), || format!("{record:?} is committed before those before it"))?;
                self.extend(record)?;
            }
        }
        Ok(())
    }

    fn extend(&mut self, record: &Record) -> Verdict {
        let mut state = self.states[self.log.len()];
        // What of an operation is before this record.
        let is_of = |before: &&Record, op| matches!(before.what, What::Part { op: of } if of == op);
        let op = match record.what {
            What::Part { op } | What::Transfer { op, .. } => op,
            _ => 0,
        };
        let before = self.log.iter().rev().take_while(|before| is_of(before, op)).count() as u64;
        let continues = before > 0 || self.log.last().is_none_or(|last| !last.is_part());
        hold(continues, || format!("{record:?} is inside an operation: {:?}", self.log.last()))?;
        if let What::Transfer { op, key, from, to, balances, parts } = record.what {
            hold(before == parts, || format!("{record:?} ends an operation of which {before} records are before it"))?;
            hold(self.ops.insert(op), || format!("operation {op} is in the log twice"))?;
            hold(key == 0 || self.keys.insert(key), || format!("key {key} is in the log twice"))?;
            let sum = state[from] + state[to];
            (state[from], state[to]) = balances;
            let good = sum == balances.0 + balances.1 && balances.0 >= 0;
            hold(good, || format!("{record:?} does not follow from the books before it: {state:?}"))?;
        }
        if let What::Change(change) = &record.what
            && record.ends
            && self.log.last().is_none_or(|before| before.ends)
        {
            self.members = self.members.after(change);
            self.changes[change.kind as usize] += 1;
        }
        self.log.push(record.clone());
        self.states.push(state);
        Ok(())
    }

    /// Books are what the log makes of them.
    pub fn books(&self, books: &Books) -> Verdict {
        let upto = usize::try_from(books.upto).unwrap();
        let state = self.states.get(upto);
        hold(state == Some(&books.balances), || format!("the books are {books:?}, and should be {state:?}"))
    }

    /// A client is told that its operation is done, as this record.
    pub fn acknowledge(&mut self, op: u64, key: u64, begun_after: u64, lsn: u64) -> Verdict {
        let record = self.log.get(usize::try_from(lsn - 1).unwrap());
        let is_it = record.is_some_and(|record| match record.what {
            What::Transfer { op: logged, key: other, .. } => {
                if key == 0 {
                    logged == op
                } else {
                    key == other
                }
            }
            _ => false,
        });
        hold(is_it, || format!("operation {op} is acknowledged as {lsn}, where the log has {record:?}"))?;
        hold(lsn > begun_after, || format!("operation {op} is {lsn}, and {begun_after} was complete when it began"))?;
        self.completed = self.completed.max(lsn);
        self.acknowledged += 1;
        Ok(())
    }

    /// A client is shown a balance.
    pub fn show(&mut self, account: usize, balance: i64, begun_after: u64, as_of: u64) -> Verdict {
        hold(as_of >= begun_after, || {
            format!("a read is as of {as_of}, and {begun_after} was complete when it began")
        })?;
        let state = self.states.get(usize::try_from(as_of).unwrap());
        let good = state.is_some_and(|state| state[account] == balance);
        hold(good, || format!("account {account} is shown with {balance} as of {as_of}, where it is {state:?}"))?;
        self.completed = self.completed.max(as_of);
        self.read += 1;
        Ok(())
    }
}
