//! A connection of the bank with all that its worker remembers about it.

use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use crate::base::limits::{MAX_REPLY_BYTES, MAX_STRIKES};
use crate::base::vocab::Lsn;
use crate::service::bank::login::Session;
use crate::service::bank::session::held::Held;
use crate::service::bank::wire::{Decoder, XorKey};
use crate::service::visit::{Parting, Visit};
use crate::store::connection::slot::Framing;

/// A request that the pool is at work for. Until it is answered no further one of this connection is looked at: replies come
/// in the order of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Bytes that the request takes in the receive ring.
    pub bytes: usize,
    /// Its sequence number.
    pub seq: u32,
    /// Its opcode.
    pub opcode: u16,
    /// The key of its body, and so of the answer's, if it was XORed.
    pub xor: Option<XorKey>,
}

/// A request that was looked at and could not be carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Bytes that its reply may take.
    pub room: usize,
    /// The operation that had to become durable; 0 where there was no room for the reply.
    pub lsn: Lsn,
}

/// A connection of the bank that this worker serves.
pub struct Guest {
    visit: Visit,
    /// After LOGIN.
    pub session: Option<Session>,
    /// The state of framing.
    pub decoder: Decoder,
    /// Bad frames so far.
    pub strikes: u8,
    /// LOGINs of it that failed.
    pub failed_logins: u8,
    /// Replies that are not to be seen yet.
    pub held: Held,
    /// Set when a request could not be carried out yet: it is looked at again once this operation is durable.
    pub blocked: Option<Lsn>,
    /// What is known of the next request, when it was looked at already.
    pub postponed: Option<Postponed>,
    /// Whether it stands in the line of those that wait for the journal.
    pub in_line: bool,
    /// The request that the pool works for.
    pub pending: Option<Pending>,
    /// Since when the next request has been there, when it was looked at already.
    pub asked_ns: Option<u64>,
    /// Since when a begun frame has been waiting for its end.
    pub partial_since_ns: Option<u64>,
    /// The limit on its requests.
    pub allowance: Option<Allowance>,
}

/// A guest is a visit, and more.
impl Deref for Guest {
    type Target = Visit;

    #[inline]
    fn deref(&self) -> &Visit {
        &self.visit
    }
}

impl DerefMut for Guest {
    #[inline]
    fn deref_mut(&mut self) -> &mut Visit {
        &mut self.visit
    }
}

/// A bucket that fills with one token per request that is allowed, up to one second's worth.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    per_second: u32,
    /// In billionths of a token.
    tokens: u64,
    filled_ns: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl Allowance {
    /// A full bucket for `per_second` requests.
    #[must_use]
    pub fn new(per_second: NonZeroU32, now_ns: u64) -> Self {
        let per_second = per_second.get();
        Allowance { per_second, tokens: u64::from(per_second) * TOKEN, filled_ns: now_ns }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let rate = u64::from(self.per_second);
        let passed = now_ns.saturating_sub(self.filled_ns).min(TOKEN);
        self.filled_ns = now_ns;
        self.tokens = (self.tokens + passed * rate).min(rate * TOKEN);
        let granted = self.tokens >= TOKEN;
        if granted {
            self.tokens -= TOKEN;
        }
        granted
    }
}

impl Guest {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(mut visit: Visit, limit: Option<NonZeroU32>) -> Self {
        let framing = visit.connection.slot().framing();
        if framing.strikes >= MAX_STRIKES {
            visit.parting = Parting::AfterSending;
        }
        Guest {
            session: Session::kept(visit.connection.slot()),
            held: Held::none(visit.connection.sent()),
            blocked: None,
            postponed: None,
            in_line: false,
            decoder: Decoder::from_bits(framing.decoder),
            strikes: framing.strikes,
            failed_logins: 0,
            pending: None,
            asked_ns: None,
            partial_since_ns: None,
            allowance: limit.map(|limit| Allowance::new(limit, visit.active_ns)),
            visit,
        }
    }

    /// What is remembered of every connection; the rest is forgotten.
    #[must_use]
    pub fn into_visit(self) -> Visit {
        self.visit
    }

    /// Keeps the state of framing that holds once the next `bytes` bytes are consumed, where it outlives this process.
    pub fn keep_framing(&self, bytes: usize) {
        let framing = Framing { decoder: self.decoder.to_bits(), strikes: self.strikes };
        self.connection.keep_framing(bytes, framing);
    }

    /// Whether requests are looked at now.
    #[inline]
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.parting == Parting::No
            && self.pending.is_none()
            && self.blocked.is_none()
            && self.connection.has_room_for_reply(self.postponed.map_or(MAX_REPLY_BYTES, |postponed| postponed.room))
    }

    /// The operation that must become durable before this connection gets on.
    #[inline]
    #[must_use]
    pub fn waits_for(&self) -> Option<Lsn> {
        self.held.waits_for().or(self.blocked)
    }

    /// Whether the socket is asked for bytes now. A client that does not fetch its replies is not read from.
    #[inline]
    #[must_use]
    pub fn takes_bytes(&self) -> bool {
        self.readable && !self.ended && self.takes_requests() && self.connection.has_room_for_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_rate_with_a_burst_of_one_second() {
        let mut allowance = Allowance::new(NonZeroU32::new(2).unwrap(), 0);
        assert!(allowance.take(0) && allowance.take(0) && !allowance.take(0));
        assert!(!allowance.take(TOKEN / 4));
        assert!(allowance.take(TOKEN / 2) && !allowance.take(TOKEN / 2));
        assert!(allowance.take(100 * TOKEN) && allowance.take(100 * TOKEN) && !allowance.take(100 * TOKEN));
    }
}
