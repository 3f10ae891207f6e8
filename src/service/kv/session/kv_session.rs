//! What a worker remembers of a connection of the key-value service.

use crate::base::onc_rpc::record::MARK_BYTES;
use crate::service::connection_state::{Closing, ConnectionState};
use crate::service::kv::wire::WRITE_REPLY_BYTES;
use crate::service::replies::Waits;
use crate::service::sessions::Session;
use crate::store::connection::slot::Framing;

/// A session of the key-value service.
pub type KvSession = Session<KvData>;

/// The service's part of it.
#[derive(Debug)]
pub struct KvData {
    /// What it waits for: replies that are held, and a call that cannot be carried out yet.
    pub waits: Waits,
    /// Unread bytes without which there is no use in looking for a call.
    pub at_least: usize,
    /// Bytes of room without which the next call is not looked at; it was before, and found too little.
    pub room: usize,
    /// The scan that a thread works for. No further call is looked at before it is answered: replies come in the order of the calls.
    pub pending: Option<PendingScan>,
    /// Since when the next call has been there, when it was looked at already; nanoseconds of the monotonic clock.
    pub asked_ns: Option<u64>,
    /// Since when a begun record has been waiting for its end, nanoseconds of the monotonic clock.
    pub partial_since_ns: Option<u64>,
    /// Whether this worker has answered a call of it.
    pub has_called: bool,
}

/// A call that a thread works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingScan {
    /// Its number.
    pub xid: u32,
    /// Bytes that it takes in the receive ring.
    pub bytes: usize,
    /// The thread's work for it, by its number: a connection can come back to a worker whose threads still work for what it asked before.
    pub job: u64,
}

/// That nothing more can be read of a client: it has sent what is no call. Its next worker, should this one die now, must not take what
/// comes behind it for calls.
const UNREADABLE: Framing = Framing { decoder: 0, strikes: 1 };

impl KvData {
    /// The call that was looked at is answered: what was remembered of it does not hold for the next one.
    pub fn end_call(&mut self) {
        self.at_least = MARK_BYTES;
        self.room = WRITE_REPLY_BYTES;
        self.waits.end_request();
        self.has_called = true;
        self.partial_since_ns = None;
    }

    /// Whether the client waits for this server: for the answer to a call, or until what it shows is committed.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.pending.is_some() || self.waits.waits_for().is_some() || self.waits.has_waiting_request()
    }
}

impl KvSession {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(state: ConnectionState, waits: Waits) -> Self {
        let data = KvData {
            waits,
            at_least: MARK_BYTES,
            room: WRITE_REPLY_BYTES,
            pending: None,
            asked_ns: None,
            partial_since_ns: None,
            has_called: false,
        };
        let mut session = Session { state, data };
        if session.state.connection.slot().framing() == UNREADABLE {
            session.state.closing = Closing::AfterSending;
        }
        session
    }

    /// Ends what can be read of the client, which has sent what is no call: what is queued is still sent.
    pub fn end_calls(&mut self) {
        let connection = &mut self.state.connection;
        connection.keep_framing(connection.unread(), UNREADABLE);
        connection.discard_unread();
        self.state.closing = Closing::AfterSending;
    }

    /// Whether calls are looked at now.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.state.closing == Closing::No
            && self.data.pending.is_none()
            && !self.data.waits.stop_requests()
            && self.state.connection.has_room_for_reply(self.data.room)
    }

    /// Whether the socket is asked for bytes now. A client that does not fetch its replies is not read from.
    #[must_use]
    pub fn takes_bytes(&self) -> bool {
        self.state.readable && !self.state.ended && self.takes_calls() && self.state.connection.has_room_for_bytes()
    }
}
