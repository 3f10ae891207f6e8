//! Reading the journal in order, up to the first slot that is no good record.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::behind::{Behind, look_behind};
use super::{Damage, RecoveryError, Slot, TornTail, Verdict, Witness, decide};
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::{DiskError, Step};
use crate::store::journal::record::{self, RECORD_BYTES, Record, RecordBytes};
use crate::store::journal::segment::{self, CHUNK_BYTES, Segment, State, bytes_of_segment, first_of, offset_of};

/// A journal that was read to its end.
#[derive(Debug)]
pub struct Scanned {
    /// The last good record, and its checksum.
    pub end: Lsn,
    pub chain: u32,
    pub torn: Option<TornTail>,
}

/// A slot's contents: `None` where the file ends before the slot does.
pub type Contents<'a> = Option<&'a RecordBytes>;

/// Calls `each` with every slot of `segment` from record `from` on, until it breaks off.
pub fn read_slots<B>(
    directory: &Directory,
    segment: &Segment,
    from: Lsn,
    mut each: impl FnMut(Lsn, Contents<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, DiskError> {
    let per_segment = directory.records_per_segment();
    let end = bytes_of_segment(per_segment);
    let (mut at, mut lsn) = (offset_of(from, per_segment), from);
    let mut buffer = vec![0; CHUNK_BYTES];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let filled = segment.file.read_at(&mut buffer[..length], at).step("read", &segment.path)?;
        for slot in buffer[..length].chunks_exact(RECORD_BYTES).enumerate() {
            let (place, bytes) = slot;
            let whole = (place + 1) * RECORD_BYTES <= filled;
            if let ControlFlow::Break(done) = each(lsn, bytes.first_chunk().filter(|_| whole)) {
                return Ok(ControlFlow::Break(done));
            }
            lsn = Lsn(lsn.0 + 1);
        }
        at += length as u64;
    }
    Ok(ControlFlow::Continue(()))
}

/// The first slot that is no good record.
pub struct Broken {
    pub lsn: Lsn,
    pub slot: Slot,
    pub damage: Option<Damage>,
    /// What stands there, as far as it does.
    pub contents: Option<RecordBytes>,
    /// The checksum before it.
    pub chain: u32,
}

/// The segments from that of record `start` to that of record `last`, each with its state, all of them there and with good headers.
pub fn layout(directory: &Directory, start: Lsn, last: Lsn) -> Result<Vec<(Lsn, State)>, RecoveryError> {
    let mut found = Vec::new();
    let mut expected = start;
    for first in segment::list(directory)?.into_iter().filter(|&first| first >= start && first <= last) {
        let corrupt = |lsn, damage| Err(corrupt(directory, lsn, damage));
        if first != expected {
            return corrupt(expected, Damage::Missing);
        }
        let Some(segment) = Segment::open(directory, first)? else { return corrupt(first, Damage::Missing) };
        match segment.header(directory)? {
            Ok(state) => found.push((first, state)),
            Err(wrong) => {
                return Err(RecoveryError::Corrupt {
                    path: segment.path,
                    offset: 0,
                    lsn: first,
                    damage: Damage::Header(wrong),
                });
            }
        }
        expected = Lsn(first.0 + directory.records_per_segment());
    }
    Ok(found)
}

pub fn corrupt(directory: &Directory, lsn: Lsn, damage: Damage) -> RecoveryError {
    let per_segment = directory.records_per_segment();
    let path: PathBuf = directory.segment_path(first_of(lsn, per_segment));
    RecoveryError::Corrupt { path, offset: offset_of(lsn, per_segment), lsn, damage }
}

/// What is known of a journal from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Up to where a snapshot shows that it had been durable.
    pub snapshotted: Lsn,
    /// Up to where the mark of an orderly stop says that it had been durable.
    pub closed: Lsn,
    /// Up to where its writer, which is at work, says that it is durable. What is behind that is in motion, and not read.
    pub durable: Option<Lsn>,
}

/// Reads from record `start`, the first of a segment, to the end of the journal, and hands each good record to `each`.
pub fn scan(
    directory: &Directory,
    start: Lsn,
    known: Known,
    mut each: impl FnMut(&Record),
) -> Result<Scanned, RecoveryError> {
    let last = known.durable.unwrap_or(Lsn(u64::MAX));
    let segments = layout(directory, start, last)?;
    let mut chain = match segments.first() {
        _ if start == Lsn(1) => directory.first_chain(),
        Some(&(_, State::Active { previous_crc })) => previous_crc,
        Some(_) => return Err(corrupt(directory, start, Damage::NotBegun)),
        None => return Err(corrupt(directory, start, Damage::Missing)),
    };
    let mut end = Lsn(start.0 - 1);
    for &(first, state) in &segments {
        let Some(segment) = Segment::open(directory, first)? else {
            return Err(corrupt(directory, first, Damage::Missing));
        };
        let begun = state == State::Active { previous_crc: chain };
        let read = read_slots(directory, &segment, first, |lsn, contents| {
            if lsn > last {
                return ControlFlow::Break(None);
            }
            match judge(directory, lsn, contents.filter(|_| begun), chain) {
                Ok((record, crc)) => {
                    each(&record);
                    (end, chain) = (lsn, crc);
                    ControlFlow::Continue(())
                }
                Err(damage) => ControlFlow::Break(Some(broken(lsn, contents, damage, chain))),
            }
        })?;
        match read {
            ControlFlow::Break(Some(broken)) => return conclude(directory, &segments, &broken, end, known),
            ControlFlow::Break(None) => return Ok(Scanned { end, chain, torn: None }),
            ControlFlow::Continue(()) => {}
        }
    }
    let absent = Broken { lsn: Lsn(end.0 + 1), slot: Slot::Absent, damage: None, contents: None, chain };
    conclude(directory, &segments, &absent, end, known)
}

/// The record in a slot and its checksum; or that there is none, and if its checksum is right, why.
fn judge(directory: &Directory, lsn: Lsn, contents: Contents<'_>, chain: u32) -> Result<(Record, u32), Option<Damage>> {
    let bytes = contents.ok_or(None)?;
    if record::lsn_of(bytes) != lsn || !record::check(bytes, chain) {
        return Err(None);
    }
    let record = Record::decode(bytes).map_err(|wrong| Some(Damage::Senseless(wrong)))?;
    let (first, second) = record.accounts;
    let accounts = directory.openings().accounts();
    match [Some(first), second].into_iter().flatten().find(|account| record.is_done() && account.0 >= accounts) {
        Some(unknown) => Err(Some(Damage::Account(unknown.0))),
        None => Ok((record, record::stored_crc(bytes))),
    }
}

fn broken(lsn: Lsn, contents: Contents<'_>, damage: Option<Damage>, chain: u32) -> Broken {
    let slot = match contents {
        _ if damage.is_some() => Slot::Senseless,
        None => Slot::Short,
        Some(bytes) if *bytes == [0; RECORD_BYTES] => Slot::Zero,
        Some(_) => Slot::Damaged,
    };
    Broken { lsn, slot, damage, contents: contents.copied(), chain }
}

/// What the first slot that is no good record means for the journal, which is good up to record `end`.
fn conclude(
    directory: &Directory,
    segments: &[(Lsn, State)],
    broken: &Broken,
    end: Lsn,
    known: Known,
) -> Result<Scanned, RecoveryError> {
    let behind: Behind = look_behind(directory, segments, broken)?;
    let by_server = known.durable.filter(|&durable| durable >= broken.lsn).map(Witness::Server);
    let by_snapshot = (known.snapshotted >= broken.lsn).then_some(Witness::Snapshot(known.snapshotted));
    let by_stop = (known.closed >= broken.lsn).then_some(Witness::Stop(known.closed));
    let witness = by_server.or(behind.witness.map(Witness::Record)).or(by_snapshot).or(by_stop);
    let torn = match decide(broken.slot, witness.is_some(), behind.leftovers > 0) {
        Verdict::CleanEnd => None,
        Verdict::TornTail => {
            let here = u64::from(broken.slot == Slot::Damaged);
            let slots = behind.slots + here;
            Some(TornTail { from: broken.lsn, slots, missing_bytes: behind.missing_bytes })
        }
        Verdict::Corrupt => {
            let damage = match (&broken.damage, witness) {
                (None, Some(witness)) => Damage::Slot { slot: broken.slot, witness },
                (Some(damage), _) => damage.clone(),
                (None, None) => unreachable!("the table wants a witness, or a senseless record"),
            };
            return Err(corrupt(directory, broken.lsn, damage));
        }
    };
    Ok(Scanned { end, chain: broken.chain, torn })
}
