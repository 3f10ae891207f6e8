//! What the words in the header of a segment mean, by which the cache process answers.

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CacheStatus {
    /// It was there, and fresh.
    Hit = 0,
    /// It was fetched for this request.
    Miss = 1,
    /// It was there, and not fresh.
    Stale = 2,
    /// It was there, and the upstream has said that it is still right.
    Revalidated = 3,
    /// It was fetched for another request.
    Coalesced = 4,
}

impl CacheStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [CacheStatus; 5] =
        [CacheStatus::Hit, CacheStatus::Miss, CacheStatus::Stale, CacheStatus::Revalidated, CacheStatus::Coalesced];

    /// What it is called in logs, metrics and tools.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Stale => "stale",
            CacheStatus::Revalidated => "revalidated",
            CacheStatus::Coalesced => "coalesced",
        }
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// The word that goes with the length of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Where they come from.
    pub from: CacheStatus,
    /// Whether they come as a descriptor, and not through the chunks.
    pub by_descriptor: bool,
}

const BY_DESCRIPTOR: u32 = 1 << 8;

impl Detail {
    /// As it stands in the header.
    #[must_use]
    pub fn word(self) -> u32 {
        self.from as u32 | if self.by_descriptor { BY_DESCRIPTOR } else { 0 }
    }

    /// Reads a header's word; `None` where it is none that a cache process writes.
    #[must_use]
    pub fn from_word(word: u32) -> Option<Self> {
        let from = CacheStatus::of(word & !BY_DESCRIPTOR)?;
        Some(Detail { from, by_descriptor: word & BY_DESCRIPTOR != 0 })
    }
}

/// Why there are no contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The cache process could not finish. It is 0, which a writer that is dropped in the middle leaves.
    Unfinished,
    /// There is no such object.
    NotFound(CacheStatus),
    /// The upstream is in error.
    Upstream,
    /// There is no room for the request, or for the object.
    Full,
}

const NOT_FOUND: u32 = 0x10;

impl Refusal {
    /// As it stands in the header.
    #[must_use]
    pub fn word(self) -> u32 {
        match self {
            Refusal::Unfinished => 0,
            Refusal::Upstream => 1,
            Refusal::Full => 2,
            Refusal::NotFound(from) => NOT_FOUND + from as u32,
        }
    }

    /// Reads a header's word. What no cache process writes is [`Refusal::Unfinished`].
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        match word {
            1 => Refusal::Upstream,
            2 => Refusal::Full,
            _ => word.checked_sub(NOT_FOUND).and_then(CacheStatus::of).map_or(Refusal::Unfinished, Refusal::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written_and_others_are_told_apart() {
        for from in CacheStatus::ALL {
            for by_descriptor in [false, true] {
                let detail = Detail { from, by_descriptor };
                assert_eq!(Detail::from_word(detail.word()), Some(detail));
            }
            assert_eq!(Refusal::from_word(Refusal::NotFound(from).word()), Refusal::NotFound(from));
        }
        for refusal in [Refusal::Unfinished, Refusal::Upstream, Refusal::Full] {
            assert_eq!(Refusal::from_word(refusal.word()), refusal);
        }
        for word in [5, 0x200, 0x105, u32::MAX] {
            assert_eq!(Detail::from_word(word), None, "{word:#x}");
        }
        for word in [3, 0xF, 0x15, u32::MAX] {
            assert_eq!(Refusal::from_word(word), Refusal::Unfinished, "{word:#x}");
        }
    }
}
