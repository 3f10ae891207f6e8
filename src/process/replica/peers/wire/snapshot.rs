//! The frames that carry a snapshot to a peer that is far behind.

use super::bytes::{Reader, check_lsn};
use super::error::WireError;
use super::header::seal;
use super::kind::FrameKind;
use super::members;
use crate::base::limits::MAX_SNAPSHOT_CHUNK_BYTES;
use crate::process::replica::message::SnapshotRef;

/// A piece of a snapshot, or an answer about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFrame {
    /// It begins: what it is, and how many bytes follow. Body: index, term, last LSN, bytes, u64 each; members.
    Begin {
        /// What it is.
        snapshot: SnapshotRef,
        /// How many bytes follow in chunks.
        bytes: u64,
    },
    /// Some of it. Body: offset u64, and the bytes.
    Chunk {
        /// Where they belong, from 0.
        offset: u64,
        /// 1 to [`MAX_SNAPSHOT_CHUNK_BYTES`] of them.
        bytes: Vec<u8>,
    },
    /// That was all. Body: index u64.
    End {
        /// The last entry that it covers.
        index: u64,
    },
    /// It is not wanted; sent by whom it is meant for. Body: index u64, reason u8.
    Refuse {
        /// The last entry that it covers.
        index: u64,
        /// Why.
        why: SnapshotRefusal,
    },
}

/// Why a snapshot is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SnapshotRefusal {
    /// The receiver has all of it.
    Old = 1,
    /// It has no room, or its disk fails.
    Room = 2,
    /// What came is damaged, or not in order.
    Damaged = 3,
    /// It takes another one in.
    Busy = 4,
}

impl SnapshotRefusal {
    fn from_code(code: u8) -> Option<Self> {
        use SnapshotRefusal as Why;
        [Why::Old, Why::Room, Why::Damaged, Why::Busy].into_iter().find(|why| *why as u8 == code)
    }
}

impl SnapshotFrame {
    /// Its frame.
    ///
    /// # Errors
    /// A chunk that is empty or too long, an LSN or members that cannot be.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut body = Vec::new();
        let kind = match self {
            SnapshotFrame::Begin { snapshot, bytes } => {
                put_snapshot(&mut body, snapshot, Some(*bytes))?;
                FrameKind::SnapshotBegin
            }
            SnapshotFrame::Chunk { offset, bytes } => {
                check_chunk(*offset, bytes)?;
                body.extend_from_slice(&offset.to_le_bytes());
                body.extend_from_slice(bytes);
                FrameKind::SnapshotChunk
            }
            SnapshotFrame::End { index } => {
                body.extend_from_slice(&index.to_le_bytes());
                FrameKind::SnapshotEnd
            }
            SnapshotFrame::Refuse { index, why } => {
                body.extend_from_slice(&index.to_le_bytes());
                body.push(*why as u8);
                FrameKind::SnapshotRefuse
            }
        };
        seal(kind, &body, 0)
    }

    pub(super) fn decode_begin(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let (index, term, last, bytes) = (body.u64()?, body.u64()?, body.lsn()?, body.u64()?);
        let membership = members::membership(&mut body)?;
        body.end()?;
        Ok(SnapshotFrame::Begin { snapshot: SnapshotRef { index, term, last, membership }, bytes })
    }

    pub(super) fn decode_chunk(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let (offset, bytes) = (body.u64()?, body.rest());
        check_chunk(offset, bytes)?;
        Ok(SnapshotFrame::Chunk { offset, bytes: bytes.to_vec() })
    }

    pub(super) fn decode_end(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let index = body.u64()?;
        body.end()?;
        Ok(SnapshotFrame::End { index })
    }

    pub(super) fn decode_refuse(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let (index, code) = (body.u64()?, body.u8()?);
        body.end()?;
        let why = SnapshotRefusal::from_code(code).ok_or(WireError::Reason(code))?;
        Ok(SnapshotFrame::Refuse { index, why })
    }
}

fn check_chunk(offset: u64, bytes: &[u8]) -> Result<(), WireError> {
    let fits = (1..=MAX_SNAPSHOT_CHUNK_BYTES).contains(&bytes.len());
    if fits && offset.checked_add(bytes.len() as u64).is_some() { Ok(()) } else { Err(WireError::Chunk) }
}

/// A snapshot as it stands in a message, or, with its length, where it begins.
pub(super) fn put_snapshot(into: &mut Vec<u8>, snapshot: &SnapshotRef, bytes: Option<u64>) -> Result<(), WireError> {
    check_lsn(snapshot.last)?;
    into.extend_from_slice(&snapshot.index.to_le_bytes());
    into.extend_from_slice(&snapshot.term.to_le_bytes());
    into.extend_from_slice(&snapshot.last.0.to_le_bytes());
    if let Some(bytes) = bytes {
        into.extend_from_slice(&bytes.to_le_bytes());
    }
    members::put_membership(into, &snapshot.membership)
}

pub(super) fn snapshot(body: &mut Reader<'_>) -> Result<SnapshotRef, WireError> {
    let (index, term, last) = (body.u64()?, body.u64()?, body.lsn()?);
    Ok(SnapshotRef { index, term, last, membership: members::membership(body)? })
}
