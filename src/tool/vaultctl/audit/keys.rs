//! The keys of the last operations, as the server should have known them.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use super::ended::Ended;
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::{Kind, Record};

/// Whose key it is, and the key.
type Owned = (u32, [u8; KEY_BYTES]);
/// What was asked for with it.
type Request = (Kind, AccountId, Option<AccountId>, Cents);

/// The keys of the last `window` operations.
pub(super) struct Keys {
    window: u64,
    known: HashMap<Owned, (Lsn, Request)>,
    /// In order.
    ages: VecDeque<(Lsn, Owned)>,
}

impl Keys {
    pub(super) fn of_last(window: u64) -> Self {
        Keys { window, known: HashMap::new(), ages: VecDeque::new() }
    }

    /// Takes in a record; an error if its key should have been known.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), Ended> {
        let Some(key) = record.key else { return Ok(()) };
        while let Some(&(lsn, owned)) = self.ages.front().filter(|(lsn, _)| record.lsn.0 - lsn.0 >= self.window) {
            self.ages.pop_front();
            debug_assert!(self.known.get(&owned).is_some_and(|&(of, _)| of == lsn));
            self.known.remove(&owned);
        }
        let request = (record.kind, record.accounts.0, record.accounts.1, record.amount);
        match self.known.entry((record.principal, key)) {
            Entry::Occupied(first) => {
                let &(earlier, ref asked) = first.get();
                let same = *asked == request;
                let how = if same { "and so is its request: it was done twice" } else { "with another request" };
                Err(Ended::wrong(format!("its key is that of record {earlier}, of the same user, {how}")))
            }
            Entry::Vacant(place) => {
                place.insert((record.lsn, request));
                self.ages.push_back((record.lsn, (record.principal, key)));
                Ok(())
            }
        }
    }
}
