//! The key-value service's protocol: calls and replies of ONC RPC to requests and results and back, as `docs/kv.x` has it.
//!
//! A server reads a [`KvRequest`] of a call, and writes a [`KvReply`] or, key by key, a page of a scan ([`write_page`]). A client writes
//! the one and reads the other. Nothing is judged here but the form: an empty key is a request like others.

mod look_ahead;
mod procedure;
mod reply;
mod request;
mod status;
mod written;

pub use look_ahead::{Expected, LookAhead};
pub use procedure::{KV_PROGRAM, KV_VERSION, KvProcedure};
pub use reply::{
    KvReply, MAX_GET_REPLY_BYTES, MAX_KV_REPLY_BYTES, MAX_SCAN_REPLY_BYTES, NodeStatus, ScanEntry, ScanPage, write_page,
};
pub use request::{KvRequest, MAX_KV_CALL_BYTES, RequestId};
pub use status::{KvRefusal, KvStatus};
pub use written::{WRITE_REPLY_BYTES, Written, put_version};

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
pub(super) mod samples;
