//! XDR's primitives (RFC 4506): numbers are big-endian, everything takes a multiple of four bytes, and what fills it up is zero.

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// They go on behind what they are to hold.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// More bytes or elements than there may be.
    #[error("a length of {length}, and {most} is the most")]
    TooLong {
        /// What is claimed.
        length: u32,
        /// What is allowed.
        most: usize,
    },
    /// What fills an opaque up to a multiple of four bytes is not zero.
    #[error("padding that is not zero")]
    Padding,
    /// A boolean that is neither 0 nor 1.
    #[error("{0} is neither false nor true")]
    Boolean(u32),
    /// A number that no value of an enumeration, and no arm of a union, has.
    #[error("{value} is no {what}")]
    Unknown {
        /// The enumeration.
        what: &'static str,
        /// The number.
        value: u32,
    },
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    Text,
}

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(XdrError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// An unsigned integer, or an enumeration's number.
    ///
    /// # Errors
    /// [`XdrError::Short`].
    #[inline]
    pub fn u32(&mut self) -> Result<u32, XdrError> {
        self.array().map(u32::from_be_bytes)
    }

    /// An unsigned hyper integer.
    ///
    /// # Errors
    /// [`XdrError::Short`].
    #[inline]
    pub fn u64(&mut self) -> Result<u64, XdrError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`XdrError::Short`], [`XdrError::Boolean`].
    pub fn boolean(&mut self) -> Result<bool, XdrError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrError::Boolean(other)),
        }
    }

    /// An opaque of fixed length.
    ///
    /// # Errors
    /// [`XdrError::Short`], [`XdrError::Padding`].
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        let bytes = self.array()?;
        self.padding(N)?;
        Ok(bytes)
    }

    /// A length, which is `most` at most.
    ///
    /// # Errors
    /// [`XdrError::Short`], [`XdrError::TooLong`].
    #[inline]
    pub fn length(&mut self, most: usize) -> Result<usize, XdrError> {
        let length = self.u32()?;
        let within = usize::try_from(length).ok().filter(|length| *length <= most);
        within.ok_or(XdrError::TooLong { length, most })
    }

    /// An opaque of variable length, of `most` bytes at most.
    ///
    /// # Errors
    /// [`XdrError::Short`], [`XdrError::TooLong`], [`XdrError::Padding`].
    #[inline]
    pub fn opaque(&mut self, most: usize) -> Result<&'a [u8], XdrError> {
        let length = self.length(most)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(XdrError::Short)?;
        self.0 = rest;
        self.padding(length)?;
        Ok(bytes)
    }

    /// A string of `most` bytes at most. XDR's are ASCII; UTF-8 is allowed.
    ///
    /// # Errors
    /// As those of [`Reader::opaque`], and [`XdrError::Text`].
    pub fn string(&mut self, most: usize) -> Result<&'a str, XdrError> {
        std::str::from_utf8(self.opaque(most)?).map_err(|_| XdrError::Text)
    }

    /// What fills `length` bytes up.
    #[inline]
    fn padding(&mut self, length: usize) -> Result<(), XdrError> {
        let (zeros, rest) = self.0.split_at_checked(padding_of(length)).ok_or(XdrError::Short)?;
        self.0 = rest;
        if zeros.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(XdrError::Padding) }
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`XdrError::Trailing`].
    pub fn end(self) -> Result<(), XdrError> {
        if self.0.is_empty() { Ok(()) } else { Err(XdrError::Trailing(self.0.len())) }
    }
}

/// Bytes that fill `length` bytes up to a multiple of four.
#[must_use]
pub const fn padding_of(length: usize) -> usize {
    length.wrapping_neg() % 4
}

/// Bytes that an opaque of `length` bytes takes: its length, its bytes, and what fills them up.
#[must_use]
pub const fn opaque_bytes(length: usize) -> usize {
    4 + length + padding_of(length)
}

/// Where bytes are written to.
pub trait Sink {
    /// Bytes that were put so far, those included for which there was no room.
    fn len(&self) -> usize;

    /// Whether nothing was put yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Overwrites four bytes that were put before, from place `at` on.
    fn amend(&mut self, at: usize, number: u32);

    /// Takes back all bytes from place `length` on.
    fn shorten(&mut self, length: usize);

    /// Puts an unsigned integer, or an enumeration's number.
    #[inline]
    fn put_u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    /// Puts an unsigned hyper integer.
    #[inline]
    fn put_u64(&mut self, number: u64) {
        self.put(&number.to_be_bytes());
    }

    /// Puts a boolean.
    fn put_boolean(&mut self, is_true: bool) {
        self.put_u32(u32::from(is_true));
    }

    /// Puts an opaque of fixed length.
    #[inline]
    fn put_fixed(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.put(&[0; 3][..padding_of(bytes.len())]);
    }

    /// Puts an opaque of variable length, or a string. It is the caller's to keep its bound: what is beyond 32 bits is cut.
    #[inline]
    fn put_opaque(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put_u32(length);
        self.put_fixed(&bytes[..bytes.len().min(length as usize)]);
    }
}

impl Sink for Vec<u8> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn amend(&mut self, at: usize, number: u32) {
        if let Some(place) = self.get_mut(at..at + 4) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    fn shorten(&mut self, length: usize) {
        self.truncate(length);
    }
}

/// Memory of the caller that is written to from its beginning. What does not fit is counted and not written.
#[derive(Debug)]
pub struct Room<'a> {
    bytes: &'a mut [u8],
    put: usize,
}

impl<'a> Room<'a> {
    /// Writes to `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Room { bytes, put: 0 }
    }

    /// What was written.
    ///
    /// # Errors
    /// How many bytes there would have had to be.
    pub fn written(self) -> Result<&'a mut [u8], usize> {
        let put = self.put;
        self.bytes.get_mut(..put).ok_or(put)
    }
}

impl Sink for Room<'_> {
    fn len(&self) -> usize {
        self.put
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.put.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(self.put..end) {
            place.copy_from_slice(bytes);
        }
        self.put = end;
    }

    fn amend(&mut self, at: usize, number: u32) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    fn shorten(&mut self, length: usize) {
        self.put = self.put.min(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_too_small_says_how_much_it_should_be() {
        let mut bytes = [7; 11];
        let mut room = Room::new(&mut bytes);
        assert!(room.is_empty());
        room.put_opaque(b"abcde");
        assert_eq!(room.len(), 12);
        assert_eq!(room.written(), Err(12));
        let mut bytes = [7; 13];
        let mut room = Room::new(&mut bytes);
        room.put_opaque(b"abcde");
        room.put_boolean(true);
        room.shorten(12);
        room.amend(0, 6);
        // Nothing is behind what was written.
        room.amend(10, 9);
        assert_eq!(room.written().unwrap(), b"\0\0\0\x06abcde\0\0\0");
        assert_eq!(bytes[12], 7);
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_looked_at() {
        let claims = u32::MAX.to_be_bytes();
        assert_eq!(Reader::new(&claims).opaque(8), Err(XdrError::TooLong { length: u32::MAX, most: 8 }));
        assert_eq!(Reader::new(&claims).opaque(usize::MAX), Err(XdrError::Short));
        assert_eq!(Reader::new(b"\0\0\0\x01a\0\0").opaque(1), Err(XdrError::Short));
        assert_eq!(Reader::new(b"\0\0\0\x01a\0\x01\0").opaque(1), Err(XdrError::Padding));
        assert_eq!(Reader::new(b"\0\0\0\x01\xFF\0\0\0").string(1), Err(XdrError::Text));
        assert_eq!(Reader::new(b"\0\0\0\x01a\0\0\0").string(1), Ok("a"));
        assert_eq!(Reader::new(b"ab\0\x02").fixed::<2>(), Err(XdrError::Padding));
        assert_eq!(Reader::new(b"ab\0\0").fixed::<2>(), Ok(*b"ab"));
        assert_eq!(Reader::new(&[0, 0, 0, 2]).boolean(), Err(XdrError::Boolean(2)));
        assert_eq!((opaque_bytes(0), opaque_bytes(1), opaque_bytes(4), opaque_bytes(5)), (4, 8, 8, 12));
        let mut reader = Reader::new(b"\0\0\0\x01abc");
        assert_eq!((reader.u32(), reader.end(), reader.rest()), (Ok(1), Err(XdrError::Trailing(3)), b"abc".as_slice()));
    }
}
