//! A key and its value in a chain of blocks.

use crate::base::limits::{MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES};
use crate::base::vocab::Lsn;
use crate::ipc::cells::{AtomicU64, Ordering};
use crate::store::kv::layout::{Block, FIRST_WORDS, HEAD_WORDS, Link};

const AT_VERSION: usize = 0;
/// Bytes of the key above, of the value below.
const AT_LENGTHS: usize = 1;
/// The last block of the chain above, the hash below.
const AT_LAST: usize = 2;

/// What the first block of a chain says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version: the last record of the operation that has written it.
    pub version: Lsn,
    /// Bytes of the key.
    pub key_bytes: usize,
    /// Bytes of the value.
    pub value_bytes: usize,
    /// A part of the key's hash.
    pub hash: u32,
}

/// All blocks of a table.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a>(pub(super) &'a [Block]);

impl<'a> Blocks<'a> {
    /// The block of that number, which came from shared memory and may be none.
    pub(super) fn get(self, block: u32) -> Option<&'a Block> {
        self.0.get(block as usize)
    }

    /// The words behind the head of chain `first`, block by block, for as long as links lead on.
    fn words(self, first: u32) -> impl Iterator<Item = &'a AtomicU64> {
        let mut next = self.get(first);
        let mut skipped = HEAD_WORDS;
        std::iter::from_fn(move || {
            let block = next?;
            next = block.next.target().and_then(|next| self.get(next));
            Some(&block.words[std::mem::take(&mut skipped)..])
        })
        .flatten()
    }

    /// Writes key and value into chain `first`, which has blocks enough and whose last block [`Blocks::set_last`] has named.
    pub(super) fn fill(self, first: u32, hash: u32, key: &[u8], value: &[u8]) {
        let Some(block) = self.get(first) else { return };
        let lengths = (key.len() as u64) << 32 | value.len() as u64;
        block.words[AT_LENGTHS].store(lengths, Ordering::Relaxed);
        let last = block.words[AT_LAST].load(Ordering::Relaxed) & !u64::from(u32::MAX);
        block.words[AT_LAST].store(last | u64::from(hash), Ordering::Relaxed);
        let words = (key.len() + value.len()).div_ceil(8);
        for (at, word) in (0..words).zip(self.words(first)) {
            word.store(word_at(key, value, 8 * at), Ordering::Relaxed);
        }
    }

    /// Notes the last block of chain `first`, so that giving it back needs no walk.
    pub(super) fn set_last(self, first: u32, last: u32) {
        if let Some(block) = self.get(first) {
            block.words[AT_LAST].store(u64::from(last) << 32, Ordering::Relaxed);
        }
    }

    /// The last block of chain `first`.
    #[allow(clippy::cast_possible_truncation, reason = "its upper half")]
    pub(super) fn last(self, first: u32) -> Option<&'a Block> {
        self.get((self.get(first)?.words[AT_LAST].load(Ordering::Relaxed) >> 32) as u32)
    }

    /// Sets the version of chain `first`.
    pub(super) fn set_version(self, first: u32, version: Lsn) {
        if let Some(block) = self.get(first) {
            block.words[AT_VERSION].store(version.0, Ordering::Relaxed);
        }
    }

    /// What the first block of chain `first` says.
    #[allow(clippy::cast_possible_truncation, reason = "cut into its halves")]
    pub(super) fn entry(self, first: u32) -> Option<Entry> {
        let words = &self.get(first)?.words;
        let lengths = words[AT_LENGTHS].load(Ordering::Relaxed);
        Some(Entry {
            version: Lsn(words[AT_VERSION].load(Ordering::Relaxed)),
            // Whoever takes them from here allocates and copies so much.
            key_bytes: ((lengths >> 32) as usize).min(MAX_KV_KEY_BYTES),
            value_bytes: ((lengths as u32) as usize).min(MAX_KV_VALUE_BYTES),
            hash: words[AT_LAST].load(Ordering::Relaxed) as u32,
        })
    }

    /// Appends the first `bytes` bytes of key and value of chain `first` to `into`.
    pub(super) fn copy(self, first: u32, bytes: usize, into: &mut Vec<u8>) {
        let end = into.len() + bytes;
        for word in self.words(first).take(bytes.div_ceil(8)) {
            into.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        into.truncate(end);
    }

    /// Whether chain `first` is of `key`.
    pub(super) fn is_of(self, first: u32, key: &[u8]) -> bool {
        let whole = key.len() / 8;
        self.words(first).take(key.len().div_ceil(8)).enumerate().all(|(at, word)| {
            let mask = if at < whole { u64::MAX } else { (1 << (8 * (key.len() % 8))) - 1 };
            word.load(Ordering::Relaxed) & mask == word_at(key, &[], 8 * at)
        })
    }
}

/// The eight bytes of key and value from `at` on, zeros behind the end.
fn word_at(key: &[u8], value: &[u8], at: usize) -> u64 {
    let whole = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
    let in_value = at.checked_sub(key.len()).and_then(|at| whole(value, at));
    in_value.or_else(|| whole(key, at)).unwrap_or_else(|| {
        let byte = |at: usize| key.get(at).or_else(|| value.get(at.checked_sub(key.len())?)).copied().unwrap_or(0);
        u64::from_le_bytes(std::array::from_fn(|i| byte(at + i)))
    })
}

const _: () = assert!(FIRST_WORDS * 8 == crate::store::journal::record::FIRST_BLOCK_BYTES);

#[cfg(all(test, not(feature = "model")))]
#[path = "chain_tests.rs"]
mod tests;
