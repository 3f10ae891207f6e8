//! Bytes of a content that passes through: those that some reader still needs.

use std::collections::VecDeque;
use std::io;

/// A window.
pub struct Window {
    /// Bytes that were there before the first one.
    base: u64,
    bytes: VecDeque<u8>,
}

impl Window {
    /// One with room for so many bytes.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let mut window = Window { base: 0, bytes: VecDeque::new() };
        window.reserve(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(window)
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes.try_reserve(bytes).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Appends bytes. That they are not more than there is room for is up to who takes no more of the fetch.
    ///
    /// # Errors
    /// There is no memory.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve(bytes.len())?;
        self.bytes.extend(bytes);
        Ok(())
    }

    /// Forgets what lies before this place.
    pub fn trim(&mut self, before: u64) {
        let count = usize::try_from(before.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..count);
        self.base += count as u64;
    }

    /// What there is from this place on, up to where it is not contiguous in memory. `None` where that was forgotten.
    pub fn from(&self, position: u64) -> Option<&[u8]> {
        let skip = usize::try_from(position.checked_sub(self.base)?).unwrap_or(usize::MAX);
        let (first, second) = self.bytes.as_slices();
        Some(first.get(skip..).filter(|rest| !rest.is_empty()).unwrap_or_else(|| {
            let skip = skip.saturating_sub(first.len()).min(second.len());
            &second[skip..]
        }))
    }
}
