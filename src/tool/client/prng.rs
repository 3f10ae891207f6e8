//! The random numbers of the load: cheap, seeded, the same on every machine. Not for secrets.

/// `SplitMix64`: one addition and two multiplications a number, and any seed is a good one.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The stream of numbers of one seed; `stream` tells the threads of one run apart.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Prng {
        let mut mixer = Prng(seed);
        let base = mixer.next_u64();
        let mut prng = Prng(base ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        // Neighbouring streams begin at neighbouring states; one step mixes them.
        prng.0 = prng.next_u64();
        prng
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The upper 32 of 64 random bits.
#[inline]
#[must_use]
pub fn high(bits: u64) -> u32 {
    u32::try_from(bits >> 32).unwrap_or_default()
}

/// The lower 32 of 64 random bits.
#[inline]
#[must_use]
pub fn low(bits: u64) -> u32 {
    high(bits << 32)
}

/// Maps 32 random bits evenly onto `0 .. bound` (0 where `bound` is 0), without a division.
#[inline]
#[must_use]
pub fn scale(bits: u32, bound: u32) -> u32 {
    high(u64::from(bits) * u64::from(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_streams_differ() {
        let take = |seed, stream| {
            let mut prng = Prng::new(seed, stream);
            (0..4).map(|_| prng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn scaled_numbers_fill_their_range_evenly() {
        let mut prng = Prng::new(7, 0);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[scale(low(prng.next_u64()), 10) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
        assert_eq!(scale(u32::MAX, 7), 6);
        assert_eq!((high(0x1_0000_0002), low(0x1_0000_0002)), (1, 2));
    }
}
