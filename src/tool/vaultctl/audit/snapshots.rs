//! Comparing snapshots with the reference: each account at the record that the snapshot has it of.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use super::ended::Ended;
use super::key_value::{ReferenceStore, told};
use super::reference::{Account, ReferenceLedger};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::Directory;
use crate::store::journal::snapshot::{self, Snapshot};

/// The snapshots of a data directory.
pub(super) struct Snapshots {
    /// Oldest first.
    good: VecDeque<Snapshot>,
    /// Accounts that are newer than the record their snapshot is named after, by the record that they are of.
    pending: BTreeMap<Lsn, Vec<(PathBuf, AccountId, Cents)>>,
    /// Keys that snapshots lack, and the record up to which each key must have been changed, at which the walk ended.
    lacking: Vec<(PathBuf, Lsn, HashSet<Vec<u8>>)>,
    /// How many were begun to be compared, and all accounts up to the snapshots' own records agreed.
    pub(super) compared: u64,
}

impl Snapshots {
    /// Reads them through.
    pub(super) fn open(directory: &Directory) -> Result<Self, Ended> {
        let mut good = VecDeque::new();
        for lsn in snapshot::list(directory)? {
            let damaged = |why| Ended::wrong(format!("the snapshot of record {lsn} is damaged: {why}"));
            good.push_back(Snapshot::open(directory, lsn)?.map_err(damaged)?);
        }
        Ok(Snapshots { good, pending: BTreeMap::new(), lacking: Vec::new(), compared: 0 })
    }

    /// The newest record that any of them holds.
    pub(super) fn newest(&self) -> Lsn {
        self.good.iter().map(|snapshot| snapshot.newest).max().unwrap_or_default()
    }

    /// Takes out the oldest whose own record is `from` or newer, and those that are older still, of which nothing is known.
    pub(super) fn take_base(&mut self, from: Lsn) -> Option<Snapshot> {
        while let Some(snapshot) = self.good.pop_front() {
            if snapshot.header.lsn >= from {
                return Some(snapshot);
            }
        }
        None
    }

    /// A key was written or deleted.
    pub(super) fn note_change(&mut self, key: &[u8]) {
        self.lacking.iter_mut().for_each(|(.., keys)| _ = keys.remove(key));
    }

    /// Compares what is of record `lsn`, which `reference` and `store` have just taken in.
    pub(super) fn compare(
        &mut self,
        lsn: Lsn,
        reference: &ReferenceLedger,
        store: &ReferenceStore,
    ) -> Result<(), Ended> {
        // Before a snapshot's own record is reached, none of its accounts is looked at.
        if let Some(due) = self.pending.first_entry().filter(|due| *due.key() <= lsn) {
            let of = *due.key();
            for (path, account, says) in due.remove() {
                agree(&path, account, says, of, reference)?;
            }
        }
        while let Some(snapshot) = self.good.pop_front_if(|snapshot| snapshot.header.lsn <= lsn) {
            self.compare_at_cut(&snapshot, reference)?;
            let lacking = store.compare(&snapshot)?;
            self.lacking.push((snapshot.path().to_owned(), snapshot.newest, lacking));
        }
        // Behind the record at which the walk ended nothing can lack in it.
        for (path, _, keys) in self.lacking.extract_if(.., |(_, newest, _)| *newest <= lsn) {
            if let Some(key) = keys.iter().next() {
                let lacks = format!("{} lacks key {}", path.display(), told(key));
                return Err(Ended::wrong(format!("{lacks}, which was there and was not changed while it was made")));
            }
        }
        Ok(())
    }

    fn compare_at_cut(&mut self, snapshot: &Snapshot, reference: &ReferenceLedger) -> Result<(), Ended> {
        let (says_in, says_out) = (snapshot.header.deposited, snapshot.header.withdrawn);
        let (came, went) = (reference.flows.deposited, reference.flows.withdrawn);
        if (says_in, says_out) != (came, went) {
            let says = format!("{} says that {says_in} had come in and {says_out} gone out", snapshot.path().display());
            return Err(Ended::wrong(format!("{says}; it was {came} and {went}")));
        }
        let mut agreed = Ok(());
        let cut = snapshot.header.lsn;
        // Damage since it was opened means that another process writes to it, which the next reader will see as well.
        let _read = snapshot.accounts(|account, says, of| {
            if of > cut {
                self.pending.entry(of).or_default().push((snapshot.path().to_owned(), account, says));
            } else if agreed.is_ok() {
                agreed = agree(snapshot.path(), account, says, of, reference);
            }
        })?;
        self.compared += 1;
        agreed
    }

    /// Accounts that are newer than all that was audited.
    pub(super) fn left(&self) -> u64 {
        self.pending.values().map(|accounts| accounts.len() as u64).sum()
    }
}

fn agree(path: &Path, account: AccountId, says: Cents, of: Lsn, reference: &ReferenceLedger) -> Result<(), Ended> {
    let Account { balance: held, last: was } = reference.account(account);
    if (says, of) == (held, was) {
        return Ok(());
    }
    let says = format!("{} says that account {account} held {says} after record {of}", path.display());
    Err(Ended::wrong(format!("{says}; by the journal it held {held} after record {was}")))
}
