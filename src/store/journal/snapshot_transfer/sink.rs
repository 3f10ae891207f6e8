//! Takes the books of another member in.

use std::mem;
use std::time::Duration;

use super::error::{Flaw, SinkError};
use super::install::{discard_incoming, incoming};
use super::layout::{END_BYTES, Header};
use crate::base::vocab::{Committed, Lsn, OnDisk};
use crate::store::journal::assembly::Assembly;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::Step;
use crate::store::journal::record::{self, Place, RECORD_BYTES, Record, RecordBytes};
use crate::store::journal::recover::{DiscardRecords, recover};
use crate::store::journal::segment::{bytes_of_segment, first_of};
use crate::store::journal::shutdown_mark;
use crate::store::journal::snapshot::{
    self, ACCOUNT_BYTES, LENGTH_BYTES, MAX_BLOCK_BYTES, SnapshotWriter, decode_account, for_each_pair,
};
use crate::store::journal::writer::{Writer, WriterError};

/// Records that are written at once at most: a mebibyte.
const RECORDS_AT_ONCE: usize = 8192;

/// Writes the books of another member into `DATA/incoming`, and checks them as they come. It needs memory for the bytes of one call, and as
/// much again, and for a block of keys and values.
///
/// A call may wait for the disk: at the beginning of a segment until that is prepared. So it is `Send`, for those who cannot wait.
/// Dropped unfinished it leaves files, which are removed by the next one, or by a start.
#[derive(Debug)]
pub struct SnapshotSink {
    /// Where the books are, and where they are written to.
    directory: Directory,
    incoming: Directory,
    /// What was announced.
    bytes: u64,
    last: Lsn,
    /// Bytes that came, and those of them that were taken in.
    came: u64,
    at: u64,
    crc: crc32fast::Hasher,
    /// What came and is not whole yet.
    pending: Vec<u8>,
    /// Which records are of one write to the key-value store.
    writes: Assembly,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Header,
    /// The accounts, and the first record behind them.
    Accounts(Box<SnapshotWriter>, Box<Writer>, Accounts),
    /// The pairs, which take so many bytes from here on.
    Pairs(Box<SnapshotWriter>, Box<Writer>, u64),
    Records(Box<Writer>, Option<Place>),
    End(Box<Writer>),
    Whole(Box<Writer>),
    Failed,
}

/// How far the accounts are.
#[derive(Clone, Copy, Debug)]
struct Accounts {
    next: u32,
    count: u32,
    /// Bytes of the pairs behind them, if there are to be any.
    pairs: Option<u64>,
}

impl SnapshotSink {
    /// Begins `DATA/incoming` anew, for a stream of `bytes` bytes up to record `last`. What an earlier one left is removed.
    ///
    /// # Errors
    /// [`SinkError::NoRoom`], where the disk has too little; [`SinkError::Elsewhere`]; those of the file system.
    pub fn create(directory: &Directory, bytes: u64, last: Lsn) -> Result<Self, SinkError> {
        discard_incoming(directory)?;
        for path in [directory.journal(), directory.snapshots()] {
            if !directory.disk().is_replaceable(&path).step("look at", &path)? {
                return Err(SinkError::Elsewhere { path });
            }
        }
        let path = directory.path();
        let free = directory.disk().free_bytes(path).step("ask for the free space of", path)?;
        let needed = room_for(directory, bytes);
        if free < needed {
            return Err(SinkError::NoRoom { path: path.to_owned(), needed, free });
        }
        let incoming = incoming(directory);
        for folder in [incoming.path().to_owned(), incoming.journal(), incoming.snapshots()] {
            directory.disk().create_dir(&folder).step("make the directory", &folder)?;
        }
        Ok(SnapshotSink {
            directory: directory.clone(),
            incoming,
            bytes,
            last,
            came: 0,
            at: 0,
            crc: crc32fast::Hasher::new(),
            pending: Vec::new(),
            writes: Assembly::default(),
            stage: Stage::Header,
        })
    }

    /// Takes the next bytes in, however they are cut.
    ///
    /// # Errors
    /// [`SinkError`]; it is final.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if matches!(self.stage, Stage::Failed) {
            return Err(SinkError::Over);
        }
        let taken = self.take(bytes);
        if taken.is_err() {
            self.stage = Stage::Failed;
        }
        taken
    }

    /// All came: makes it durable, reads it back as a start reads it, and marks it as whole. Takes about as long as a start.
    ///
    /// # Errors
    /// [`SinkError`]; then it is not whole.
    pub fn finish(mut self) -> Result<(), SinkError> {
        let Stage::Whole(mut writer) = mem::replace(&mut self.stage, Stage::Failed) else {
            return Err(self.damaged(Flaw::Short(self.bytes.saturating_sub(self.at))));
        };
        writer.sync()?;
        drop(writer);
        let path = self.incoming.path();
        let unreadable = |why: String| SinkError::Unreadable { path: path.to_owned(), why };
        let recovered = recover(&self.incoming, Lsn(0), &mut DiscardRecords, |_| ())
            .map_err(|error| SinkError::unreadable(path.to_owned(), error))?;
        if let Some(damaged) = recovered.damaged_snapshots.first() {
            return Err(unreadable(damaged.to_string()));
        }
        if recovered.end != self.last || recovered.torn.is_some() {
            return Err(unreadable(format!("it ends with record {}, not with {}", recovered.end, self.last)));
        }
        self.incoming.sync(path)?;
        self.directory.sync(self.directory.path())?;
        Ok(shutdown_mark::write(&self.incoming, OnDisk(self.last))?)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let came = self.came.saturating_add(bytes.len() as u64);
        if came > self.bytes {
            return Err(self.damaged(Flaw::Long(self.bytes)));
        }
        self.came = came;
        let mut pending = mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = &pending[..];
        loop {
            let used = self.step(rest)?;
            if used == 0 {
                break;
            }
            (self.at, rest) = (self.at + used as u64, &rest[used..]);
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Takes in what is whole at the beginning of `bytes`, or goes on to what comes next; gives how many bytes it took, 0 where more must come.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, SinkError> {
        match mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Header => self.take_header(bytes),
            Stage::Accounts(snapshot, writer, accounts) => self.take_accounts(bytes, snapshot, writer, accounts),
            Stage::Pairs(snapshot, writer, left) => self.take_pairs(bytes, snapshot, writer, left),
            Stage::Records(writer, before) => self.take_records(bytes, writer, before),
            Stage::End(writer) => {
                let Some(crc) = bytes.first_chunk::<END_BYTES>() else {
                    self.stage = Stage::End(writer);
                    return Ok(0);
                };
                if u32::from_le_bytes(*crc) != self.crc.clone().finalize() {
                    return Err(self.damaged(Flaw::Crc));
                }
                self.stage = Stage::Whole(writer);
                Ok(END_BYTES)
            }
            Stage::Whole(writer) => {
                self.stage = Stage::Whole(writer);
                Ok(0)
            }
            // Said before.
            Stage::Failed => Err(SinkError::Over),
        }
    }

    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, SinkError> {
        let Some(bytes) = bytes.get(..Header::length_of(bytes)) else {
            self.stage = Stage::Header;
            return Ok(0);
        };
        let header =
            Header::decode(bytes, &self.directory, self.bytes, self.last).map_err(|flaw| self.damaged(flaw))?;
        self.crc.update(bytes);
        let Header { accounts, cut: lsn, deposited, withdrawn, first, pairs, .. } = header;
        if first == Lsn(1) {
            self.writes = Assembly::from_the_first_record();
        }
        // From here on segments are prepared, while accounts come.
        let writer = Box::new(Writer::begin(&self.incoming, first)?);
        self.stage = if accounts == 0 {
            Stage::Records(writer, None)
        } else {
            let header = snapshot::Header { lsn, accounts, deposited, withdrawn };
            let snapshot = match pairs {
                None => SnapshotWriter::begin(&self.incoming, header)?,
                Some(_) => SnapshotWriter::begin_with_pairs(&self.incoming, header)?,
            };
            Stage::Accounts(Box::new(snapshot), writer, Accounts { next: 0, count: accounts, pairs })
        };
        Ok(bytes.len())
    }

    fn take_accounts(
        &mut self,
        bytes: &[u8],
        mut snapshot: Box<SnapshotWriter>,
        writer: Box<Writer>,
        mut accounts: Accounts,
    ) -> Result<usize, SinkError> {
        let mut used = 0;
        for account in bytes.chunks_exact(ACCOUNT_BYTES).take((accounts.count - accounts.next) as usize) {
            let held = decode_account(account).filter(|&(_, lsn)| lsn <= self.last);
            let Some((balance, lsn)) = held else {
                self.at += used as u64;
                return Err(self.damaged(Flaw::Account(accounts.next)));
            };
            snapshot.push(balance, lsn)?;
            accounts.next += 1;
            used += ACCOUNT_BYTES;
        }
        self.crc.update(&bytes[..used]);
        self.stage = match accounts.pairs {
            _ if accounts.next < accounts.count => Stage::Accounts(snapshot, writer, accounts),
            Some(left) => Stage::Pairs(snapshot, writer, left),
            None => {
                // The sender has told that all up to there is committed.
                snapshot.finish(Committed(self.last))?;
                Stage::Records(writer, None)
            }
        };
        Ok(used)
    }

    /// Takes in a block of pairs, or that there are no more; `left` bytes of them are to come.
    fn take_pairs(
        &mut self,
        bytes: &[u8],
        mut snapshot: Box<SnapshotWriter>,
        writer: Box<Writer>,
        left: u64,
    ) -> Result<usize, SinkError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            self.stage = Stage::Pairs(snapshot, writer, left);
            return Ok(0);
        };
        let length = u32::from_le_bytes(*length);
        let length = usize::try_from(length).ok().filter(|&length| length <= MAX_BLOCK_BYTES);
        let used = LENGTH_BYTES + length.ok_or_else(|| self.damaged(Flaw::Pairs(left)))?;
        let left_behind = left.checked_sub(used as u64).filter(|&behind| (behind == 0) == (used == LENGTH_BYTES));
        let left_behind = left_behind.ok_or_else(|| self.damaged(Flaw::Pairs(left)))?;
        let Some(block) = rest.get(..used - LENGTH_BYTES) else {
            self.stage = Stage::Pairs(snapshot, writer, left);
            return Ok(0);
        };
        let mut pushed = Ok(());
        let count = for_each_pair(block, snapshot.lsn(), |pair| {
            if pushed.is_ok() {
                pushed = snapshot.push_pair(pair.key, pair.version, pair.value);
            }
        });
        pushed?;
        count.ok_or_else(|| self.damaged(Flaw::Pair))?;
        self.crc.update(&bytes[..used]);
        self.stage = if used == LENGTH_BYTES {
            // What it lacks since it was changed, is in the records up to the last, which the sender has told are committed.
            snapshot.covers(self.last);
            snapshot.finish(Committed(self.last))?;
            Stage::Records(writer, None)
        } else {
            Stage::Pairs(snapshot, writer, left_behind)
        };
        Ok(used)
    }

    fn take_records(
        &mut self,
        bytes: &[u8],
        mut writer: Box<Writer>,
        mut before: Option<Place>,
    ) -> Result<usize, SinkError> {
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let left = usize::try_from(self.last.0 - writer.last().0).unwrap_or(usize::MAX);
        let mut batch = records[..records.len().min(left).min(RECORDS_AT_ONCE)].to_vec();
        for (expected, bytes) in (writer.last().0 + 1..).map(Lsn).zip(&batch) {
            before = Some(self.check(bytes, expected, before).map_err(|flaw| {
                self.at += (expected.0 - writer.last().0 - 1) * RECORD_BYTES as u64;
                self.damaged(flaw)
            })?);
        }
        let used = batch.len() * RECORD_BYTES;
        self.crc.update(&bytes[..used]);
        self.append(&mut writer, &mut batch)?;
        self.stage = if writer.last() == self.last { Stage::End(writer) } else { Stage::Records(writer, before) };
        Ok(used)
    }

    /// Checks the record that should be record `expected`, behind one of place `before`; gives its place.
    fn check(&mut self, bytes: &RecordBytes, expected: Lsn, before: Option<Place>) -> Result<Place, Flaw> {
        let found = record::lsn_of(bytes);
        if found != expected {
            return Err(Flaw::Order { expected, found });
        }
        let decoded = Record::decode(bytes).map_err(|why| Flaw::Record { lsn: found, why })?;
        if record::synced_of(bytes) != Lsn(0) || record::stored_crc(bytes) != 0 {
            return Err(Flaw::Sealed(found));
        }
        let place = decoded.place();
        let continues = before.is_none_or(|before| {
            let same = (place.term, place.index) == (before.term, before.index);
            match before {
                // Of before there was a cluster.
                Place { index: 0, .. } => true,
                Place { ends_entry: true, .. } => place.index > before.index && place.term >= before.term,
                Place { ends_entry: false, .. } => same,
            }
        });
        self.writes.take(&decoded).map_err(|why| Flaw::Write { lsn: found, why })?;
        let ends = found < self.last || (self.writes.open().is_none() && (place.index == 0 || place.ends_entry));
        if continues && ends { Ok(place) } else { Err(Flaw::Entry(found)) }
    }

    /// Writes records, and makes each segment durable that is left.
    fn append(&self, writer: &mut Writer, batch: &mut [RecordBytes]) -> Result<(), SinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        let lsn = Lsn(writer.last().0 + batch.len() as u64);
        if !writer.wait_until_prepared(lsn, Duration::MAX)
            && let Some(failure) = writer.prepare_failure()
        {
            return Err(if failure.is_no_space() {
                SinkError::Full(failure)
            } else {
                WriterError::Failed(failure).into()
            });
        }
        let segment_of = |lsn: Lsn| first_of(Lsn(lsn.0.max(1)), self.directory.records_per_segment());
        let before = writer.last();
        writer.append(batch, writer.on_disk().0)?;
        if segment_of(before) != segment_of(lsn) {
            writer.sync()?;
        }
        Ok(())
    }

    fn damaged(&self, flaw: Flaw) -> SinkError {
        SinkError::Damaged { path: self.incoming.path().to_owned(), at: self.at, flaw }
    }
}

/// The room that a stream of `bytes` bytes needs at most once it is written: checksums of blocks, the segment that is not full, and the one
/// that is prepared ahead.
fn room_for(directory: &Directory, bytes: u64) -> u64 {
    let segments = bytes_of_segment(directory.records_per_segment()).saturating_mul(2);
    let headers = bytes / directory.records_per_segment().saturating_mul(RECORD_BYTES as u64) * 4096;
    bytes.saturating_add(bytes / 1024).saturating_add(headers).saturating_add(segments).saturating_add(1 << 16)
}
