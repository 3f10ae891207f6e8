//! Raft messages in frames.
//!
//! Body: kind u8, flags u8 (1 refused, 2 a snapshot follows), how many entries u16, four bytes of zero; from, to, term, log term, index,
//! commit, commit term, reject hint, request for a snapshot, priority (i64), context, 8 bytes each. Then for each entry index, term, first and
//! last LSN, 8 bytes each, and kind u8 (1 operations, 2 a term's first, 3 a change of membership, which follows). Then the snapshot, if
//! there is one.

use super::bytes::{Reader, check_lsn};
use super::error::WireError;
use super::header::seal;
use super::kind::FrameKind;
use super::{members, snapshot};
use crate::base::limits::MAX_MESSAGE_ENTRIES;
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::store::journal::record::{RecordBytes, lsn_of};

const REFUSED: u8 = 1;
const WITH_SNAPSHOT: u8 = 2;

const OPERATIONS: u8 = 1;
const TERM: u8 = 2;
const CHANGE: u8 = 3;

/// How many records the entries of a message have; `u64::MAX` where an entry's range cannot be.
#[must_use]
pub fn records_of(message: &Message) -> u64 {
    let of =
        |entry: &EntryRange| entry.last.0.checked_sub(entry.first.0).map_or(u64::MAX, |more| more.saturating_add(1));
    message.entries.iter().map(of).fold(0, u64::saturating_add)
}

/// The header and body of a message's frame. The records of its entries, [`records_of`] them, and their
/// [`checksum`](super::records_crc) are to follow, where there are any.
///
/// # Errors
/// Something in the message is beyond its bound, or it could not be decoded again.
pub fn encode(message: &Message) -> Result<Vec<u8>, WireError> {
    check(message)?;
    let count = u16::try_from(message.entries.len()).map_err(|_| WireError::Entries(message.entries.len()))?;
    let mut body = Vec::with_capacity(96 + 33 * message.entries.len());
    let flags = if message.reject { REFUSED } else { 0 } | if message.snapshot.is_some() { WITH_SNAPSHOT } else { 0 };
    body.extend_from_slice(&[message.kind as u8, flags]);
    body.extend_from_slice(&count.to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    for number in [
        message.from.number(),
        message.to.number(),
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&message.priority.to_le_bytes());
    body.extend_from_slice(&message.context.to_le_bytes());
    for entry in &message.entries {
        for number in [entry.index, entry.term, entry.first.0, entry.last.0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        match &entry.kind {
            EntryKind::Operations => body.push(OPERATIONS),
            EntryKind::Term => body.push(TERM),
            EntryKind::Change(change) => {
                body.push(CHANGE);
                members::put_change(&mut body, change)?;
            }
        }
    }
    if let Some(taken) = &message.snapshot {
        snapshot::put_snapshot(&mut body, taken, None)?;
    }
    seal(FrameKind::Message, &body, records_of(message))
}

pub(super) fn decode(body: &[u8], records: &[RecordBytes]) -> Result<Message, WireError> {
    let mut body = Reader::new(body);
    let code = body.u8()?;
    let kind = message_kind(code).ok_or(WireError::MessageKind(code))?;
    let flags = body.u8()?;
    if flags & !(REFUSED | WITH_SNAPSHOT) != 0 {
        return Err(WireError::Flags(flags));
    }
    let count = usize::from(body.u16()?);
    if count > MAX_MESSAGE_ENTRIES {
        return Err(WireError::Entries(count));
    }
    if body.u32()? != 0 {
        return Err(WireError::Reserved);
    }
    // The fields are read in the order in which they stand here.
    let mut message = Message {
        kind,
        from: body.node()?,
        to: body.node()?,
        term: body.u64()?,
        log_term: body.u64()?,
        index: body.u64()?,
        commit: body.u64()?,
        commit_term: body.u64()?,
        reject: flags & REFUSED != 0,
        reject_hint: body.u64()?,
        request_snapshot: body.u64()?,
        priority: body.i64()?,
        context: body.u64()?,
        entries: Vec::new(),
        snapshot: None,
    };
    message.entries = (0..count).map(|_| entry(&mut body)).collect::<Result<_, _>>()?;
    if flags & WITH_SNAPSHOT != 0 {
        message.snapshot = Some(snapshot::snapshot(&mut body)?);
    }
    body.end()?;
    check(&message)?;
    check_records(&message, records)?;
    Ok(message)
}

fn entry(body: &mut Reader<'_>) -> Result<EntryRange, WireError> {
    let (index, term, first, last) = (body.u64()?, body.u64()?, body.lsn()?, body.lsn()?);
    let kind = match body.u8()? {
        OPERATIONS => EntryKind::Operations,
        TERM => EntryKind::Term,
        CHANGE => EntryKind::Change(members::change(body)?),
        other => return Err(WireError::EntryKind(other)),
    };
    Ok(EntryRange { index, term, first, last, kind })
}

/// What must hold of a message besides the bounds of its fields.
fn check(message: &Message) -> Result<(), WireError> {
    let count = message.entries.len();
    if count > MAX_MESSAGE_ENTRIES || (count > 0 && message.kind != MessageKind::Append) {
        return Err(WireError::Entries(count));
    }
    if message.snapshot.is_some() != (message.kind == MessageKind::Snapshot) {
        return Err(WireError::Snapshot);
    }
    let (mut index, mut term, mut last) = (message.index, message.log_term, None);
    for entry in &message.entries {
        check_lsn(entry.first)?;
        check_lsn(entry.last)?;
        if entry.first > entry.last {
            return Err(WireError::Backwards { index: entry.index });
        }
        if Some(entry.index) != index.checked_add(1) || last.is_some_and(|last: u64| last + 1 != entry.first.0) {
            return Err(WireError::Gap { index: entry.index });
        }
        if entry.term < term || entry.term > message.term {
            return Err(WireError::EntryTerm { index: entry.index });
        }
        if matches!(entry.kind, EntryKind::Change(_)) && entry.first != entry.last {
            return Err(WireError::ChangeRecords { index: entry.index });
        }
        (index, term, last) = (entry.index, entry.term, Some(entry.last.0));
    }
    Ok(())
}

fn check_records(message: &Message, records: &[RecordBytes]) -> Result<(), WireError> {
    let (wanted, found) = (records_of(message), records.len() as u64);
    if wanted != found {
        return Err(WireError::RecordCount { records: found, entries: wanted });
    }
    let first = message.entries.first().map_or(0, |entry| entry.first.0);
    for (wanted, record) in (first..).zip(records) {
        let found = lsn_of(record).0;
        if found != wanted {
            return Err(WireError::RecordLsn { found, wanted });
        }
    }
    Ok(())
}

fn message_kind(code: u8) -> Option<MessageKind> {
    use MessageKind as Kind;
    let all = [
        Kind::Append,
        Kind::AppendResponse,
        Kind::RequestPreVote,
        Kind::RequestPreVoteResponse,
        Kind::RequestVote,
        Kind::RequestVoteResponse,
        Kind::Heartbeat,
        Kind::HeartbeatResponse,
        Kind::Snapshot,
        Kind::TimeoutNow,
        Kind::TransferLeader,
        Kind::ReadIndex,
        Kind::ReadIndexResponse,
    ];
    all.into_iter().find(|kind| *kind as u8 == code)
}
