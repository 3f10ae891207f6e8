//! One operation of the load on its way, and how it may end without a reply.

use crate::service::bank::wire::Request;
use crate::tool::client::keys::Key;

/// An operation that was sent, or should have been, and has no final answer yet.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What to do; never LOGIN or HISTORY.
    pub request: Request<'static>,
    /// When it was first sent, or scheduled to be; nanoseconds since the start.
    pub since: u64,
    /// Its idempotency key; only money operations have one.
    pub key: Option<Key>,
    /// Whether it was sent on a connection that was lost, so that it may have been done.
    pub maybe_done: bool,
}

impl Operation {
    /// Whether it moves money.
    #[inline]
    #[must_use]
    pub fn is_money(&self) -> bool {
        self.request.opcode().is_money()
    }
}

/// Why an operation has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// The connection was silent for too long.
    Timeout,
    /// The connection was lost.
    Lost,
    /// It is a read, and the server could not be reached again to repeat it.
    Abandoned,
}
