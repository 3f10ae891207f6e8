//! The records that a cluster writes into its log beside operations. What they mean, raft knows; the journal keeps them.

use byteorder::{ByteOrder, LittleEndian};

use super::error::RecordError;
use super::layout::{
    AT_ACCOUNTS, AT_KIND, AT_LSN, AT_PRINCIPAL, AT_SYNCED, AT_TIME, AT_VERDICT, RECORD_BYTES, RecordBytes, lsn_of,
};
use crate::base::vocab::Lsn;

/// The number on disk of the beginning of a term. The numbers before it are left to kinds of operations.
pub(super) const TERM: u8 = 16;
/// The number on disk of a membership.
pub(super) const MEMBERSHIP: u8 = 17;
/// Bytes of a membership at most: the places of accounts, amount, balances, links and key.
pub const MAX_PAYLOAD_BYTES: usize = AT_SYNCED - AT_ACCOUNTS;

const _: () = assert!(MAX_PAYLOAD_BYTES == 64, "as documented");

/// The first entry of a raft term: whoever leads in it has taken over. Its number and index are those of its [`Place`](super::Place).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRecord {
    /// Its place in the order of all operations; never 0.
    pub lsn: Lsn,
    /// When it was written, nanoseconds since 1970.
    pub time_ns: u64,
}

impl TermRecord {
    /// The record's bytes, which must be [stamped](super::stamp) as the end of an entry, and [sealed](super::seal).
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        head(self.lsn, self.time_ns, TERM)
    }

    pub(super) fn decode(bytes: &RecordBytes) -> Result<Self, RecordError> {
        check_zeros(bytes, AT_VERDICT..AT_VERDICT + 1)?;
        check_zeros(bytes, AT_PRINCIPAL..AT_SYNCED)?;
        Ok(TermRecord { lsn: lsn_of(bytes), time_ns: LittleEndian::read_u64(&bytes[AT_TIME..]) })
    }
}

/// Bytes that mean something to others: 1 to [`MAX_PAYLOAD_BYTES`] of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: [u8; MAX_PAYLOAD_BYTES],
    length: usize,
}

impl Payload {
    /// These bytes; `None` where there are none, or more than there is room for.
    #[must_use]
    pub fn new(payload: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_PAYLOAD_BYTES];
        bytes.get_mut(..payload.len()).filter(|place| !place.is_empty())?.copy_from_slice(payload);
        Some(Payload { bytes, length: payload.len() })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A change of who is a member, in a form that the journal does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipRecord {
    /// Its place in the order of all operations; never 0.
    pub lsn: Lsn,
    /// When it was written, nanoseconds since 1970.
    pub time_ns: u64,
    /// The change.
    pub payload: Payload,
}

impl MembershipRecord {
    /// The record's bytes, which must be [stamped](super::stamp) as the end of an entry, and [sealed](super::seal).
    #[must_use]
    pub fn encode(&self) -> RecordBytes {
        let mut bytes = head(self.lsn, self.time_ns, MEMBERSHIP);
        let length = u32::try_from(self.payload.length).unwrap_or(u32::MAX);
        LittleEndian::write_u32(&mut bytes[AT_PRINCIPAL..], length);
        bytes[AT_ACCOUNTS..AT_SYNCED].copy_from_slice(&self.payload.bytes);
        bytes
    }

    pub(super) fn decode(bytes: &RecordBytes) -> Result<Self, RecordError> {
        check_zeros(bytes, AT_VERDICT..AT_VERDICT + 1)?;
        let length = LittleEndian::read_u32(&bytes[AT_PRINCIPAL..]);
        let wrong = RecordError::Payload(length);
        let end =
            usize::try_from(length).ok().filter(|&length| length <= MAX_PAYLOAD_BYTES).ok_or_else(|| wrong.clone())?;
        let payload = Payload::new(&bytes[AT_ACCOUNTS..AT_ACCOUNTS + end]).ok_or(wrong)?;
        check_zeros(bytes, AT_ACCOUNTS + end..AT_SYNCED)?;
        Ok(MembershipRecord { lsn: lsn_of(bytes), time_ns: LittleEndian::read_u64(&bytes[AT_TIME..]), payload })
    }
}

fn head(lsn: Lsn, time_ns: u64, kind: u8) -> RecordBytes {
    let mut bytes = [0; RECORD_BYTES];
    LittleEndian::write_u64(&mut bytes[AT_LSN..], lsn.0);
    LittleEndian::write_u64(&mut bytes[AT_TIME..], time_ns);
    bytes[AT_KIND] = kind;
    bytes
}

fn check_zeros(bytes: &RecordBytes, range: std::ops::Range<usize>) -> Result<(), RecordError> {
    if bytes[range].iter().all(|&byte| byte == 0) { Ok(()) } else { Err(RecordError::Reserved) }
}
