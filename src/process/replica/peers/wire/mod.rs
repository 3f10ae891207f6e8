//! Frames between peers: bytes to messages and back, without sockets or state.
//!
//! Everything is little-endian. A frame is a header (`header`), a body, and behind a message with entries their records and the
//! checksum of these, so that whoever sends can compute it while the records go out. A frame is checked whole before any of it is used.
//!
//! ```text
//! at  bytes
//!  0  4   "BVPR"
//!  4  2   version of the protocol, 3
//!  6  1   kind
//!  7  1   zero
//!  8  4   bytes of the body
//! 12  4   records behind the body
//! 16  4   CRC-32 (IEEE) of the body
//! 20  4   CRC-32 of the 20 bytes before
//! 24  …   the body
//!     …   the records, 128 bytes each, and 4 bytes: the CRC-32 of them; nothing where there are none
//! ```
//!
//! A checksum finds damage and no intent: who may speak is settled by the greeting.

mod bytes;
mod error;
mod frame;
mod greeting;
mod header;
mod kind;
mod members;
mod message;
mod snapshot;

pub use error::WireError;
pub use frame::Frame;
pub use greeting::{Found, Greeting, NONCE_BYTES};
pub use header::{HEADER_BYTES, Header, PROTOCOL_VERSION, records_crc};
pub use kind::{FrameKind, PROOF_BYTES};
pub use message::{encode as encode_message, records_of};
pub use snapshot::{SnapshotFrame, SnapshotRefusal};

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(in crate::process::replica::peers) mod samples;
