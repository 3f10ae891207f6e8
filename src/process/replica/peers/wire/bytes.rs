//! Numbers and texts of a body, read one after the other.

use super::error::WireError;
use crate::base::limits::{MAX_LSN, MAX_PEER_ADDRESS_BYTES};
use crate::base::vocab::Lsn;
use crate::store::cluster::{NodeId, ReplicaId};

/// What is left of a body.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Reader(body)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, WireError> {
        let lsn = self.u64()?;
        check_lsn(Lsn(lsn)).map(|()| Lsn(lsn))
    }

    pub(super) fn node(&mut self) -> Result<NodeId, WireError> {
        NodeId::new(self.u64()?).ok_or(WireError::Node)
    }

    pub(super) fn replica(&mut self) -> Result<ReplicaId, WireError> {
        let number = self.u8()?;
        ReplicaId::new(number).ok_or(WireError::Replica(number))
    }

    /// A length in one byte, and so many characters.
    pub(super) fn address(&mut self) -> Result<String, WireError> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        let text = std::str::from_utf8(text).map_err(|_| WireError::Address)?;
        check_address(text)?;
        self.0 = rest;
        Ok(text.to_owned())
    }

    /// An address where there `is_one`, else a length of 0.
    pub(super) fn address_if(&mut self, is_one: bool) -> Result<String, WireError> {
        if is_one {
            return self.address();
        }
        if self.u8()? == 0 { Ok(String::new()) } else { Err(WireError::Address) }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }
}

/// An address is shown in logs and answers, so it is printable.
pub(super) fn check_address(text: &str) -> Result<(), WireError> {
    let is_one = (1..=MAX_PEER_ADDRESS_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(()) } else { Err(WireError::Address) }
}

pub(super) fn check_lsn(lsn: Lsn) -> Result<(), WireError> {
    if (1..=MAX_LSN).contains(&lsn.0) { Ok(()) } else { Err(WireError::Lsn(lsn.0)) }
}

/// Writes an address as [`Reader::address`] reads it.
pub(super) fn put_address(into: &mut Vec<u8>, text: &str) -> Result<(), WireError> {
    check_address(text)?;
    into.push(u8::try_from(text.len()).map_err(|_| WireError::Address)?);
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes an address as [`Reader::address_if`] reads it.
pub(super) fn put_address_if(is_one: bool, into: &mut Vec<u8>, text: &str) -> Result<(), WireError> {
    if is_one {
        return put_address(into, text);
    }
    into.push(0);
    if text.is_empty() { Ok(()) } else { Err(WireError::Address) }
}
