//! How much the table holds: a word under the sequencer's lock.

/// Keys, and the blocks that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys.
    pub keys: u32,
    /// Blocks that they and their values take.
    pub blocks: u32,
}

impl Counts {
    /// The word.
    #[must_use]
    pub fn to_word(self) -> u64 {
        u64::from(self.keys) << 32 | u64::from(self.blocks)
    }

    /// The word's meaning.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "cut into its halves")]
    pub fn from_word(word: u64) -> Self {
        Counts { keys: (word >> 32) as u32, blocks: word as u32 }
    }

    /// What it is after a key that took `before` blocks takes `after`; 0 where it is not there. `None` where that cannot be.
    #[must_use]
    pub fn after(self, before: u32, after: u32) -> Option<Self> {
        let keys = self.keys.checked_sub(u32::from(before > 0))?.checked_add(u32::from(after > 0))?;
        Some(Counts { keys, blocks: self.blocks.checked_sub(before)?.checked_add(after)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_changes_and_goes() {
        let counts = Counts { keys: 3, blocks: u32::MAX - 5 };
        assert_eq!(Counts::from_word(counts.to_word()), counts);
        let come = counts.after(0, 5).unwrap();
        assert_eq!(come, Counts { keys: 4, blocks: u32::MAX });
        assert_eq!(come.after(5, 2), Some(Counts { keys: 4, blocks: u32::MAX - 3 }));
        assert_eq!(come.after(5, 0), Some(counts));
        assert_eq!(
            [come.after(0, 1), Counts::default().after(1, 0), Counts { keys: 1, blocks: 1 }.after(2, 0)],
            [None; 3]
        );
    }
}
