//! Reads the books out as one stream of bytes.

use super::error::SourceError;
use super::layout::Header;
use crate::base::vocab::Lsn;
use crate::store::journal::directory::Directory;
use crate::store::journal::error::DiskError;
use crate::store::journal::reader::Reader;
use crate::store::journal::record;
use crate::store::journal::segment::first_of;
use crate::store::journal::snapshot::{
    self, AccountBlocks, Damaged, LENGTH_BYTES, PairBlocks, Snapshot, encode_length,
};

/// Records that are read at once.
const RECORDS_AT_ONCE: u64 = 512;

/// The books up to some record, as a stream of bytes. It needs memory for a block of accounts, or of keys and values, or
/// some hundred records.
///
/// The records from [`SnapshotSource::first_record`] on must stay until it is dropped; where they do not, reading ends with an error. The
/// snapshot file is kept open, so it may be removed.
#[derive(Debug)]
pub struct SnapshotSource {
    directory: Directory,
    header: Header,
    stage: Stage,
    /// Bytes that were made and not read yet, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    crc: crc32fast::Hasher,
}

#[derive(Debug)]
enum Stage {
    /// And the pairs behind them, if there are any.
    Accounts(AccountBlocks, Option<PairBlocks>),
    Pairs(PairBlocks),
    /// The next record.
    Records(Reader, Lsn),
    End,
}

impl SnapshotSource {
    /// The books up to record `last`, which ends a raft entry, is committed and on this disk; with the records from `keys_from` on, if they
    /// are kept, for the idempotency keys in them. `None` where they cannot be sent now: record `last` is not here, or every snapshot file
    /// holds something newer and the journal does not begin with the first record.
    ///
    /// Reads a snapshot file through, to know that it is good, so this takes as long as that: a second for some hundred megabytes. It is
    /// `Send`, for those who cannot wait.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(directory: &Directory, keys_from: Lsn, last: Lsn) -> Result<Option<Self>, SourceError> {
        let mut reader = Reader::open(directory);
        let Some(oldest) = reader.oldest()?.filter(|_| last > Lsn(0)) else { return Ok(None) };
        if reader.place(last)?.is_none() {
            return Ok(None);
        }
        let found = snapshot_up_to(directory, last)?;
        let (accounts, cut) = found.as_ref().map_or((0, Lsn(0)), |found| (found.header.accounts, found.header.lsn));
        let segment_of = |lsn: Lsn| first_of(Lsn(lsn.0.max(1)), directory.records_per_segment());
        let needed = segment_of(cut);
        if oldest > needed {
            return Ok(None);
        }
        // As recovery does it: of keys so many as are kept.
        let first = segment_of(keys_from).min(needed).max(oldest);
        let flows = found.as_ref().map(|found| (found.header.deposited, found.header.withdrawn));
        let (deposited, withdrawn) = flows.unwrap_or_default();
        let pairs = found.as_ref().filter(|found| found.has_pairs());
        let pairs = pairs.map(|found| found.pair_bytes() + LENGTH_BYTES as u64);
        let header = Header { accounts, cut, deposited, withdrawn, first, last, pairs };
        let stage = match &found {
            Some(found) => Stage::Accounts(found.blocks(), found.pair_blocks()),
            None => Stage::Records(reader, first),
        };
        let mut crc = crc32fast::Hasher::new();
        let ready = header.encode(directory);
        crc.update(&ready);
        Ok(Some(SnapshotSource { directory: directory.clone(), header, stage, ready, taken: 0, crc }))
    }

    /// Bytes of the whole stream.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.header.stream_bytes()
    }

    /// The first record that is sent.
    #[must_use]
    pub fn first_record(&self) -> Lsn {
        self.header.first
    }

    /// The next bytes, at most `most`, which is above 0; empty at the end. Fewer than `most` does not mean that it ends.
    ///
    /// # Errors
    /// [`SourceError`], after which the stream cannot be gone on with.
    pub fn read(&mut self, most: usize) -> Result<Vec<u8>, SourceError> {
        if self.taken == self.ready.len() {
            (self.ready, self.taken) = (self.make()?, 0);
        }
        let end = self.ready.len().min(self.taken.saturating_add(most));
        let bytes = self.ready[self.taken..end].to_vec();
        self.taken = end;
        Ok(bytes)
    }

    /// Makes what comes next; nothing at the end.
    fn make(&mut self) -> Result<Vec<u8>, SourceError> {
        let Header { first, last, .. } = self.header;
        let bytes = match &mut self.stage {
            Stage::Accounts(blocks, pairs) => match blocks.next_block()? {
                Ok(Some(block)) => block,
                Ok(None) => {
                    self.stage = match pairs.take() {
                        Some(pairs) => Stage::Pairs(pairs),
                        None => Stage::Records(Reader::open(&self.directory), first),
                    };
                    return self.make();
                }
                Err(why) => return Err(SourceError::Snapshot(Damaged { path: blocks.path().to_owned(), why })),
            },
            Stage::Pairs(blocks) => match blocks.next_block()? {
                Ok(Some(block)) => [&encode_length(block.len())[..], &block].concat(),
                Ok(None) => {
                    self.stage = Stage::Records(Reader::open(&self.directory), first);
                    encode_length(0).to_vec()
                }
                Err(why) => return Err(SourceError::Snapshot(Damaged { path: blocks.path().to_owned(), why })),
            },
            Stage::Records(_, next) if *next > last => {
                self.stage = Stage::End;
                return Ok(self.crc.clone().finalize().to_le_bytes().to_vec());
            }
            Stage::Records(reader, next) => {
                let mut records = reader.records(*next, last.min(Lsn(next.0 + RECORDS_AT_ONCE - 1)))?;
                if records.is_empty() {
                    return Err(SourceError::Gone { lsn: *next, path: self.directory.path().to_owned() });
                }
                records.iter_mut().for_each(record::unseal);
                *next = Lsn(next.0 + records.len() as u64);
                records.into_flattened()
            }
            Stage::End => return Ok(Vec::new()),
        };
        self.crc.update(&bytes);
        Ok(bytes)
    }
}

/// The newest good snapshot that holds nothing behind record `last`. Those that are damaged are passed over, as at a start.
fn snapshot_up_to(directory: &Directory, last: Lsn) -> Result<Option<Snapshot>, DiskError> {
    for lsn in snapshot::list(directory)?.into_iter().rev().filter(|&lsn| lsn <= last) {
        if let Ok(found) = Snapshot::open(directory, lsn)?
            && found.newest <= last
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
