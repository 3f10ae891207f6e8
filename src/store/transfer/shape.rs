//! How many segments a pool has, how large they are, and what fits into one.

use crate::base::limits::{MAX_TRANSFER_SEGMENT_BYTES, MAX_TRANSFER_SEGMENTS, MIN_TRANSFER_SEGMENT_BYTES};

/// Chunks of a segment: while one is sent, the other is filled.
pub const CHUNKS: usize = 2;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 256;
/// Segments begin at a cache line, whatever their size.
const LINE: usize = 64;
/// Chunks have a length that can be copied in words.
const WORD: usize = 8;

/// The shape of a pool, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    segments: usize,
    segment_bytes: usize,
}

/// Why there can be no pool of such a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Too small for a header and two chunks worth it, or too large.
    #[error(
        "a segment of {0} bytes is not possible: from {MIN_TRANSFER_SEGMENT_BYTES}, of which the header takes {HEADER_BYTES}, to \
         {MAX_TRANSFER_SEGMENT_BYTES}"
    )]
    Bytes(usize),
    /// None, or too many.
    #[error("a pool of {0} segments is not possible: from 1 to {MAX_TRANSFER_SEGMENTS}")]
    Segments(usize),
}

impl Shape {
    /// A pool of so many segments of so many bytes, header included.
    ///
    /// # Errors
    /// One of the numbers is out of its range.
    pub fn new(segments: usize, segment_bytes: usize) -> Result<Self, ShapeError> {
        if !(1..=MAX_TRANSFER_SEGMENTS).contains(&segments) {
            return Err(ShapeError::Segments(segments));
        }
        if !(MIN_TRANSFER_SEGMENT_BYTES..=MAX_TRANSFER_SEGMENT_BYTES).contains(&segment_bytes) {
            return Err(ShapeError::Bytes(segment_bytes));
        }
        Ok(Shape { segments, segment_bytes })
    }

    /// Segments of the pool.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Bytes of a segment, header included.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Bytes that fit into one chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        (self.segment_bytes - HEADER_BYTES) / CHUNKS / WORD * WORD
    }

    /// Bytes from the beginning of one segment to that of the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.segment_bytes.next_multiple_of(LINE)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments * self.stride()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        assert_eq!(
            Shape::new(16, 823).unwrap_err().to_string(),
            "a segment of 823 bytes is not possible: from 824, of which the header takes 256, to 67108864"
        );
        assert_eq!(Shape::new(0, 824).unwrap_err().to_string(), "a pool of 0 segments is not possible: from 1 to 1024");
        for (segments, bytes) in [(1025, 824), (1, 0), (1, (64 << 20) + 1)] {
            assert!(Shape::new(segments, bytes).is_err());
        }
        for (bytes, chunk) in [(824, 280), (1024, 384), (65_536, 32_640), (1 << 20, 524_160)] {
            let shape = Shape::new(3, bytes).unwrap();
            assert_eq!(shape.chunk_bytes(), chunk);
            assert!(
                HEADER_BYTES + CHUNKS * chunk <= bytes && shape.stride() >= bytes && shape.stride().is_multiple_of(64)
            );
        }
    }
}
