//! The XOR body cipher: four bytes repeated. It keeps casual eyes off a body; it is no secrecy at all.

use crate::base::vocab::SessionId;

/// The key of one session, made from the user's name and the session number that LOGIN handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorKey([u8; 4]);

impl XorKey {
    /// The key is the CRC-32 of the user's name followed by the session number, big-endian.
    #[must_use]
    pub fn derive(user: &[u8], session: SessionId) -> XorKey {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(user);
        hasher.update(&session.0.to_be_bytes());
        XorKey(hasher.finalize().to_be_bytes())
    }

    /// Encrypts or decrypts a body in place: applying it twice gives back what was there.
    #[inline]
    pub fn apply(self, body: &mut [u8]) {
        let mut groups = body.chunks_exact_mut(4);
        for group in &mut groups {
            for (byte, key) in group.iter_mut().zip(self.0) {
                *byte ^= key;
            }
        }
        for (byte, key) in groups.into_remainder().iter_mut().zip(self.0) {
            *byte ^= key;
        }
    }

    /// The key as a number, for a place that can hold only that, such as shared memory.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// The key that [`XorKey::to_bits`] gave.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u32) -> XorKey {
        XorKey(bits.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_is_what_the_document_says() {
        let key = XorKey::derive(b"demo", SessionId(7));
        assert_eq!(key.to_bits(), crc32fast::hash(b"demo\x00\x00\x00\x07"));
        let mut body = [0u8; 6];
        key.apply(&mut body);
        assert_eq!(body[..4], key.to_bits().to_be_bytes());
        assert_eq!(body[4..], body[..2]);
    }

    proptest! {
        #[test]
        fn twice_is_nothing(bits: u32, body: Vec<u8>) {
            let key = XorKey::from_bits(bits);
            prop_assert_eq!(key.to_bits(), bits);
            let mut twice = body.clone();
            key.apply(&mut twice);
            key.apply(&mut twice);
            prop_assert_eq!(twice, body);
        }
    }
}
