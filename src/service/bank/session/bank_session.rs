//! What a worker remembers of one connection of the bank.

use std::num::NonZeroU32;

use crate::base::limits::{MAX_REPLY_BYTES, MAX_STRIKES};
use crate::base::vocab::Lsn;
use crate::service::bank::session::login::Login;
use crate::service::bank::session::rate_limit::TokenBucket;
use crate::service::bank::wire::{Decoder, XorKey};
use crate::service::connection_state::{Closing, ConnectionState};
use crate::service::replies::{Blocked, Waits};
use crate::service::sessions::Session;
use crate::store::connection::slot::Framing;

/// What a reply needs of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Bytes that the request takes in the receive ring.
    pub bytes: usize,
    /// Its sequence number.
    pub seq: u32,
    /// Its opcode.
    pub opcode: u16,
    /// The key of its body, and so of the answer's, if it was XORed.
    pub xor: Option<XorKey>,
    /// Whether the answer is to carry an LSN.
    pub wants_lsn: bool,
}

/// A request that the threads work for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What its reply needs.
    pub asked: Asked,
    /// What its answer is as of, where that was known when the threads got it.
    pub as_of: Lsn,
}

/// A request that was looked at and could not be carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Bytes that its reply may take.
    pub room: usize,
    /// What it waits for beside room for its reply.
    pub blocked: Option<Blocked>,
}

/// A connection of the bank that this worker serves.
pub type BankSession = Session<BankData>;

/// What the bank remembers of a connection.
pub struct BankData {
    /// After LOGIN.
    pub login: Option<Login>,
    /// The state of framing.
    pub decoder: Decoder,
    /// Bad frames so far.
    pub strikes: u8,
    /// LOGINs of it that failed.
    pub failed_logins: u8,
    /// What it waits for: replies that are held, and a request that cannot be carried out yet.
    pub waits: Waits,
    /// What is known of the next request, when it was looked at already.
    pub postponed: Option<Postponed>,
    /// The request that the threads work for. No further one is looked at before it is answered: replies come in the order of the
    /// requests.
    pub pending: Option<Pending>,
    /// Since when the next request has been there, when it was looked at already.
    pub asked_ns: Option<u64>,
    /// Since when a begun frame has been waiting for its end.
    pub partial_since_ns: Option<u64>,
    /// The limit on its requests.
    pub rate_limit: Option<TokenBucket>,
}

impl BankSession {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(mut state: ConnectionState, limit: Option<NonZeroU32>, waits: Waits) -> Self {
        let framing = state.connection.slot().framing();
        if framing.strikes >= MAX_STRIKES {
            state.closing = Closing::AfterSending;
        }
        let data = BankData {
            login: Login::kept(state.connection.slot()),
            waits,
            postponed: None,
            decoder: Decoder::from_bits(framing.decoder),
            strikes: framing.strikes,
            failed_logins: 0,
            pending: None,
            asked_ns: None,
            partial_since_ns: None,
            rate_limit: limit.map(|limit| TokenBucket::new(limit, state.active_ns)),
        };
        Session { state, data }
    }

    /// Keeps the state of framing that holds once the next `bytes` bytes are consumed, where it outlives this process.
    pub fn keep_framing(&self, bytes: usize) {
        let framing = Framing { decoder: self.data.decoder.to_bits(), strikes: self.data.strikes };
        self.state.connection.keep_framing(bytes, framing);
    }

    /// Whether it has not logged in, and does not wait to be.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.data.login.is_none() && self.data.pending.is_none()
    }

    /// Whether requests are looked at now.
    #[inline]
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.state.closing == Closing::No
            && self.data.pending.is_none()
            && !self.data.waits.stop_requests()
            && self
                .state
                .connection
                .has_room_for_reply(self.data.postponed.map_or(MAX_REPLY_BYTES, |postponed| postponed.room))
    }

    /// Whether the socket is asked for bytes now. A client that does not fetch its replies is not read from.
    #[inline]
    #[must_use]
    pub fn takes_bytes(&self) -> bool {
        self.state.readable && !self.state.ended && self.takes_requests() && self.state.connection.has_room_for_bytes()
    }
}
