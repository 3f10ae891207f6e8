//! Reads snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{list, path_of};
use super::layout::{
    ACCOUNT_BYTES, ACCOUNTS_PER_BLOCK, CRC_BYTES, END_BYTES, HEADER_BYTES, Header, crc_behind, decode_account,
    encode_end,
};
use super::pairs::{self, LENGTH_BYTES, MAX_BLOCK_BYTES, decode_end, for_each_pair};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::directory::Directory;
use crate::store::journal::disk::DiskFile;
use crate::store::journal::error::{DiskError, Step};

/// A snapshot that was read through and found good.
#[derive(Debug)]
pub struct Snapshot {
    /// What it says of itself.
    pub header: Header,
    /// The newest record in it, or up to which the log is needed beside its pairs; all up to there was durable.
    pub newest: Lsn,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    chain: u32,
    pairs: Option<Pairs>,
}

/// The pairs of a snapshot.
#[derive(Clone, Copy, Debug)]
struct Pairs {
    /// The checksum before the first block.
    chain: u32,
    /// Bytes of all blocks with their lengths, without their checksums.
    bytes: u64,
    count: u64,
}

/// A snapshot that cannot be used. It was left where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot {} is damaged: {why}; it was left where it is", path.display())]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The newest good snapshot, if there is one, and those newer that are not good.
#[derive(Debug)]
pub struct Newest {
    /// The snapshot.
    pub snapshot: Option<Snapshot>,
    /// The damaged ones, newest first.
    pub damaged: Vec<Damaged>,
}

/// Reads and checks the snapshots, newest first, until one is good.
pub fn newest_good(directory: &Directory) -> Result<Newest, DiskError> {
    let mut damaged = Vec::new();
    for lsn in list(directory)?.into_iter().rev() {
        match Snapshot::open(directory, lsn)? {
            Ok(snapshot) => return Ok(Newest { snapshot: Some(snapshot), damaged }),
            Err(why) => damaged.push(Damaged { path: path_of(directory, lsn), why }),
        }
    }
    Ok(Newest { snapshot: None, damaged })
}

impl Snapshot {
    /// Reads the snapshot of record `lsn` through; the reason where it is damaged.
    pub fn open(directory: &Directory, lsn: Lsn) -> Result<Result<Self, &'static str>, DiskError> {
        let path = path_of(directory, lsn);
        let file = directory.disk().open(&path).step("open", &path)?;
        let mut bytes = [0; HEADER_BYTES];
        if file.read_at(&mut bytes, 0).step("read", &path)? < HEADER_BYTES {
            return Ok(Err("it ends within its header"));
        }
        let (header, chain, has_pairs) = match Header::decode(directory, &bytes) {
            Ok(decoded) => decoded,
            Err(why) => return Ok(Err(why)),
        };
        if header.lsn != lsn {
            return Ok(Err("it is of another record than its name says"));
        }
        let bytes = file.size().step("measure", &path)?;
        let least = if has_pairs { header.end_of_accounts() + pairs::END_BYTES as u64 } else { header.file_bytes() };
        if bytes < least || (bytes > least && !has_pairs) {
            return Ok(Err("it is shorter or longer than it should be"));
        }
        let mut snapshot = Snapshot { header, newest: header.lsn, path, file, chain, pairs: None };
        let mut newest = header.lsn;
        let last = match snapshot.accounts(|_, _, lsn| newest = newest.max(lsn))? {
            Ok(last) => last,
            Err(why) => return Ok(Err(why)),
        };
        if has_pairs {
            return snapshot.read_pairs(newest, last, bytes);
        }
        snapshot.newest = newest;
        let mut end = [0; END_BYTES];
        snapshot.file.read_at(&mut end, header.file_bytes() - END_BYTES as u64).step("read", &snapshot.path)?;
        Ok(if end == encode_end(newest, last) { Ok(snapshot) } else { Err("its end mark is wrong") })
    }

    /// Reads the pairs through behind accounts of checksum `chain`, the newest of which is of record `newest`; the file has `bytes` bytes.
    fn read_pairs(mut self, newest: Lsn, chain: u32, bytes: u64) -> Result<Result<Self, &'static str>, DiskError> {
        let mut found = Pairs { chain, bytes: 0, count: 0 };
        self.pairs = Some(found);
        let mut blocks = self.pair_blocks();
        let end_mark = |at: u64| bytes.checked_sub(pairs::END_BYTES as u64).is_some_and(|end| at == end);
        while let Some(blocks) = &mut blocks {
            let block = match blocks.next_block()? {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(why) => return Ok(Err(why)),
            };
            found.bytes += (LENGTH_BYTES + block.len()) as u64;
            match for_each_pair(&block, self.header.lsn, |_| ()) {
                Some(count) => found.count += count,
                None => return Ok(Err("the checksum of a block is right, but a pair in it cannot be")),
            }
        }
        let (at, last) = blocks.map_or((0, chain), |blocks| (blocks.at, blocks.chain));
        if !end_mark(at) {
            return Ok(Err("it is longer than it should be"));
        }
        let mut end = [0; pairs::END_BYTES];
        self.file.read_at(&mut end, at).step("read", &self.path)?;
        self.pairs = Some(found);
        match decode_end(&end, newest, found.count, last) {
            Some(newest) => Ok(Ok(Snapshot { newest, ..self })),
            None => Ok(Err("its end mark is wrong")),
        }
    }

    /// Whether it is of an instance with a key-value store.
    #[must_use]
    pub fn has_pairs(&self) -> bool {
        self.pairs.is_some()
    }

    /// How many keys it has.
    #[must_use]
    pub fn pair_count(&self) -> u64 {
        self.pairs.map_or(0, |pairs| pairs.count)
    }

    /// Bytes of its blocks of pairs and of the length before each, without checksums.
    pub(in super::super) fn pair_bytes(&self) -> u64 {
        self.pairs.map_or(0, |pairs| pairs.bytes)
    }

    /// Calls `each` with every key, its version, and its value, in no order. The reason, where the file has been damaged since it was
    /// opened.
    pub fn pairs(&self, mut each: impl FnMut(&[u8], Lsn, &[u8])) -> Result<Result<(), &'static str>, DiskError> {
        let Some(mut blocks) = self.pair_blocks() else { return Ok(Ok(())) };
        loop {
            let block = match blocks.next_block()? {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(Ok(())),
                Err(why) => return Ok(Err(why)),
            };
            if for_each_pair(&block, self.header.lsn, |pair| each(pair.key, pair.version, pair.value)).is_none() {
                return Ok(Err("the checksum of a block is right, but a pair in it cannot be"));
            }
        }
    }

    /// Its pairs, block by block; `None` where it is of an instance without a key-value store.
    pub(in super::super) fn pair_blocks(&self) -> Option<PairBlocks> {
        let Pairs { chain, .. } = self.pairs?;
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        Some(PairBlocks { file, path, chain, at: self.header.end_of_accounts() })
    }

    /// Calls `each` with every account, its balance and the record that the balance is of; gives the last checksum. The
    /// reason, where the file has been damaged since it was opened.
    pub fn accounts(
        &self,
        mut each: impl FnMut(AccountId, Cents, Lsn),
    ) -> Result<Result<u32, &'static str>, DiskError> {
        let mut ids = (0..self.header.accounts).map(AccountId);
        let mut blocks = self.blocks();
        loop {
            let block = match blocks.next_block()? {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(Ok(blocks.chain)),
                Err(why) => return Ok(Err(why)),
            };
            for (account, id) in block.chunks_exact(ACCOUNT_BYTES).zip(ids.by_ref()) {
                let Some((balance, lsn)) = decode_account(account) else {
                    return Ok(Err("the checksum of a block is right, but an account in it holds what cannot be"));
                };
                each(id, balance, lsn);
            }
        }
    }

    /// Its accounts, block by block.
    pub(in super::super) fn blocks(&self) -> AccountBlocks {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        AccountBlocks { file, path, chain: self.chain, at: HEADER_BYTES as u64, left: self.header.accounts as usize }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The accounts of a snapshot, block by block.
#[derive(Debug)]
pub struct AccountBlocks {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// The checksum of the block before.
    chain: u32,
    at: u64,
    /// Accounts that were not read yet.
    left: usize,
}

impl AccountBlocks {
    /// The next accounts, at most [`ACCOUNTS_PER_BLOCK`], [`ACCOUNT_BYTES`] each; `None` behind the last. The reason, where the file has
    /// been damaged since it was opened.
    pub fn next_block(&mut self) -> Result<Result<Option<Vec<u8>>, &'static str>, DiskError> {
        if self.left == 0 {
            return Ok(Ok(None));
        }
        let accounts = self.left.min(ACCOUNTS_PER_BLOCK);
        let mut block = vec![0; accounts * ACCOUNT_BYTES + CRC_BYTES];
        let filled = self.file.read_at(&mut block, self.at).step("read", &self.path)?;
        let (payload, crc) = block.split_at(accounts * ACCOUNT_BYTES);
        self.chain = crc_behind(self.chain, payload);
        if filled < block.len() || *crc != self.chain.to_le_bytes() {
            return Ok(Err("the checksum of a block is wrong"));
        }
        self.at += block.len() as u64;
        self.left -= accounts;
        block.truncate(accounts * ACCOUNT_BYTES);
        Ok(Ok(Some(block)))
    }

    /// The file that they are in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The pairs of a snapshot, block by block. It needs memory for one block.
#[derive(Debug)]
pub struct PairBlocks {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// The checksum of the block before.
    chain: u32,
    /// Where the length of the next block is, or the end mark.
    at: u64,
}

impl PairBlocks {
    /// The next block, without its length; `None` behind the last. The reason, where the file has been damaged since it was opened.
    pub fn next_block(&mut self) -> Result<Result<Option<Vec<u8>>, &'static str>, DiskError> {
        let wrong = "the checksum of a block is wrong";
        let mut length = [0; LENGTH_BYTES];
        if self.file.read_at(&mut length, self.at).step("read", &self.path)? < LENGTH_BYTES {
            return Ok(Err("it ends before its end mark"));
        }
        let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if bytes == 0 {
            return Ok(Ok(None));
        }
        if bytes > MAX_BLOCK_BYTES {
            return Ok(Err(wrong));
        }
        let mut block = vec![0; bytes + CRC_BYTES];
        let filled = self.file.read_at(&mut block, self.at + LENGTH_BYTES as u64).step("read", &self.path)?;
        let (payload, crc) = block.split_at(bytes);
        self.chain = crc_behind(crc_behind(self.chain, &length), payload);
        if filled < block.len() || *crc != self.chain.to_le_bytes() {
            return Ok(Err(wrong));
        }
        self.at += (LENGTH_BYTES + block.len()) as u64;
        block.truncate(bytes);
        Ok(Ok(Some(block)))
    }

    /// The file that they are in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
