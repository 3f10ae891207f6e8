//! Pages of statements, out of the journal's files: a walk along the links from each record to the one before it.

use crate::base::limits::MAX_SEARCHED_RECORDS;
use crate::base::vocab::{AccountId, Lsn};
use crate::service::bank::statement::entry_of;
use crate::service::bank::wire::{Entry, Next, Statement};
use crate::store::journal::{Directory, ReadError, Reader, Record};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The account.
    pub account: AccountId,
    /// The account's last record, which is committed; 0 for none.
    pub head: Lsn,
    /// Only what is older; 0 for no such limit.
    pub before: Lsn,
    /// At most so many entries; at least one.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With this record of the account; 0 where there is none that is older.
    At(Lsn),
    /// Not found yet; nothing from here on is the account's and old enough.
    Below(Lsn),
    /// In records that are no longer kept.
    Trimmed,
}

impl PageRequest {
    /// Reads the page.
    ///
    /// The files are opened anew for each: a reader that is kept would hold on to segments that are removed meanwhile.
    ///
    /// # Errors
    /// The journal is damaged, or cannot be read.
    pub fn read(&self, directory: &Directory) -> Result<Statement, ReadError> {
        let mut reader = Reader::open(directory);
        let empty = |next| Ok(Statement { entries: Vec::new(), next });
        match self.start(&mut reader)? {
            Start::At(lsn) => self.collect(&mut reader, lsn),
            Start::Below(lsn) => empty(Next::Before(lsn)),
            Start::Trimmed => empty(Next::Trimmed),
        }
    }

    /// What a record of any kind did to the account, as [`entry_of`] has it.
    fn entry_in(&self, record: &Record) -> Option<(Entry, Lsn)> {
        entry_of(record.operation()?, self.account)
    }

    fn collect(&self, reader: &mut Reader, start: Lsn) -> Result<Statement, ReadError> {
        let mut walk = reader.walk(self.account, start);
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(record) = walk.next().transpose()? {
            if entries.len() == self.limit {
                // There is more. Asked for before the last entry, it is found at once by that one's link.
                let last = entries.last().map_or(record.lsn, |entry| entry.lsn);
                return Ok(Statement { entries, next: Next::Before(last) });
            }
            entries.extend(entry_of(&record, self.account).map(|(entry, _)| entry));
        }
        let next = if walk.is_cut_off() { Next::Trimmed } else { Next::Opening };
        Ok(Statement { entries, next })
    }

    fn start(&self, reader: &mut Reader) -> Result<Start, ReadError> {
        if self.before == Lsn(0) || self.before > self.head {
            return Ok(Start::At(self.head));
        }
        // Pages are asked for one after the other, each before the last entry of the one before.
        if let Some((_, previous)) = reader.get(self.before)?.and_then(|record| self.entry_in(&record)) {
            return Ok(Start::At(previous));
        }
        // An account that little happens to is found from its last record on, a busy one from `before` on.
        match self.start_from_head(reader)? {
            Some(start) => Ok(start),
            None => self.start_from_before(reader),
        }
    }

    fn start_from_head(&self, reader: &mut Reader) -> Result<Option<Start>, ReadError> {
        let mut walk = reader.walk(self.account, self.head);
        for _ in 0..MAX_SEARCHED_RECORDS {
            if walk.next_lsn() < self.before {
                return Ok(Some(Start::At(walk.next_lsn())));
            }
            if walk.next().transpose()?.is_none() {
                return Ok(Some(Start::Trimmed));
            }
        }
        Ok(None)
    }

    fn start_from_before(&self, reader: &mut Reader) -> Result<Start, ReadError> {
        let lowest = self.before.0.saturating_sub(MAX_SEARCHED_RECORDS).max(1);
        for lsn in (lowest..self.before.0).rev().map(Lsn) {
            match reader.get(lsn)? {
                Some(record) if self.entry_in(&record).is_some() => return Ok(Start::At(lsn)),
                Some(_) => {}
                None => return Ok(Start::Trimmed),
            }
        }
        // Before record 1 there is only the opening.
        Ok(if lowest > 1 { Start::Below(Lsn(lowest)) } else { Start::At(Lsn(0)) })
    }
}

#[cfg(test)]
#[path = "statement_page_tests.rs"]
mod tests;
