//! ONC RPC version 2 (RFC 5531) over byte streams, and XDR (RFC 4506): bytes to messages and back, without sockets or state.
//!
//! A stream is a sequence of records ([`record`]), each of which is a call ([`call`]) or a reply ([`reply`]). Who serves reads calls and
//! writes replies, who asks writes calls and reads replies. What is read is borrowed from the record: nothing is allocated, so no length
//! that a peer claims can cost memory. What is written goes to a [`Sink`]: a `Vec`, or [`Room`], which is memory of the caller.
//!
//! The crate `onc-rpc` 0.3 is not used: of a call that it refuses it tells no xid, without which RPC_MISMATCH and AUTH_ERROR cannot be
//! answered; it knows one fragment only, takes credentials of 200 bytes where the RFC allows 400, ignores what padding holds, and panics
//! where too much is to be written.

pub mod auth;
pub mod call;
pub mod record;
pub mod reply;
pub mod xdr;

pub use auth::{AuthStat, AuthSys, Credentials, Gids, OpaqueAuth};
pub use call::{Call, CallFault};
pub use record::{RecordFault, RecordLimits, RecordStep, next_record};
pub use reply::{Fault, Reply, write_refusal, write_success};
pub use xdr::{Reader, Room, Sink, XdrError};

/// The one version of the protocol.
pub const RPC_VERSION: u32 = 2;

#[cfg(test)]
pub(crate) mod golden_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod round_trip_tests;
