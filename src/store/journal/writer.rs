//! Appends to the journal.
//!
//! A batch is sealed and written, then synced; only then may it be acknowledged. A batch that could not be written for want of
//! space may be tried again, because it was not acknowledged. A failed sync is final: the kernel may have dropped what it could not
//! write and report success the next time. So only reading the file after a restart can tell what is in it.

use std::sync::Arc;
use std::time::Duration;

use super::directory::Directory;
use super::disk::{BLOCK_BYTES, Blocks};
use super::error::{DiskError, Step, not_found};
use super::preparer::Preparer;
use super::record::{self, Record, RecordBytes, RecordError};
use super::recovery::{self, RecoveryError};
use super::segment::{self, Segment, State, bytes_of_segment, first_of, offset_of};
use super::shutdown_mark;
use super::truncation::{self, TruncationError};
use crate::base::vocab::{Committed, Lsn, OnDisk};

/// Why a journal cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// A file could not be used when writing began.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The record to go on behind is not where it should be.
    #[error("record {lsn} is not in the journal at {}, so writing cannot go on behind it; restart, to recover", directory.path().display())]
    NotThere {
        /// The record.
        lsn: Lsn,
        /// Where it should be.
        directory: Directory,
    },
    /// The thread that prepares segments cannot be started.
    #[error("cannot start the thread that prepares segments: {0}")]
    Thread(std::io::Error),
    /// A record that is not the next one; nothing was written.
    #[error("record {found} cannot be written: the next one is {expected}")]
    OutOfOrder {
        /// The LSN that it should have.
        expected: Lsn,
        /// The LSN that it has.
        found: Lsn,
    },
    /// A record that recovery would not accept; nothing was written.
    #[error("record {lsn} cannot be written: {source}")]
    Record {
        /// The record.
        lsn: Lsn,
        /// What is wrong with it.
        source: RecordError,
    },
    /// There is no prepared segment for it yet; nothing was written. [`Writer::prepare_failure`] says whether there will be.
    #[error("no room is prepared for record {lsn}: it ends with record {end}")]
    NotPrepared {
        /// The last record of the batch.
        lsn: Lsn,
        /// The last record that there is room for.
        end: Lsn,
    },
    /// There was no space for the batch, or for part of it; the same batch can be tried again.
    #[error("no space for the batch: {0}")]
    NoSpace(DiskError),
    /// It cannot be truncated; nothing was changed.
    #[error(transparent)]
    Truncation(TruncationError),
    /// It is to be truncated behind a record that was never written; nothing was changed.
    #[error("the journal is to be cut behind record {keep}, and it ends with record {last}")]
    BeyondEnd {
        /// The record that is to stay.
        keep: Lsn,
        /// The last record.
        last: Lsn,
    },
    /// A write or sync failed, now or earlier: it is unknown what is on the disk. Every later call ends like this.
    #[error("the journal can no longer be written: {0}; look after the disk, then restart, to recover")]
    Failed(Arc<DiskError>),
}

/// The end of the journal. There is one per data directory, and it is used by `&mut`.
#[derive(Debug)]
pub struct Writer {
    directory: Directory,
    /// The last record written, and its checksum.
    last: Lsn,
    chain: u32,
    on_disk: OnDisk,
    /// Written to since the last sync; the last one is the one being written.
    unsynced: Vec<Segment>,
    current: Option<Segment>,
    blocks: Blocks,
    partial: PartialBlock,
    preparer: Preparer,
    failed: Option<Arc<DiskError>>,
}

impl Writer {
    /// Goes on behind record `after` (0: from the start) after the death of an earlier writer's process, while the machine has kept
    /// running. `after` is the last record that is known durable. The caller writes again what the dead writer wrote behind it. After
    /// a start of the machine, recovery tells where to go on.
    ///
    /// Waits until there is room for a record, or preparing it has failed.
    pub fn resume(directory: &Directory, after: Lsn) -> Result<Self, WriterError> {
        let chain = if after == Lsn(0) { directory.first_chain() } else { crc_of(directory, after)? };
        segment::remove_unfinished(directory)?;
        let segments = segment::list(directory)?;
        let room_of = |first: Lsn| Lsn(first.0 + directory.records_per_segment() - 1);
        // The segment of `after` exists, and those that follow without a gap are prepared.
        let here = if after == Lsn(0) { Lsn(0) } else { room_of(first_of(after, directory.records_per_segment())) };
        let end = segments.into_iter().fold(here, |end, first| if first.0 == end.0 + 1 { room_of(first) } else { end });
        let writer = Self::behind(directory, after, chain, end)?;
        writer.prepare_ahead();
        // The caller checks whether there is room: a journal without space can still be read.
        let _ = writer.wait_until_prepared(Lsn(after.0 + 1), Duration::MAX);
        Ok(writer)
    }

    /// Begins a journal where there is none yet, with record `first`, the first of a segment. What was before is not there: unless it is the
    /// very first record, the chain of checksums begins with 0, which only the segment's header says.
    ///
    /// # Errors
    /// [`WriterError::Thread`].
    pub fn begin(directory: &Directory, first: Lsn) -> Result<Self, WriterError> {
        debug_assert_eq!(first, first_of(first, directory.records_per_segment()));
        let chain = if first == Lsn(1) { directory.first_chain() } else { 0 };
        let writer = Self::behind(directory, Lsn(first.0 - 1), chain, Lsn(first.0 - 1))?;
        writer.prepare_ahead();
        Ok(writer)
    }

    /// One that goes on behind record `after` of checksum `chain`; segments up to record `end` are prepared.
    fn behind(directory: &Directory, after: Lsn, chain: u32, end: Lsn) -> Result<Self, WriterError> {
        let preparer = Preparer::start(directory.clone(), end).map_err(WriterError::Thread)?;
        Ok(Writer {
            directory: directory.clone(),
            last: after,
            chain,
            on_disk: OnDisk(after),
            unsynced: Vec::new(),
            current: None,
            blocks: Blocks::default(),
            partial: PartialBlock::default(),
            preparer,
            failed: None,
        })
    }

    /// Seals the records of `batch` in place and writes them behind the last one. `synced` is what the caller knows to be
    /// durable, at most [`Writer::on_disk`]. They are not durable before [`Writer::sync`].
    ///
    /// # Errors
    /// [`WriterError::OutOfOrder`], [`WriterError::Record`], [`WriterError::NotPrepared`]: nothing was written.
    /// [`WriterError::NoSpace`]: the same batch can be tried again. [`WriterError::Failed`]: final.
    pub fn append(&mut self, batch: &mut [RecordBytes], synced: Lsn) -> Result<(), WriterError> {
        self.check_usable()?;
        self.check_batch(batch)?;
        debug_assert!(synced <= self.on_disk.0, "recovery relies on it");
        let mut chain = self.chain;
        for bytes in batch.iter_mut() {
            chain = record::seal(bytes, synced, chain);
        }
        self.write(batch).map_err(|failure| {
            if failure.is_no_space() { WriterError::NoSpace(failure) } else { self.fail(failure) }
        })?;
        self.last = Lsn(self.last.0 + batch.len() as u64);
        self.chain = chain;
        self.prepare_ahead();
        Ok(())
    }

    /// Makes all that was written durable; gives the last record of it.
    ///
    /// # Errors
    /// [`WriterError::Failed`], which is final.
    pub fn sync(&mut self) -> Result<OnDisk, WriterError> {
        self.check_usable()?;
        for segment in std::mem::take(&mut self.unsynced) {
            segment.file.sync_data().step("sync", &segment.path).map_err(|failure| self.fail(failure))?;
        }
        self.on_disk = OnDisk(self.last);
        Ok(self.on_disk)
    }

    /// Ends in order: stores durably up to where the journal is durable, so that later damage up to there can be told from a torn
    /// tail.
    ///
    /// # Errors
    /// [`WriterError::Failed`] of an earlier call; [`WriterError::Disk`]: the mark of an earlier stop stays, and is still right.
    pub fn close(self) -> Result<(), WriterError> {
        self.check_usable()?;
        Ok(shutdown_mark::write(&self.directory, self.on_disk)?)
    }

    /// [`Writer::close`] of a member of a cluster, whose last records may not be committed, and be truncated yet: stores how far the journal
    /// is both on disk and committed.
    ///
    /// Where more is committed than is on disk, which a full disk may leave so, nothing is stored: the last record on disk may be inside an
    /// entry, and a start would take the mark for a proof of all of that.
    ///
    /// # Errors
    /// Those of [`Writer::close`].
    pub fn close_committed(self, Committed(committed): Committed) -> Result<(), WriterError> {
        self.check_usable()?;
        if committed > self.on_disk.0 {
            return Ok(());
        }
        Ok(shutdown_mark::write(&self.directory, OnDisk(committed))?)
    }

    /// Cuts everything behind record `keep`, durably, which is not below what is committed; writing goes on behind it. Whoever orders it has
    /// made the intent durable, so that a start [finishes](super::finish_truncation) what is interrupted here.
    ///
    /// # Errors
    /// [`WriterError::BeyondEnd`], [`WriterError::NotThere`], [`WriterError::Truncation`]: nothing was changed. [`WriterError::Failed`]: final.
    pub fn truncate_after(&mut self, keep: Lsn) -> Result<OnDisk, WriterError> {
        self.check_usable()?;
        if keep > self.last {
            return Err(WriterError::BeyondEnd { keep, last: self.last });
        }
        truncation::check(&self.directory, keep).map_err(WriterError::Truncation)?;
        let chain = if keep == Lsn(0) { self.directory.first_chain() } else { crc_of(&self.directory, keep)? };
        // What stays may not be durable yet.
        self.sync()?;
        match recovery::cut_behind(&self.directory, keep) {
            Err(RecoveryError::Disk(failure)) => return Err(self.fail(failure)),
            Err(other) => return Err(WriterError::Truncation(other.into())),
            Ok(()) => {}
        }
        (self.last, self.chain, self.on_disk) = (keep, chain, OnDisk(keep));
        (self.current, self.partial) = (None, PartialBlock::default());
        Ok(self.on_disk)
    }

    /// The last record that was written.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// How far the journal is on the disk.
    #[must_use]
    pub fn on_disk(&self) -> OnDisk {
        self.on_disk
    }

    /// The last record that prepared segments have room for; a batch must end there or before.
    #[must_use]
    pub fn prepared_to(&self) -> Lsn {
        self.preparer.end()
    }

    /// Why the next segment could not be prepared; `None` where it is prepared, or is being prepared. Preparing is not tried again
    /// before [`Writer::retry_preparing`].
    #[must_use]
    pub fn prepare_failure(&self) -> Option<Arc<DiskError>> {
        self.preparer.failure()
    }

    /// Tries again to prepare the next segment; returns at once.
    pub fn retry_preparing(&self) {
        self.preparer.retry();
    }

    /// Has `tell` called, which does not wait, whenever [`Writer::prepared_to`] or [`Writer::prepare_failure`] has changed.
    pub fn tell_when_prepared(&self, tell: impl Fn() + Send + 'static) {
        self.preparer.tell(tell);
    }

    /// Waits until there is room up to record `lsn`, preparing it has failed, or `patience` is over; whether there is room.
    #[must_use]
    pub fn wait_until_prepared(&self, lsn: Lsn, patience: Duration) -> bool {
        self.preparer.want(lsn);
        self.preparer.wait(lsn, patience)
    }

    /// Removes whole segments that end before record `lsn`, but the newest `keep` of them; gives how many. The segment of the
    /// last durable record always stays.
    ///
    /// # Errors
    /// [`WriterError::Disk`]; those removed before are gone.
    pub fn remove_before(&mut self, lsn: Lsn, keep: usize) -> Result<usize, WriterError> {
        let limit = lsn.min(self.on_disk.0).0;
        let mut ended = segment::list(&self.directory)?;
        ended.retain(|first| first.0 + self.directory.records_per_segment() <= limit);
        ended.truncate(ended.len().saturating_sub(keep));
        // One by one from the oldest on, each durable before the next, so that a gap can never come from this.
        for &first in &ended {
            self.directory.remove(&self.directory.segment_path(first))?;
            self.directory.sync(&self.directory.journal())?;
        }
        Ok(ended.len())
    }

    /// Keeps one whole segment ahead.
    fn prepare_ahead(&self) {
        self.preparer.want(Lsn(self.last.0 + self.directory.records_per_segment()));
    }

    fn check_usable(&self) -> Result<(), WriterError> {
        self.failed.as_ref().map_or(Ok(()), |failure| Err(WriterError::Failed(Arc::clone(failure))))
    }

    fn fail(&mut self, failure: DiskError) -> WriterError {
        let failure = Arc::new(failure);
        self.failed = Some(Arc::clone(&failure));
        WriterError::Failed(failure)
    }

    /// Checks that the batch comes next and that there is room for it. What recovery would refuse is never written.
    fn check_batch(&self, batch: &[RecordBytes]) -> Result<(), WriterError> {
        for (expected, bytes) in (self.last.0 + 1..).map(Lsn).zip(batch) {
            let found = record::lsn_of(bytes);
            if found != expected {
                return Err(WriterError::OutOfOrder { expected, found });
            }
            Record::decode(bytes).map_err(|source| WriterError::Record { lsn: found, source })?;
        }
        let (lsn, end) = (Lsn(self.last.0 + batch.len() as u64), self.prepared_to());
        if lsn > end { Err(WriterError::NotPrepared { lsn, end }) } else { Ok(()) }
    }

    /// Writes sealed records with one call per segment, in whole blocks; the first block contains what was written into it before.
    fn write(&mut self, batch: &[RecordBytes]) -> Result<(), DiskError> {
        let per_segment = self.directory.records_per_segment();
        let (mut next, mut previous_crc, mut rest) = (Lsn(self.last.0 + 1), self.chain, batch);
        while let Some(last) = rest.len().checked_sub(1) {
            let first = first_of(next, per_segment);
            let room = usize::try_from(first.0 + per_segment - next.0).unwrap_or(usize::MAX);
            let (piece, later) = rest.split_at(room.min(last + 1));
            let segment = self.segment_to_write(first)?;
            let offset = offset_of(next, per_segment);
            let before = if next == first {
                // The header, which makes the segment active by the same write.
                segment::encode_header(&self.directory, first, State::Active { previous_crc }).to_vec()
            } else {
                self.partial_block(&segment, offset)?
            };
            let (kept, records) = (before.len(), piece.as_flattened());
            let blocks = self.blocks.of_length(kept + records.len());
            blocks[..kept].copy_from_slice(&before);
            blocks[kept..kept + records.len()].copy_from_slice(records);
            blocks[kept + records.len()..].fill(0);
            let start = offset - kept as u64;
            // A segment that is not made of whole blocks, on a disk that does not ask for them, is not made longer.
            let within = usize::try_from(bytes_of_segment(per_segment) - start).unwrap_or(usize::MAX).min(blocks.len());
            segment.file.write_at(&blocks[..within], start).step("write", &segment.path)?;
            self.partial = PartialBlock::after(blocks, offset + records.len() as u64, first);
            next = Lsn(next.0 + piece.len() as u64);
            previous_crc = piece.last().map_or(previous_crc, record::stored_crc);
            rest = later;
        }
        Ok(())
    }

    /// The records in the block of `offset` before that offset.
    fn partial_block(&self, segment: &Segment, offset: u64) -> Result<Vec<u8>, DiskError> {
        let length = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0);
        if (self.partial.first, self.partial.end) == (segment.first, offset) {
            return Ok(self.partial.bytes.clone());
        }
        let mut bytes = vec![0; length];
        let file = self.directory.disk().open(&segment.path).step("open", &segment.path)?;
        file.read_at(&mut bytes, offset - length as u64).step("read", &segment.path)?;
        Ok(bytes)
    }

    /// The segment that begins with record `first`, which will be written and so must be synced.
    fn segment_to_write(&mut self, first: Lsn) -> Result<Segment, DiskError> {
        let segment = match self.current.take_if(|segment| segment.first == first) {
            Some(segment) => segment,
            None => open_direct(&self.directory, first)?,
        };
        self.current = Some(segment.clone());
        if self.unsynced.last().is_none_or(|last| last.first != first) {
            self.unsynced.push(segment.clone());
        }
        Ok(segment)
    }
}

/// The block that the last write ended in, as far as it is filled.
#[derive(Debug, Default)]
struct PartialBlock {
    first: Lsn,
    /// Where the last write ended.
    end: u64,
    bytes: Vec<u8>,
}

impl PartialBlock {
    /// After `blocks` were written into the segment that begins with `first`; their records end at `end`.
    fn after(blocks: &[u8], end: u64, first: Lsn) -> Self {
        let filled = usize::try_from(end % BLOCK_BYTES as u64).unwrap_or(0);
        let last = blocks.len().saturating_sub(BLOCK_BYTES);
        PartialBlock { first, end, bytes: blocks[last..last + filled].to_vec() }
    }
}

/// Opens a segment that must be there, for writing whole blocks.
fn open_direct(directory: &Directory, first: Lsn) -> Result<Segment, DiskError> {
    let path = directory.segment_path(first);
    let file = directory.disk().open_direct(&path).step("open", &path)?;
    Ok(Segment { first, path, file })
}

/// The checksum of record `lsn`, as it is in the file.
fn crc_of(directory: &Directory, lsn: Lsn) -> Result<u32, WriterError> {
    let first = first_of(lsn, directory.records_per_segment());
    let segment =
        Segment::open(directory, first)?.ok_or_else(not_found).step("open", &directory.segment_path(first))?;
    let bytes = segment.read_record(directory, lsn)?.filter(|bytes| record::lsn_of(bytes) == lsn);
    let bytes = bytes.ok_or_else(|| WriterError::NotThere { lsn, directory: directory.clone() })?;
    Ok(record::stored_crc(&bytes))
}
