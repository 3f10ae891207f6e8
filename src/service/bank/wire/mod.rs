//! The wire protocol: bytes to messages and back. Pure: no socket, no clock, no allocation on the way in.
//!
//! A reader feeds a [`Decoder`] with the bytes of its stream and gets [`Step`]s: frames, or errors to answer. A frame's
//! body is decrypted with an [`XorKey`] if its flag says so, and becomes a [`Request`] or a [`Response`]. The other way,
//! both encode themselves into a buffer. `docs/PROTOCOL.md` describes the same for writers of other clients.

mod cipher;
mod cluster;
mod codes;
mod decoder;
mod frame;
mod look_ahead;
mod message;
mod opcode;
mod request;
mod response;
mod statement;
mod status;

pub use cipher::XorKey;
pub use cluster::{Cluster, ClusterMember};
pub use decoder::{Decoder, Step};
pub use frame::{Flags, Frame, Header, MAGIC, VERSION, checksum};
pub use look_ahead::{Expected, LookAhead};
pub use message::BodyError;
pub use opcode::{Opcode, UnknownOpcode};
pub use request::{Envelope, Request};
pub use response::{Response, Totals};
pub use statement::{Entry, Movement, Next, Statement};
pub use status::{Status, UnknownStatus};
