//! What the requests behind the next one will touch, read before they are checked, so that it can be prefetched.

use byteorder::{BigEndian, ByteOrder};

use super::frame::{AT_FLAGS, AT_LENGTH, AT_OPCODE, Flags, extras};
use super::opcode::Opcode;
use crate::base::limits::{HEADER_BYTES, KEY_BYTES};
use crate::base::vocab::AccountId;

/// What a request will touch if it is what it looks like. Nothing has been checked: it is good for a hint and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The accounts.
    pub accounts: (AccountId, Option<AccountId>),
    /// The idempotency key.
    pub key: Option<[u8; KEY_BYTES]>,
}

/// The requests in some bytes, beginning with the second: the first is about to be answered anyway.
#[derive(Clone, Debug)]
pub struct LookAhead<'a> {
    rest: &'a [u8],
}

impl<'a> LookAhead<'a> {
    /// Looks at `input`, which begins with a frame.
    #[inline]
    #[must_use]
    pub fn behind_first(input: &'a [u8]) -> Self {
        let mut ahead = LookAhead { rest: input };
        let _first = ahead.cut();
        ahead
    }

    /// What the next request will touch: `None` for one that touches nothing, or is not whole, or cannot be read.
    #[inline]
    pub fn expected(&mut self) -> Option<Expected> {
        let frame = self.cut()?;
        let flags = Flags::from_bits(frame[AT_FLAGS]).filter(|flags| !flags.contains(Flags::XOR))?;
        let (key, _, body) = extras(flags, &frame[HEADER_BYTES..]);
        let account = |at: usize| body.get(at..at + 4).map(|bytes| AccountId(BigEndian::read_u32(bytes)));
        let second = match Opcode::try_from(BigEndian::read_u16(&frame[AT_OPCODE..])).ok()? {
            Opcode::Transfer => account(4),
            Opcode::Deposit | Opcode::Withdraw | Opcode::Balance => None,
            _ => return None,
        };
        Some(Expected { accounts: (account(0)?, second), key: key.copied() })
    }

    /// The next frame by its length; what is left is none once there is no whole one.
    #[inline]
    fn cut(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.first_chunk::<HEADER_BYTES>().map(|head| BigEndian::read_u32(&head[AT_LENGTH..]));
        let length = length.and_then(|length| usize::try_from(length).ok()).filter(|&length| length >= HEADER_BYTES);
        let (frame, rest) = length.and_then(|length| self.rest.split_at_checked(length)).unzip();
        self.rest = rest.unwrap_or_default();
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{Cents, Lsn};
    use crate::service::bank::wire::{Envelope, Request, XorKey};
    use proptest::prelude::*;

    #[test]
    fn it_tells_what_the_requests_behind_the_first_touch() {
        let (one, two, amount) = (AccountId(1), AccountId(2), Cents(5));
        let key = [7; KEY_BYTES];
        let mut bytes = Vec::new();
        Request::Ping.encode(0, None, None, &mut bytes);
        Request::Transfer { from: one, to: two, amount }.encode(1, Some(&key), None, &mut bytes);
        let envelope = Envelope { seq: 2, key: Some(&key), after: Some(Lsn(9)), asks_lsn: true, xor: None };
        Request::Deposit { account: one, amount }.encode_in(&envelope, &mut bytes);
        Request::Balance { account: two }.encode_in(&Envelope { key: None, ..envelope }, &mut bytes);
        Request::Ping.encode(2, None, None, &mut bytes);
        // As long as a key.
        Request::Transfer { from: two, to: one, amount }.encode(2, None, None, &mut bytes);
        Request::Deposit { account: two, amount }.encode(3, None, None, &mut bytes);
        Request::Balance { account: one }.encode(4, None, Some(XorKey::from_bits(9)), &mut bytes);
        Request::Balance { account: one }.encode(5, None, None, &mut bytes);
        bytes.truncate(bytes.len() - 1);
        let mut ahead = LookAhead::behind_first(&bytes);
        assert_eq!(ahead.expected(), Some(Expected { accounts: (one, Some(two)), key: Some(key) }));
        assert_eq!(ahead.expected(), Some(Expected { accounts: (one, None), key: Some(key) }));
        assert_eq!(ahead.expected(), Some(Expected { accounts: (two, None), key: None }));
        assert_eq!(ahead.expected(), None, "PING touches nothing");
        assert_eq!(ahead.expected(), Some(Expected { accounts: (two, Some(one)), key: None }));
        assert_eq!(ahead.expected(), Some(Expected { accounts: (two, None), key: None }));
        assert_eq!(ahead.expected(), None, "it is encrypted");
        assert_eq!(ahead.expected(), None, "it is not whole");
        assert_eq!(ahead.expected(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut ahead = LookAhead::behind_first(&bytes);
            for _ in 0..=400 / HEADER_BYTES {
                let _ = ahead.expected();
            }
            prop_assert!(ahead.rest.is_empty());
        }
    }
}
