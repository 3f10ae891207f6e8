//! A frame of any kind.

use super::error::WireError;
use super::greeting::{self, Found, Greeting};
use super::header::Header;
use super::kind::{FrameKind, PROOF_BYTES};
use super::message;
use super::snapshot::SnapshotFrame;
use crate::process::replica::message::Message;
use crate::store::journal::record::RecordBytes;

/// A frame that was checked whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What a peer says of itself.
    Greeting(Greeting),
    /// The proof that it knows the secret.
    Proof([u8; PROOF_BYTES]),
    /// Which cluster the receiver is a member of.
    Found(Found),
    /// A raft message, and the records of its entries.
    Message(Message, Vec<RecordBytes>),
    /// A piece of a snapshot, or an answer about one.
    Snapshot(SnapshotFrame),
}

impl Frame {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        match self {
            Frame::Greeting(_) => FrameKind::Greeting,
            Frame::Proof(_) => FrameKind::Proof,
            Frame::Found(_) => FrameKind::Found,
            Frame::Message(..) => FrameKind::Message,
            Frame::Snapshot(SnapshotFrame::Begin { .. }) => FrameKind::SnapshotBegin,
            Frame::Snapshot(SnapshotFrame::Chunk { .. }) => FrameKind::SnapshotChunk,
            Frame::Snapshot(SnapshotFrame::End { .. }) => FrameKind::SnapshotEnd,
            Frame::Snapshot(SnapshotFrame::Refuse { .. }) => FrameKind::SnapshotRefuse,
        }
    }

    /// Reads a frame whose header has been read: `bytes` begin with that, and are [`frame_bytes`](Header::frame_bytes) or more.
    ///
    /// # Errors
    /// It is shorter, damaged, or says what cannot be.
    pub fn decode(header: &Header, bytes: &[u8]) -> Result<Frame, WireError> {
        let (body, records) = header.parts(bytes)?;
        match header.kind {
            FrameKind::Greeting => Greeting::decode(body).map(Frame::Greeting),
            FrameKind::Proof => greeting::decode_proof(body).map(Frame::Proof),
            FrameKind::Found => Found::decode(body).map(Frame::Found),
            FrameKind::Message => {
                message::decode(body, records).map(|message| Frame::Message(message, records.to_vec()))
            }
            FrameKind::SnapshotBegin => SnapshotFrame::decode_begin(body).map(Frame::Snapshot),
            FrameKind::SnapshotChunk => SnapshotFrame::decode_chunk(body).map(Frame::Snapshot),
            FrameKind::SnapshotEnd => SnapshotFrame::decode_end(body).map(Frame::Snapshot),
            FrameKind::SnapshotRefuse => SnapshotFrame::decode_refuse(body).map(Frame::Snapshot),
        }
    }

    /// Its bytes, records included.
    ///
    /// # Errors
    /// Something in it is beyond its bound.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        match self {
            Frame::Greeting(greeting) => greeting.encode(),
            Frame::Proof(proof) => greeting::encode_proof(proof),
            Frame::Found(found) => found.encode(),
            Frame::Snapshot(frame) => frame.encode(),
            Frame::Message(message, records) => {
                let mut bytes = message::encode(message)?;
                let start = bytes.len();
                bytes.extend(records.iter().flatten());
                if !records.is_empty() {
                    let crc = super::records_crc(&bytes[start..]);
                    bytes.extend_from_slice(&crc);
                }
                Ok(bytes)
            }
        }
    }
}
