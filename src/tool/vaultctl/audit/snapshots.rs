//! Comparing snapshots with the reference: each account at the record that the snapshot has it of.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::reference::{Account, ReferenceLedger};
use super::violation::Inconsistency;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::snapshot::{self, Snapshot};
use crate::store::journal::{Directory, DiskError};

/// The snapshots of a data directory.
pub(super) struct Snapshots {
    /// Oldest first.
    good: VecDeque<Snapshot>,
    /// Accounts that are newer than the record their snapshot is named after, by the record that they are of.
    pending: BTreeMap<Lsn, Vec<(PathBuf, AccountId, Cents)>>,
    /// How many were begun to be compared, and all accounts up to the snapshots' own records agreed.
    pub(super) compared: u64,
}

impl Snapshots {
    /// Reads them through. The reason, where one is damaged.
    pub(super) fn open(directory: &Directory) -> Result<Result<Self, String>, DiskError> {
        let mut good = VecDeque::new();
        for lsn in snapshot::list(directory)? {
            match Snapshot::open(directory, lsn)? {
                Ok(snapshot) => good.push_back(snapshot),
                Err(why) => return Ok(Err(format!("the snapshot of record {lsn} is damaged: {why}"))),
            }
        }
        Ok(Ok(Snapshots { good, pending: BTreeMap::new(), compared: 0 }))
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

    /// Compares what is of record `lsn`, which `reference` has just taken in.
    pub(super) fn compare(
        &mut self,
        lsn: Lsn,
        reference: &ReferenceLedger,
    ) -> Result<Result<(), Inconsistency>, DiskError> {
        // Before a snapshot's own record is reached, none of its accounts is looked at.
        if let Some(due) = self.pending.first_entry().filter(|due| *due.key() <= lsn) {
            let of = *due.key();
            for (path, account, says) in due.remove() {
                if let Err(what) = agree(&path, account, says, of, reference) {
                    return Ok(Err(what));
                }
            }
        }
        while let Some(snapshot) = self.good.pop_front_if(|snapshot| snapshot.header.lsn <= lsn) {
            if let Err(what) = self.compare_at_cut(&snapshot, reference)? {
                return Ok(Err(what));
            }
        }
        Ok(Ok(()))
    }

    fn compare_at_cut(
        &mut self,
        snapshot: &Snapshot,
        reference: &ReferenceLedger,
    ) -> Result<Result<(), Inconsistency>, DiskError> {
        let path = || snapshot.path().to_owned();
        let (says_in, says_out) = (snapshot.header.deposited, snapshot.header.withdrawn);
        let (came, went) = (reference.flows.deposited, reference.flows.withdrawn);
        if (says_in, says_out) != (came, went) {
            return Ok(Err(Inconsistency::Flows { path: path(), says_in, says_out, came, went }));
        }
        let mut wrong = None;
        let cut = snapshot.header.lsn;
        // Damage since it was opened means that another process writes to it, which the next reader will see as well.
        let _read = snapshot.accounts(|account, says, of| {
            if of > cut {
                self.pending.entry(of).or_default().push((path(), account, says));
            } else if wrong.is_none() {
                wrong = agree(snapshot.path(), account, says, of, reference).err();
            }
        })?;
        self.compared += 1;
        Ok(wrong.map_or(Ok(()), Err))
    }

    /// Accounts that are newer than all that was audited, and snapshots that are.
    pub(super) fn left(&self) -> (u64, u64) {
        (self.pending.values().map(|accounts| accounts.len() as u64).sum(), self.good.len() as u64)
    }
}

fn agree(
    path: &std::path::Path,
    account: AccountId,
    says: Cents,
    of: Lsn,
    reference: &ReferenceLedger,
) -> Result<(), Inconsistency> {
    let Account { balance: held, last: was } = reference.account(account);
    if (says, of) == (held, was) {
        return Ok(());
    }
    Err(Inconsistency::Snapshot { path: path.to_owned(), account, says, of, held, was })
}
