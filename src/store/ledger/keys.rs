//! The idempotency keys that are known, with what became of their requests: a table in shared memory.
//!
//! Keys are numbered as they become known. A key's number, modulo the size of the window, is its place, so it is overwritten when the
//! window is over. An index finds the number: the key's hash names two buckets, and the number is in the one that was emptier.
//! A slot of the index whose number is out of the window counts as free. So nothing is ever deleted, and one store, to the count of
//! known keys, makes a key known.
//!
//! Everything here is read and written under the sequencer's lock.

use crate::base::limits::KEY_BYTES;
use crate::base::vocab::Lsn;
use crate::ipc::IpcError;
use crate::ipc::cells::{AtomicU32, AtomicU64, Ordering, Segment, expect_to_write, random, shared_struct};
use crate::ipc::scan::Search;
use crate::ipc::segment::Access;

/// Version of the layout.
pub const LAYOUT_VERSION: u32 = 1;
/// Slots of a bucket: one cache line. Half of all slots are in use when the window is full; with two buckets to choose from, both
/// are full almost never.
const SLOTS: usize = if cfg!(feature = "model") { 2 } else { 16 };
/// Words of a remembered key.
const WORDS: usize = 8;
/// A slot has this many more bits of a key's number than the window needs. So few slots that are out of the window look as if they
/// were in it; such a slot is unused for a while.
const SPARE_BITS: u32 = 4;

shared_struct! {
    /// What concerns the whole table.
    struct KeysHeader, align 64, size 64; {
        /// Secret, new at every start: otherwise clients could choose keys that all fall into one bucket.
        seeds: [AtomicU64; 2],
        /// How many keys are remembered.
        window: AtomicU64,
        /// How many low bits of a key's number stand in a slot; above them is its tag.
        number_bits: AtomicU64,
        /// The number of the last key that became known.
        known: AtomicU64,
        spare: [AtomicU64; 3],
    }
}

shared_struct! {
    /// A remembered key with its request and result.
    struct Place, align 64, size 64; {
        words: [AtomicU64; WORDS],
    }
}

shared_struct! {
    /// A bucket of the index; an empty slot is zero.
    struct Bucket, align 64, size 64; {
        slots: [AtomicU32; SLOTS],
    }
}

/// A key as clients send it.
pub type Key = [u8; KEY_BYTES];

/// The known keys.
pub struct Keys {
    places: Segment<KeysHeader, Place>,
    /// As many buckets as a power of two says.
    index: Segment<(), Bucket>,
}

/// What is remembered of a request with a key. What kind, verdict and words mean, they know who asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The operation's number.
    pub lsn: Lsn,
    /// Who asked.
    pub principal: u32,
    /// What was asked for, by its number on disk.
    pub kind: u8,
    /// The result, by its number on disk.
    pub verdict: u8,
    /// More of both.
    pub words: [u64; 4],
}

/// A key and where to look for it.
pub struct Probe<'a> {
    halves: [u64; 2],
    principal: u32,
    buckets: [&'a Bucket; 2],
    /// Already shifted to its place in a slot.
    tag: u32,
}

/// What a look-up found.
pub(super) enum Found<'a> {
    /// The key is known.
    Known(Remembered),
    /// The key is not known, and can be put into this slot.
    Free(&'a AtomicU32),
    /// The key is not known, and both of its buckets are full.
    BucketFull,
}

impl Remembered {
    fn to_words(self) -> [u64; 6] {
        let [a, b, c, d] = self.words;
        let request = u64::from(self.principal) << 32 | u64::from(self.kind) << 8 | u64::from(self.verdict);
        [self.lsn.0, request, a, b, c, d]
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    fn from_words([lsn, request, words @ ..]: [u64; 6]) -> Self {
        let (principal, kind, verdict) = ((request >> 32) as u32, (request >> 8) as u8, request as u8);
        Remembered { lsn: Lsn(lsn), principal, kind, verdict, words }
    }
}

fn halves(key: &Key) -> [u64; 2] {
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|i| key[from + i]));
    [half(0), half(8)]
}

/// The tag of a key of this hash, in its place in a slot: above `number_bits`. Never zero, because an empty slot is zero.
fn tag(hash: u64, number_bits: u32) -> u32 {
    (u32::try_from(hash >> 40).unwrap_or(0) % ((1 << (u32::BITS - number_bits)) - 1) + 1) << number_bits
}

impl Keys {
    /// A table that remembers `window` keys.
    pub(super) fn create([places, index]: [&str; 2], boot: u32, window: u32) -> Result<Self, IpcError> {
        let count = Self::places(window.into());
        let places =
            Segment::create(places, LAYOUT_VERSION, boot, count, |header, _| Self::prepare(places, window, header))?;
        let index = Segment::create(index, LAYOUT_VERSION, boot, Self::buckets(window), |(), _| Ok(()))?;
        Ok(Keys { places, index })
    }

    /// Fills the header, which is zero.
    fn prepare(name: &str, window: u32, header: &KeysHeader) -> Result<(), IpcError> {
        for seed in &header.seeds {
            let random = random().map_err(|_| IpcError::system("seed", name, nix::errno::Errno::EIO))?;
            seed.store(random, Ordering::Relaxed);
        }
        header.window.store(window.into(), Ordering::Relaxed);
        let bits = window.next_power_of_two().ilog2() + SPARE_BITS;
        header.number_bits.store(bits.min(u32::BITS - 1).into(), Ordering::Relaxed);
        Ok(())
    }

    /// Forgets all keys, in place, and draws new seeds; see [`Table::reset`](super::Table::reset).
    #[cfg(not(feature = "model"))]
    pub(super) fn reset(&self, window: u32) -> Result<(), IpcError> {
        self.places.refill(|header, _| Self::prepare(self.places.name(), window, header))?;
        self.index.refill(|(), _| Ok(()))
    }

    fn buckets(window: u32) -> usize {
        (2 * window as usize).div_ceil(SLOTS).next_power_of_two()
    }

    /// Bytes of the two segments of a table that remembers `window` keys.
    pub(super) fn bytes_for(window: u32) -> [usize; 2] {
        let places = Segment::<KeysHeader, Place>::bytes_for(Self::places(window.into()));
        [places, Segment::<(), Bucket>::bytes_for(Self::buckets(window))]
    }

    /// Maps an existing table.
    pub(super) fn open([places, index]: [&str; 2], access: Access) -> Result<Self, IpcError> {
        Ok(Keys {
            places: Segment::open(places, LAYOUT_VERSION, access)?,
            index: Segment::open(index, LAYOUT_VERSION, access)?,
        })
    }

    /// One place more than keys are remembered, for the one that is about to become known.
    const fn places(window: u64) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "made from 32 bits")]
        let window = window as usize;
        window + 1
    }

    fn header(&self) -> &KeysHeader {
        self.places.root()
    }

    /// The segments' full names and bytes.
    #[must_use]
    pub fn segments(&self) -> [(&str, usize); 2] {
        [(self.places.name(), self.places.bytes()), (self.index.name(), self.index.bytes())]
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

    fn place(&self, number: u64) -> &Place {
        let places = self.places.elements();
        &places[usize::try_from(number % places.len() as u64).unwrap_or(0)]
    }

    /// Where to look for `key` of user `principal`; prefetches the cache lines of its buckets.
    #[inline]
    pub(in crate::store) fn probe(&self, key: Key, principal: u32) -> Probe<'_> {
        let halves = halves(&key);
        let [a, b] = [0, 1].map(|which| self.header().seeds[which].load(Ordering::Relaxed));
        // Two multiplications whose halves are folded (the mixing of wyhash), since each alone leaves its low bits weak.
        #[allow(clippy::cast_possible_truncation, reason = "parts of a hash")]
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let hash = fold(fold(halves[0] ^ a, halves[1] ^ b) ^ b, a | 1);
        let index = self.index.elements();
        #[allow(clippy::cast_possible_truncation, reason = "parts of a hash")]
        let bucket = |part: u64| {
            let bucket = &index[part as usize & (index.len() - 1)];
            expect_to_write(bucket);
            bucket
        };
        Probe { halves, principal, buckets: [bucket(hash), bucket(hash >> 32)], tag: tag(hash, self.number_bits()) }
    }

    #[allow(clippy::cast_possible_truncation, reason = "at most 31")]
    fn number_bits(&self) -> u32 {
        self.header().number_bits.load(Ordering::Relaxed) as u32
    }

    /// Looks a key up.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "low bits, and a window of 32 bits")]
    pub(super) fn find<'a>(&self, &Probe { halves, principal, buckets, tag }: &Probe<'a>) -> Found<'a> {
        let known = self.header().known.load(Ordering::Relaxed);
        let number_mask = (1 << self.number_bits()) - 1;
        let search = Search { newest: known as u32, span: self.window().min(known) as u32, number_mask, tag };
        let matches = buckets.map(|bucket| search.among(&bucket.slots));
        for (bucket, found) in buckets.iter().zip(matches) {
            let mut tagged = found.tagged;
            while tagged != 0 {
                let word = bucket.slots[tagged.trailing_zeros() as usize].load(Ordering::Relaxed);
                tagged &= tagged - 1;
                // How many keys became known after this one, as far as the bits tell.
                let age = (known as u32).wrapping_sub(word) & number_mask;
                if let Some(found) = self.remembered(known - u64::from(age), halves)
                    && found.principal == principal
                {
                    return Found::Known(found);
                }
            }
        }
        let emptier = usize::from(matches[1].counting.count_ones() < matches[0].counting.count_ones());
        let free = matches[emptier].counting.trailing_ones() as usize;
        buckets[emptier].slots.get(free).map_or(Found::BucketFull, Found::Free)
    }

    fn remembered(&self, number: u64, halves: [u64; 2]) -> Option<Remembered> {
        let words: [u64; WORDS] = std::array::from_fn(|i| self.place(number).words[i].load(Ordering::Relaxed));
        let [low, high, rest @ ..] = words;
        ([low, high] == halves).then(|| Remembered::from_words(rest))
    }

    /// Writes a key and what is remembered of its request where it does not count yet; gives its number for [`Keys::make_known`].
    #[inline]
    pub(super) fn write(&self, probe: &Probe<'_>, remembered: Remembered, slot: &AtomicU32) -> u64 {
        let number = self.header().known.load(Ordering::Relaxed) + 1;
        let [low, high] = probe.halves;
        let [lsn, a, b, c, d, e] = remembered.to_words();
        for (word, value) in self.place(number).words.iter().zip([low, high, lsn, a, b, c, d, e]) {
            word.store(value, Ordering::Relaxed);
        }
        #[allow(clippy::cast_possible_truncation, reason = "its low bits")]
        let low_bits = number as u32 & ((1 << self.number_bits()) - 1);
        slot.store(probe.tag | low_bits, Ordering::Relaxed);
        number
    }

    /// Makes key `number`, which was written before, known as that of operation `lsn`. Can be done again.
    #[inline]
    pub(super) fn make_known(&self, number: u64, lsn: Lsn) {
        self.place(number).words[2].store(lsn.0, Ordering::Relaxed);
        self.header().known.store(number, Ordering::Release);
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "keys_tests.rs"]
mod tests;
