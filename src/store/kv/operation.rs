//! A write as the sequencer sees it, and as it is remembered by its request id.

use crate::base::vocab::Lsn;
use crate::store::journal::record::{Fingerprint, KvHead, KvKind, KvPiece, KvVerdict, PIECE_BYTES};
use crate::store::kv::counts::Counts;
use crate::store::ledger::Sequencer;
use crate::store::ledger::commit::{Sequenced, Uncommitted};
use crate::store::ledger::keys::Remembered;

/// A write that is about to be committed.
pub(super) struct KvOperation<'a> {
    pub head: KvHead,
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Blocks that the key takes before, and after.
    pub blocks: [u32; 2],
    /// Blocks that all keys may take.
    pub capacity: u32,
}

impl KvOperation<'_> {
    /// What the counts are after it, from what they are before.
    fn counts(&self, before: Counts) -> Option<Counts> {
        let [had, has] = if self.head.is_done() { self.blocks } else { [0, 0] };
        before.after(had, has).filter(|after| after.blocks <= self.capacity || after.blocks <= before.blocks)
    }
}

/// The pieces of key and value behind a head.
fn pieces<'a>(head: &'a KvHead, key: &'a [u8], value: &'a [u8]) -> impl Iterator<Item = KvPiece> + 'a {
    let bytes = head.data_bytes();
    (head.lsn.0 + 1..).zip((0..bytes).step_by(PIECE_BYTES)).map(move |(lsn, at)| {
        let end = bytes.min(at + PIECE_BYTES);
        let (mut piece, mut length) = ([0; PIECE_BYTES], 0);
        let (from_key, from_value) =
            (at.min(key.len())..end.min(key.len()), at.saturating_sub(key.len())..end.saturating_sub(key.len()));
        for part in [&key[from_key], &value[from_value]] {
            piece[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        KvPiece::of(Lsn(lsn), head.time_ns, &piece[..length])
    })
}

impl Sequenced for KvOperation<'_> {
    fn records(&self) -> u64 {
        self.head.records()
    }

    fn clock_ns(&self) -> u64 {
        self.head.time_ns
    }

    fn place(&mut self, first: Lsn, time_ns: u64) {
        (self.head.lsn, self.head.time_ns) = (first, time_ns);
    }

    fn count(&mut self, before: u64) -> Result<Option<u64>, Uncommitted> {
        let after = self.counts(Counts::from_word(before)).ok_or(Uncommitted::Full)?;
        (self.head.keys, self.head.blocks) = (after.keys, after.blocks);
        Ok(self.head.is_done().then(|| after.to_word()))
    }

    fn put(&self, sequencer: &Sequencer) {
        sequencer.put_bytes(self.head.lsn, &self.head.encode());
        for piece in pieces(&self.head, self.key, self.value) {
            sequencer.put_bytes(piece.lsn, &piece.encode());
        }
    }

    fn remembered(&self) -> Remembered {
        RememberedWrite::of(&self.head).to_table()
    }

    fn is_same_request(&self, known: &Remembered) -> bool {
        RememberedWrite::from_table(known)
            .is_some_and(|known| (known.kind, known.fingerprint) == (self.head.kind, self.head.fingerprint))
    }
}

/// What is remembered of a write with a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedWrite {
    /// The operation's number.
    pub lsn: Lsn,
    /// Who asked.
    pub principal: u32,
    /// What was asked for.
    pub kind: KvKind,
    /// The result.
    pub verdict: KvVerdict,
    /// All that was asked for.
    pub fingerprint: Fingerprint,
    /// The version that the key had before.
    pub previous: Lsn,
}

impl RememberedWrite {
    /// That of the write that begins with `head`.
    #[must_use]
    pub fn of(head: &KvHead) -> Self {
        let KvHead { principal, kind, verdict, fingerprint, previous, .. } = *head;
        RememberedWrite { lsn: head.version(), principal, kind, verdict, fingerprint, previous }
    }

    /// As it stands in the table of keys.
    #[must_use]
    pub fn to_table(self) -> Remembered {
        let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|i| self.fingerprint[from + i]));
        let words = [half(0), half(8), self.previous.0, 0];
        let (kind, verdict) = (self.kind.code(), self.verdict.code());
        Remembered { lsn: self.lsn, principal: self.principal, kind, verdict, words }
    }

    /// What stands in the table of keys; `None` where that is no write to the key-value store.
    #[must_use]
    pub fn from_table(known: &Remembered) -> Option<Self> {
        let [low, high, previous, _] = known.words;
        let mut fingerprint = Fingerprint::default();
        fingerprint[..8].copy_from_slice(&low.to_le_bytes());
        fingerprint[8..].copy_from_slice(&high.to_le_bytes());
        Some(RememberedWrite {
            lsn: known.lsn,
            principal: known.principal,
            kind: KvKind::from_code(known.kind)?,
            verdict: KvVerdict::from_code(known.verdict).ok()?,
            fingerprint,
            previous: Lsn(previous),
        })
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "operation_tests.rs"]
mod tests;
