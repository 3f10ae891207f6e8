//! The idempotency keys that are known, with what became of their requests: a table in shared memory.
//!
//! Keys are numbered as they become known; each stands in the place that its number names, until as many others came as the
//! table remembers. An index of buckets finds a key's number: the key's hash names two buckets, and it stands in the one
//! that was emptier. A slot of the index whose number is out of the window counts as free, so nothing is ever deleted, and
//! making a key known is complete with one store, to the count of known keys.
//!
//! Everything here is read and written under the sequencer's lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ipc::IpcError;
use crate::ipc::segment::Segment;
use crate::journal::record::{Kind, Record, Verdict};
use crate::limits::KEY_BYTES;
use crate::shared_struct;
use crate::vocab::{AccountId, Cents, Lsn};

/// Version of the layout.
const LAYOUT_VERSION: u32 = 1;
/// Slots of a bucket: one cache line.
const SLOTS: usize = 8;
/// Bits of a slot that are taken from the hash; the others are the key's number.
const TAG_BITS: u32 = 16;

shared_struct! {
    /// What concerns the whole table.
    struct KeysHeader, align 64, size 64; {
        /// Secret, new at every start: clients choose keys, and shall not be able to choose ones that fall into one bucket.
        seeds: [AtomicU64; 2],
        /// How many keys are remembered.
        window: AtomicU64,
        /// A power of two.
        buckets: AtomicU64,
        /// The number of the last key that became known.
        known: AtomicU64,
        spare: [AtomicU64; 3],
    }
}

shared_struct! {
    /// A remembered key with its request and result, or a bucket of the index.
    struct Line, align 64, size 64; {
        words: [AtomicU64; SLOTS],
    }
}

/// A key as clients send it.
pub type Key = [u8; KEY_BYTES];

/// The known keys.
pub struct Keys(Segment<KeysHeader, Line>);

/// What is remembered of a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The operation's number.
    pub lsn: Lsn,
    /// Who asked.
    pub principal: u32,
    /// What was asked for.
    pub kind: Kind,
    /// What became of it.
    pub verdict: Verdict,
    /// The accounts.
    pub accounts: (AccountId, Option<AccountId>),
    /// How much.
    pub amount: Cents,
    /// The balances afterwards.
    pub balances: [Cents; 2],
}

/// What looking for a key found.
pub(super) enum Found<'a> {
    /// It is known.
    Known(Remembered),
    /// It is not; here it can be put.
    Free(&'a AtomicU64),
    /// It is not, and there is no place for it, which is as likely as two full buckets of a table that is a quarter full.
    Crowded,
}

impl Remembered {
    /// Whether `record` asks for the same.
    #[must_use]
    pub fn is_same_request(&self, record: &Record) -> bool {
        (self.principal, self.kind, self.accounts, self.amount)
            == (record.principal, record.kind, record.accounts, record.amount)
    }

    fn of(record: &Record) -> Self {
        let Record { lsn, principal, kind, verdict, accounts, amount, balances, .. } = *record;
        Remembered { lsn, principal, kind, verdict, accounts, amount, balances }
    }

    fn to_words(self) -> [u64; 6] {
        let (first, second) = self.accounts;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        [
            self.lsn.0,
            pair(self.principal, u32::from(self.kind.code()) << 8 | u32::from(self.verdict.code())),
            pair(first.0, second.map_or(0, |second| second.0)),
            self.amount.0.cast_unsigned(),
            self.balances[0].0.cast_unsigned(),
            self.balances[1].0.cast_unsigned(),
        ]
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    fn from_words([lsn, request, accounts, amount, first, second]: [u64; 6]) -> Option<Self> {
        let kind = Kind::from_code((request >> 8) as u8).ok()?;
        Some(Remembered {
            lsn: Lsn(lsn),
            principal: (request >> 32) as u32,
            kind,
            verdict: Verdict::from_code(request as u8).ok()?,
            accounts: (
                AccountId((accounts >> 32) as u32),
                (kind == Kind::Transfer).then_some(AccountId(accounts as u32)),
            ),
            amount: Cents(amount.cast_signed()),
            balances: [Cents(first.cast_signed()), Cents(second.cast_signed())],
        })
    }
}

fn halves(key: &Key) -> [u64; 2] {
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|i| key[from + i]));
    [half(0), half(8)]
}

impl Keys {
    /// A table that remembers `window` keys.
    ///
    /// # Errors
    /// The segment or the seeds cannot be made.
    pub(super) fn create(name: &str, boot: u32, window: u32) -> Result<Self, IpcError> {
        let window = u64::from(window);
        // A quarter of the slots is in use when the window is full.
        let buckets = (window / 2).next_power_of_two();
        let lines = usize::try_from(Self::places(window) + buckets).unwrap_or(usize::MAX);
        let segment = Segment::create(name, LAYOUT_VERSION, boot, lines, |header: &KeysHeader, _| {
            for seed in &header.seeds {
                let random = getrandom::u64().map_err(|_| IpcError::system("seed", name, nix::errno::Errno::EIO))?;
                seed.store(random, Ordering::Relaxed);
            }
            header.window.store(window, Ordering::Relaxed);
            header.buckets.store(buckets, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(Keys(segment))
    }

    /// Maps an existing table for reading only.
    ///
    /// # Errors
    /// There is none, or it has another layout.
    pub(super) fn open_read_only(name: &str) -> Result<Self, IpcError> {
        Segment::open_read_only(name, LAYOUT_VERSION).map(Keys)
    }

    /// One place more than keys are remembered, for the one that is about to become known.
    const fn places(window: u64) -> u64 {
        window + 1
    }

    fn header(&self) -> &KeysHeader {
        self.0.root()
    }

    /// The full name and the bytes.
    #[must_use]
    pub fn segment(&self) -> (&str, usize) {
        (self.0.name(), self.0.bytes())
    }

    /// How many keys are remembered at most.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.header().window.load(Ordering::Relaxed)
    }

    /// How many keys became known so far.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.header().known.load(Ordering::Acquire)
    }

    fn place(&self, number: u64) -> &Line {
        let place = number % Self::places(self.window());
        &self.0.elements()[usize::try_from(place).unwrap_or(0)]
    }

    fn bucket(&self, hash: u64) -> &Line {
        let (first, mask) = (Self::places(self.window()), self.header().buckets.load(Ordering::Relaxed) - 1);
        &self.0.elements()[usize::try_from(first + (hash & mask)).unwrap_or(0)]
    }

    /// The two buckets of a key, and its tag.
    #[inline]
    fn buckets(&self, key: &Key) -> ([&Line; 2], u64) {
        let [low, high] = halves(key);
        let [a, b] = [0, 1].map(|which| self.header().seeds[which].load(Ordering::Relaxed));
        // Two multiplications whose halves are folded (the mixing of wyhash), since each alone leaves its low bits weak.
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
            let folded = product as u64 ^ (product >> 64) as u64;
            folded
        };
        let hash = fold(fold(low ^ a, high ^ b) ^ b, a | 1);
        ([self.bucket(hash >> 32), self.bucket(hash)], hash >> (64 - TAG_BITS))
    }

    /// Has the lines that looking for `key` needs come closer, before the lock is taken.
    #[inline]
    pub(super) fn expect(&self, key: &Key) {
        let (buckets, _) = self.buckets(key);
        for bucket in buckets {
            std::hint::black_box(bucket.words[0].load(Ordering::Relaxed));
        }
    }

    /// Looks for `key`.
    #[inline]
    pub(super) fn find(&self, key: &Key) -> Found<'_> {
        let (buckets, tag) = self.buckets(key);
        let (known, window) = (self.header().known.load(Ordering::Relaxed), self.window());
        let mut free: Option<(usize, &AtomicU64)> = None;
        for bucket in buckets {
            let mut vacant = None;
            let mut vacancies = 0;
            for slot in &bucket.words {
                let word = slot.load(Ordering::Relaxed);
                let number = word >> TAG_BITS;
                let remembered = number != 0 && number <= known && known - number < window;
                if !remembered {
                    (vacant, vacancies) = (Some(slot), vacancies + 1);
                } else if word & ((1 << TAG_BITS) - 1) == tag
                    && let Some(found) = self.remembered(number, key)
                {
                    return Found::Known(found);
                }
            }
            if let Some(slot) = vacant
                && free.is_none_or(|(most, _)| vacancies > most)
            {
                free = Some((vacancies, slot));
            }
        }
        free.map_or(Found::Crowded, |(_, slot)| Found::Free(slot))
    }

    fn remembered(&self, number: u64, key: &Key) -> Option<Remembered> {
        let words: [u64; SLOTS] = std::array::from_fn(|i| self.place(number).words[i].load(Ordering::Relaxed));
        let [low, high, rest @ ..] = words;
        if [low, high] == halves(key) { Remembered::from_words(rest) } else { None }
    }

    /// Writes `record`'s key down, where it does not count yet; the number that [`Keys::make_known`] takes.
    #[inline]
    pub(super) fn write_down(&self, key: &Key, record: &Record, slot: &AtomicU64) -> u64 {
        let number = self.header().known.load(Ordering::Relaxed) + 1;
        let [low, high] = halves(key);
        let [lsn, a, b, c, d, e] = Remembered::of(record).to_words();
        for (word, value) in self.place(number).words.iter().zip([low, high, lsn, a, b, c, d, e]) {
            word.store(value, Ordering::Relaxed);
        }
        slot.store(number << TAG_BITS | self.buckets(key).1, Ordering::Relaxed);
        number
    }

    /// Makes the key that was written down as `number` known, as that of operation `lsn`. Can be done again.
    #[inline]
    pub(super) fn make_known(&self, number: u64, lsn: Lsn) {
        self.place(number).words[2].store(lsn.0, Ordering::Relaxed);
        self.header().known.store(number, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(window: u32) -> Keys {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("/vault-test.{}.keys.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let keys = Keys::create(&name, 1, window).unwrap();
        crate::ipc::segment::unlink(&name).unwrap();
        keys
    }

    fn record(number: u64) -> (Key, Record) {
        let mut key = [7; KEY_BYTES];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let record = Record {
            lsn: Lsn(0),
            term: 0,
            time_ns: 1,
            kind: Kind::Transfer,
            verdict: Verdict::Done,
            principal: 5,
            accounts: (AccountId(1), Some(AccountId(2))),
            amount: Cents(i64::try_from(number).unwrap() + 1),
            balances: [Cents(3), Cents(4)],
            previous: [Lsn(0); 2],
            key: Some(key),
        };
        (key, record)
    }

    fn put(keys: &Keys, number: u64) {
        let (key, record) = record(number);
        match keys.find(&key) {
            Found::Free(slot) => keys.make_known(keys.write_down(&key, &record, slot), Lsn(number + 100)),
            Found::Known(known) => panic!("{known:?}"),
            Found::Crowded => panic!("crowded at {number}"),
        }
    }

    fn found(keys: &Keys, number: u64) -> Option<Remembered> {
        match keys.find(&record(number).0) {
            Found::Known(known) => Some(known),
            _ => None,
        }
    }

    #[test]
    fn exactly_the_window_is_remembered() {
        for window in [1, 2, 7, 1000] {
            let keys = keys(window);
            for number in 0..5 * u64::from(window) {
                put(&keys, number);
                let oldest = (number + 1).saturating_sub(window.into());
                for old in oldest..=number {
                    let known = found(&keys, old).unwrap_or_else(|| panic!("{old} of {number}, window {window}"));
                    assert_eq!(known.lsn, Lsn(old + 100));
                    assert!(known.is_same_request(&record(old).1) && !known.is_same_request(&record(old + 1).1));
                }
                assert!(oldest == 0 || found(&keys, oldest - 1).is_none(), "{number}, window {window}");
            }
        }
    }

    #[test]
    fn a_key_that_was_only_written_down_is_not_known() {
        let keys = keys(10);
        let (key, record) = record(1);
        let Found::Free(slot) = keys.find(&key) else { panic!("nothing is there") };
        keys.write_down(&key, &record, slot);
        assert!(found(&keys, 1).is_none());
        put(&keys, 2);
        assert!(found(&keys, 1).is_none() && found(&keys, 2).is_some(), "the other one took its number");
    }
}
