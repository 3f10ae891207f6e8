//! The kinds of frames, and how long each can be.

use crate::base::limits::{MAX_ENTRY_RECORDS, MAX_GREETING_BYTES, MAX_MESSAGE_BYTES, MAX_SNAPSHOT_CHUNK_BYTES};

/// Bytes of a proof, an HMAC-SHA256.
pub const PROOF_BYTES: usize = 32;
/// Bytes of a body that holds members and little else, at most.
const MAX_SMALL_BYTES: usize = 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// What a peer says of itself.
    Greeting = 1,
    /// The proof that it knows the secret.
    Proof = 2,
    /// Which cluster the receiver is a member of.
    Found = 3,
    /// A raft message.
    Message = 4,
    /// A snapshot begins.
    SnapshotBegin = 5,
    /// Some of it.
    SnapshotChunk = 6,
    /// That was all.
    SnapshotEnd = 7,
    /// It is not wanted.
    SnapshotRefuse = 8,
}

impl FrameKind {
    pub(super) fn from_code(code: u8) -> Option<Self> {
        use FrameKind as Kind;
        let all = [
            Kind::Greeting,
            Kind::Proof,
            Kind::Found,
            Kind::Message,
            Kind::SnapshotBegin,
            Kind::SnapshotChunk,
            Kind::SnapshotEnd,
            Kind::SnapshotRefuse,
        ];
        all.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Bytes that a body of this kind has at most.
    pub(super) fn longest_body(self) -> usize {
        match self {
            FrameKind::Greeting => MAX_GREETING_BYTES,
            FrameKind::Proof => PROOF_BYTES,
            FrameKind::Message => MAX_MESSAGE_BYTES,
            FrameKind::SnapshotChunk => 8 + MAX_SNAPSHOT_CHUNK_BYTES,
            FrameKind::Found | FrameKind::SnapshotBegin | FrameKind::SnapshotEnd | FrameKind::SnapshotRefuse => {
                MAX_SMALL_BYTES
            }
        }
    }

    /// Records that a frame of this kind has at most.
    pub(super) fn most_records(self) -> u64 {
        if self == FrameKind::Message { MAX_ENTRY_RECORDS } else { 0 }
    }
}
