//! What the calls behind the next one will touch, read before they are checked, so that it can be prefetched.

use super::procedure::KvProcedure;
use super::request::RequestId;
use crate::base::limits::{KEY_BYTES, MAX_KV_KEY_BYTES};
use crate::base::onc_rpc::record::{LAST, MARK_BYTES};

/// Where a call's procedure stands, and its credentials, behind the mark.
const AT_PROCEDURE: usize = 20;
const AT_CREDENTIALS: usize = 24;

/// What a call will touch if it is what it looks like. Nothing has been checked: it is good for a hint and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The request id of a write that has one.
    pub request_id: Option<RequestId>,
}

/// The calls in some bytes, beginning with the second: the first is about to be answered anyway.
#[derive(Clone, Debug)]
pub struct LookAhead<'a> {
    rest: &'a [u8],
}

impl<'a> LookAhead<'a> {
    /// Looks at `input`, which begins with a record.
    #[inline]
    #[must_use]
    pub fn behind_first(input: &'a [u8]) -> Self {
        let mut ahead = LookAhead { rest: input };
        let _first = ahead.cut();
        ahead
    }

    /// What the next call will touch: `None` for one that touches nothing, or is not whole, or cannot be read.
    #[inline]
    pub fn expected(&mut self) -> Option<Expected<'a>> {
        let call = self.cut()?;
        let number = |at: usize| call.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let opaque_end = |at: usize| Some((at + 4).saturating_add(number(at)? as usize).next_multiple_of(4));
        // Credentials and verifier are a flavor and an opaque each.
        let arguments = opaque_end(opaque_end(AT_CREDENTIALS + 4)? + 4)?;
        let (at, request_id) = match KvProcedure::of(number(AT_PROCEDURE)?)? {
            KvProcedure::Get => (arguments, None),
            KvProcedure::Put | KvProcedure::Delete => {
                let id = *call.get(arguments..)?.first_chunk::<KEY_BYTES>()?;
                (arguments + KEY_BYTES, Some(id).filter(|id| *id != RequestId::default()))
            }
            KvProcedure::Null | KvProcedure::Scan | KvProcedure::Status => return None,
        };
        let length = (number(at)? as usize).min(MAX_KV_KEY_BYTES);
        Some(Expected { key: call.get(at + 4..at + 4 + length)?, request_id })
    }

    /// The next record of one fragment, by its length; what is left is none once there is no whole one.
    #[inline]
    fn cut(&mut self) -> Option<&'a [u8]> {
        let mark = self.rest.first_chunk().map(|mark| u32::from_be_bytes(*mark)).filter(|mark| mark & LAST != 0);
        let record = mark.and_then(|mark| self.rest.split_at_checked(MARK_BYTES + (mark & !LAST) as usize));
        let (record, rest) = record.unzip();
        self.rest = rest.unwrap_or_default();
        record.map(|record| &record[MARK_BYTES..])
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{KvRequest, RequestId};
    use super::*;
    use crate::base::onc_rpc::Credentials;
    use proptest::prelude::*;

    #[test]
    fn it_tells_what_the_calls_behind_the_first_touch() {
        for credentials in [Credentials::None, samples::me()] {
            let mut bytes = Vec::new();
            let requests = samples::requests();
            KvRequest::Null.write_call(0, credentials, &mut bytes);
            requests.iter().for_each(|(_, request)| request.write_call(1, credentials, &mut bytes));
            bytes.extend_from_slice(&(LAST | 40).to_be_bytes());
            bytes.extend_from_slice(&[0; 39]);
            let mut ahead = LookAhead::behind_first(&bytes);
            for (name, request) in requests {
                let expected: Option<(&[u8], Option<RequestId>)> = match request {
                    KvRequest::Get { key, .. } => Some((key, None)),
                    KvRequest::Put { request_id, key, .. } | KvRequest::Delete { request_id, key, .. } => {
                        Some((key, request_id))
                    }
                    KvRequest::Null | KvRequest::Scan { .. } | KvRequest::Status => None,
                };
                let expected = expected.map(|(key, request_id)| Expected { key, request_id });
                assert_eq!(ahead.expected(), expected, "{name}");
            }
            assert_eq!(ahead.expected(), None, "it is not whole");
            assert!(ahead.rest.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end(bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(128), any::<u8>()], 0..400)) {
            let mut ahead = LookAhead::behind_first(&bytes);
            for _ in 0..=400 / MARK_BYTES {
                let _ = ahead.expected();
            }
            prop_assert!(ahead.rest.is_empty());
        }
    }
}
