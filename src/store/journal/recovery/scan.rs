//! Reading the journal in order, up to the first slot that is no good record.

use std::ops::ControlFlow;

use super::decision::{End, Slot, decide};
use super::error::{Damage, RecoveryError, TornTail, Witness};
use super::slots::{Contents, list_segments, read_slots};
use super::tail::{BadSlot, read_tail};
use crate::base::vocab::{Committed, Lsn};
use crate::store::journal::assembly::{Assembly, AssemblyError};
use crate::store::journal::directory::Directory;
use crate::store::journal::record::{self, Record};
use crate::store::journal::segment::{Segment, State};

/// A journal that was read to its end.
#[derive(Debug)]
pub struct Scanned {
    /// The last good record that ends a write and, where there are raft entries, an entry.
    pub end: Lsn,
    pub torn: Option<TornTail>,
}

/// What is known to be durable from other sources than the journal itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Up to where a snapshot shows that it had been durable.
    pub snapshotted: Lsn,
    /// Up to where the mark of an orderly stop says that it had been durable.
    pub closed: Lsn,
    /// Up to where the running server says that it is committed. What is behind changes, and is not read.
    pub committed: Option<Committed>,
}

/// Reads from record `start`, the first of a segment, to the end of the journal, and hands each good record to `each`; those of a raft
/// entry, and of a write to the key-value store, not before its last one is read. Of what is not whole none is handed on, and the journal
/// ends before it. The pieces of a write that began before `start` are handed on as they come.
pub fn scan(
    directory: &Directory,
    start: Lsn,
    known: Known,
    mut each: impl FnMut(&Record),
) -> Result<Scanned, RecoveryError> {
    let last = known.committed.map_or(Lsn(u64::MAX), |committed| committed.0);
    let corrupt = |lsn, damage| RecoveryError::corrupt(directory, lsn, damage);
    let segments = list_segments(directory, start, last)?;
    let mut chain = match segments.first() {
        _ if start == Lsn(1) => directory.first_chain(),
        Some(&(_, State::Active { previous_crc })) => previous_crc,
        Some(_) => return Err(corrupt(start, Damage::NotBegun)),
        None => return Err(corrupt(start, Damage::Missing)),
    };
    let mut end = Lsn(start.0 - 1);
    let mut open = Open::from(start);
    for &(first, state) in &segments {
        let Some(segment) = Segment::open(directory, first)? else {
            return Err(corrupt(first, Damage::Missing));
        };
        let begun = state == State::Active { previous_crc: chain };
        let read = read_slots(directory, &segment, first, |lsn, contents| {
            if lsn > last {
                return ControlFlow::Break(None);
            }
            match judge(directory, lsn, contents.filter(|_| begun), chain) {
                Ok((record, crc)) => match open.take(record, &mut each) {
                    Ok(()) => {
                        (end, chain) = (lsn, crc);
                        ControlFlow::Continue(())
                    }
                    Err(wrong) => {
                        let damage = Some(Damage::Write(wrong));
                        ControlFlow::Break(Some(BadSlot::new(lsn, contents, damage, chain)))
                    }
                },
                Err(damage) => ControlFlow::Break(Some(BadSlot::new(lsn, contents, damage, chain))),
            }
        })?;
        match read {
            ControlFlow::Break(Some(bad)) => return conclude(directory, &segments, &bad, end, &open, known),
            ControlFlow::Break(None) => break,
            ControlFlow::Continue(()) => {}
        }
    }
    if end >= last {
        // What is behind was not looked at: `last` is committed, and so is the entry that it is of.
        open.hand_on(&mut each);
        return Ok(Scanned { end: Lsn(open.first().map_or(end.0, |first| first.0 - 1)), torn: None });
    }
    let absent = BadSlot { lsn: Lsn(end.0 + 1), slot: Slot::Absent, damage: None, contents: None, chain };
    conclude(directory, &segments, &absent, end, &open, known)
}

/// The records of a raft entry, or of a write to the key-value store, whose last one is not read yet.
#[derive(Debug)]
struct Open {
    records: Vec<Record>,
    /// Of which records are whole writes; an entry has all of each.
    writes: Assembly,
}

impl Open {
    /// Of nothing, before record `start`.
    fn from(start: Lsn) -> Self {
        let writes = if start == Lsn(1) { Assembly::from_the_first_record() } else { Assembly::default() };
        Open { records: Vec::new(), writes }
    }

    /// Takes in the next record, and hands it on with those before it if nothing lacks others then.
    fn take(&mut self, record: Record, each: &mut impl FnMut(&Record)) -> Result<(), AssemblyError> {
        let _write = self.writes.take(&record)?;
        let is_whole = self.writes.open().is_none() && (record.index == 0 || record.ends_entry);
        if is_whole && self.records.is_empty() {
            each(&record);
            return Ok(());
        }
        self.records.push(record);
        if is_whole {
            self.hand_on(each);
        }
        Ok(())
    }

    /// Hands on what an entry has so far, but for a write that lacks records.
    fn hand_on(&mut self, each: &mut impl FnMut(&Record)) {
        let end = self
            .writes
            .open()
            .map_or(self.records.len(), |head| self.records.iter().take_while(|record| record.lsn() < head).count());
        self.records.drain(..end).for_each(|record| each(&record));
    }

    /// The first record of what is not whole.
    fn first(&self) -> Option<Lsn> {
        self.records.first().map(Record::lsn)
    }
}

/// The record in a slot and its checksum; or that there is none, and if its checksum is right, why.
fn judge(directory: &Directory, lsn: Lsn, contents: Contents<'_>, chain: u32) -> Result<(Record, u32), Option<Damage>> {
    let bytes = contents.ok_or(None)?;
    if record::lsn_of(bytes) != lsn || !record::check(bytes, chain) {
        return Err(None);
    }
    let record = Record::decode(bytes).map_err(|wrong| Some(Damage::Senseless(wrong)))?;
    let accounts = directory.openings().accounts();
    if let Some(done) = record.operation().filter(|operation| operation.is_done()) {
        let (first, second) = done.accounts;
        if let Some(unknown) = [Some(first), second].into_iter().flatten().find(|account| account.0 >= accounts) {
            return Err(Some(Damage::Account(unknown.0)));
        }
    }
    Ok((record, record::stored_crc(bytes)))
}

/// What the first slot that is no good record means for the journal, which is good up to record `end`.
fn conclude(
    directory: &Directory,
    segments: &[(Lsn, State)],
    bad: &BadSlot,
    end: Lsn,
    open: &Open,
    known: Known,
) -> Result<Scanned, RecoveryError> {
    // Where the journal would end: something that shows that any of an entry or a write was committed shows that all of it had been there.
    let cut = open.first().unwrap_or(bad.lsn);
    let tail = read_tail(directory, segments, bad)?;
    let by_server =
        known.committed.filter(|committed| committed.includes(cut)).map(|Committed(lsn)| Witness::Server(lsn));
    let by_snapshot = (known.snapshotted >= cut).then_some(Witness::Snapshot(known.snapshotted));
    let by_stop = (known.closed >= cut).then_some(Witness::Stop(known.closed));
    let witness = by_server.or(tail.witness.map(Witness::Record)).or(by_snapshot).or(by_stop);
    let torn = match decide(bad.slot, witness.is_some(), tail.leftovers > 0, open.first().is_some()) {
        End::Clean => None,
        End::Torn => {
            let slots = tail.slots + u64::from(bad.slot == Slot::Damaged) + open.records.len() as u64;
            Some(TornTail { from: cut, slots, missing_bytes: tail.missing_bytes })
        }
        End::Corrupt => {
            let damage = match (&bad.damage, witness) {
                (None, Some(witness)) => Damage::Slot { slot: bad.slot, witness },
                (Some(damage), _) => damage.clone(),
                (None, None) => unreachable!("the table wants a witness, or a senseless record"),
            };
            return Err(RecoveryError::corrupt(directory, bad.lsn, damage));
        }
    };
    let end = if torn.is_some() { Lsn(cut.0 - 1) } else { end };
    Ok(Scanned { end, torn })
}
