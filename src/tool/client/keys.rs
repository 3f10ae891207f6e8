//! Idempotency keys: 16 bytes that name one intended operation, so that a server does it once however often it is sent.

use std::fmt;
use std::str::FromStr;

use crate::base::limits::KEY_BYTES;
use crate::tool::client::error::ClientError;

/// The name of one intended operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; KEY_BYTES]);

/// Writes 32 hexadecimal digits.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Reads 32 hexadecimal digits.
impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let digits = text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if digits { u128::from_str_radix(text, 16).ok() } else { None };
        number
            .map(|number| Key(number.to_be_bytes()))
            .ok_or_else(|| format!("a key is {} hexadecimal digits", 2 * KEY_BYTES))
    }
}

/// A source of keys: it counts up from a random number of 128 bits. Drawing each key at random would cost a system call for
/// each operation. The streams of one process never overlap, those of two processes practically never.
#[derive(Clone, Debug)]
pub struct KeySource {
    next: u128,
}

impl KeySource {
    /// A source that begins at a random number.
    pub fn random() -> Result<KeySource, ClientError> {
        let mut start = [0; KEY_BYTES];
        getrandom::fill(&mut start).map_err(|error| ClientError::Random(error.into()))?;
        Ok(KeySource { next: u128::from_be_bytes(start) })
    }

    /// The source of one thread, 2^64 keys long; each number has its own.
    pub fn stream(&self, number: u32) -> KeySource {
        KeySource { next: self.next.wrapping_add(u128::from(number) << 64) }
    }

    /// A key that was never given before.
    #[inline]
    pub fn next_key(&mut self) -> Key {
        self.next = self.next.wrapping_add(1);
        Key(self.next.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_is_given_twice() {
        let (one, other) = (KeySource::random().unwrap(), KeySource::random().unwrap());
        let mut seen = HashSet::new();
        for mut keys in [one.stream(0), one.stream(1), other.stream(0)] {
            assert!((0..1000).all(|_| seen.insert(keys.next_key())));
        }
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = KeySource::random().unwrap().next_key();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("00".repeat(16).parse(), Ok(Key([0; 16])));
        for text in ["", "12", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
