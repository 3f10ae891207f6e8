//! Looks for a number among the words of a shared bucket, several words at a time.

use crate::ipc::cells::{AtomicU32, Ordering};

/// What is looked for. A word holds a tag in its high bits and the low bits of a number that counts up; zero is an empty word.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The low bits of the newest number.
    pub newest: u32,
    /// How many numbers, up to the newest, count; less than 2³¹.
    pub span: u32,
    /// The bits of a word that hold the number; fewer than 32.
    pub number_mask: u32,
    /// The tag, at its place in a word.
    pub tag: u32,
}

/// Which words were found: bit `i` stands for word `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches {
    /// Words whose number counts.
    pub counting: u32,
    /// Words among these that have the tag.
    pub tagged: u32,
}

impl Search {
    /// Looks through `words`, each of which is read once.
    #[inline]
    #[must_use]
    pub fn among<const N: usize>(&self, words: &[AtomicU32; N]) -> Matches {
        const { assert!(N <= 32, "one bit for each word") };
        #[cfg(all(target_arch = "x86_64", not(feature = "model")))]
        if let (fours, []) = words.as_chunks::<4>() {
            // SAFETY: every processor of this architecture has SSE2.
            return unsafe { self.among_fours(fours) };
        }
        self.one_by_one(words)
    }

    fn one_by_one(&self, words: &[AtomicU32]) -> Matches {
        let mut found = Matches { counting: 0, tagged: 0 };
        for (i, word) in words.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            let counts = word != 0 && self.newest.wrapping_sub(word) & self.number_mask < self.span;
            found.counting |= u32::from(counts) << i;
            found.tagged |= u32::from(counts && word & !self.number_mask == self.tag) << i;
        }
        found
    }

    #[cfg(all(target_arch = "x86_64", not(feature = "model")))]
    #[target_feature(enable = "sse2")]
    #[inline]
    fn among_fours(&self, fours: &[[AtomicU32; 4]]) -> Matches {
        use std::arch::x86_64::{
            _mm_and_si128, _mm_andnot_si128, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_cmpgt_epi32, _mm_movemask_ps,
            _mm_set1_epi32, _mm_setzero_si128, _mm_sub_epi32,
        };
        let all = |word: u32| _mm_set1_epi32(word.cast_signed());
        let [newest, span, number_mask, tag] = [self.newest, self.span, self.number_mask, self.tag].map(all);
        let mut found = Matches { counting: 0, tagged: 0 };
        for (i, four) in fours.iter().enumerate() {
            let word = load_four(four);
            // Both sides are below 2³¹, so comparing them as signed numbers is right.
            let age = _mm_and_si128(_mm_sub_epi32(newest, word), number_mask);
            let empty = _mm_cmpeq_epi32(word, _mm_setzero_si128());
            let counting = _mm_andnot_si128(empty, _mm_cmpgt_epi32(span, age));
            let tagged = _mm_and_si128(counting, _mm_cmpeq_epi32(_mm_andnot_si128(number_mask, word), tag));
            let [counting, tagged] =
                [counting, tagged].map(|lanes| _mm_movemask_ps(_mm_castsi128_ps(lanes)).cast_unsigned());
            found.counting |= counting << (4 * i);
            found.tagged |= tagged << (4 * i);
        }
        found
    }
}

/// Four relaxed loads in one instruction. It is an assembly instruction because the language has no atomic load of this width, and
/// its plain loads must not meet another process's store.
#[cfg(all(target_arch = "x86_64", not(feature = "model")))]
#[inline]
fn load_four(words: &[AtomicU32; 4]) -> std::arch::x86_64::__m128i {
    let four;
    // SAFETY: reads the sixteen bytes of the reference; the processor never tears an aligned word of four bytes.
    unsafe {
        std::arch::asm!("movdqu {}, [{}]", out(xmm_reg) four, in(reg) words.as_ptr(),
            options(nostack, preserves_flags, readonly));
    }
    four
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn finds_the_numbers_that_count_and_those_with_the_tag() {
        let search = Search { newest: 0x10_0005, span: 8, number_mask: 0x00ff_ffff, tag: 0x0300_0000 };
        let words = [
            0,                         // empty
            0x0310_0005,               // the newest
            0x030f_fffe,               // the oldest that counts
            0x030f_fffd,               // one too old
            0x0310_0006,               // one that is yet to come
            0x0410_0005,               // another tag
            0x0010_0005,               // no tag
            0x0300_0000 | 0x00ff_fff0, // looks as old as can be
        ]
        .map(AtomicU32::new);
        let found = search.among(&words);
        assert_eq!(found, Matches { counting: 0b0110_0110, tagged: 0b0000_0110 });
    }

    #[test]
    fn many_at_a_time_and_one_by_one_find_the_same() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::SmallRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let bits = random.random_range(1..31);
            let number_mask = (1u32 << bits) - 1;
            let tag = random.random_range(0..4u32) << bits;
            let newest = random.random::<u32>();
            let span = random.random_range(0..=number_mask);
            let words: [AtomicU32; 16] = std::array::from_fn(|_| {
                let number = newest.wrapping_sub(random.random_range(0..=span.saturating_add(2))) & number_mask;
                let tag = if random.random() { tag } else { random.random_range(0..4u32) << bits };
                AtomicU32::new(if random.random_ratio(1, 4) { 0 } else { tag | number })
            });
            let search = Search { newest, span, number_mask, tag };
            assert_eq!(search.among(&words), search.one_by_one(&words), "{search:?} {words:?}");
        }
    }
}
