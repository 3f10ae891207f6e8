//! What a worker remembers of one connection of HTTP.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{MAX_BODY_BYTES, STREAM_INPUT_BYTES};
use crate::ipc::net;
use crate::service::connection_state::Budget;
use crate::service::connection_state::ConnectionState;
use crate::service::http::rules::CacheHandle;
use crate::service::http::session::served_file::{LoadOutcome, ServedFile};
use crate::service::http::wire::{BodyPart, ConnectionField, Status};
use crate::service::outgoing::Outgoing;
use crate::service::sessions::Session;
use crate::store::access_log::Entry;
use crate::store::connection::slot::{Framing, Progress};

/// A connection of HTTP that this worker serves.
pub type HttpSession = Session<HttpData>;

/// What HTTP remembers of a connection.
pub struct HttpData {
    /// Where the client is.
    pub peer: IpAddr,
    /// What it is at.
    pub stage: Stage,
    /// Whether it has had an answer.
    pub has_asked: bool,
    /// What the loader has found for the request that is to be looked at next.
    pub loaded: Option<Arc<LoadOutcome>>,
    /// Since when a begun request has been waiting for its end.
    pub partial_since_ns: Option<u64>,
    /// Since when the request that is to be looked at next has been whole.
    pub asked_ns: Option<u64>,
    /// Memory for the next head.
    pub spare: Vec<u8>,
}

/// What a connection is at.
pub enum Stage {
    /// It reads a head, or waits for one to begin.
    ReadingHead,
    /// The loader looks for the file that it asks for. The request stays unread till then.
    AwaitingFile,
    /// It sends an answer. The request stays unread until all of it is sent.
    Sending(Box<Sending>),
    /// It waits for room in the access log, for this line.
    AwaitingLog {
        /// The line.
        line: Vec<u8>,
        /// What comes then.
        then: Then,
    },
    /// It throws away the body of the last request, of which so many bytes are to come.
    DiscardingBody(u64),
    /// It sends events, one after the other, until the client or the server closes.
    Streaming(Box<Stream>),
}

/// A stream of events.
pub struct Stream {
    /// The request's head, for the log.
    pub head: Vec<u8>,
    /// What was asked.
    pub asked: Asked,
    /// What is to be sent.
    pub text: Vec<u8>,
    /// How much of that is sent.
    pub text_sent: usize,
    /// Bytes that were sent before.
    pub sent: u64,
    /// What its reader may send.
    pub input: Budget,
}

impl Stream {
    /// A stream that begins with `text`, its head.
    #[must_use]
    pub fn new(asked: Asked, head: &[u8], text: Vec<u8>) -> Self {
        let input = Budget::new(STREAM_INPUT_BYTES, u64::MAX);
        Stream { head: head.to_vec(), asked, text, text_sent: 0, sent: 0, input }
    }
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection ends.
    End,
    /// The next request, behind a body of so many bytes.
    Next(u64),
}

/// What is kept of a request while it is answered; parts of it as places in the bytes that are unread.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Bytes that its head takes in the receive ring.
    pub head_bytes: usize,
    /// The request line.
    pub line: Range<usize>,
    /// Who it says it comes from; empty where it does not.
    pub referer: Range<usize>,
    /// What it says it is; empty where it does not.
    pub agent: Range<usize>,
    /// What it is answered with.
    pub status: Status,
    /// What comes after the answer.
    pub then: Then,
    /// What the answer says of the connection, unless it ends.
    pub connection: ConnectionField,
    /// When it was whole.
    pub since_ns: u64,
}

impl Asked {
    /// What is logged of it, once `body_bytes` of the answer's body are sent; `head` is where its parts stand.
    pub fn log_entry<'a>(&self, address: IpAddr, head: &'a [u8], body_bytes: u64, took_ns: u64) -> Entry<'a> {
        let part = |range: &Range<usize>| head.get(range.clone()).filter(|text| !text.is_empty());
        Entry {
            address,
            time: "",
            request: part(&self.line).unwrap_or_default(),
            status: self.status.code(),
            bytes: body_bytes,
            referer: part(&self.referer),
            agent: part(&self.agent),
            duration: Duration::from_nanos(took_ns),
            cache_status: None,
        }
    }
}

/// An answer on its way: text, then bytes of a file, then perhaps more of both.
pub struct Sending {
    /// What was asked.
    pub asked: Asked,
    /// The text and the part of the file that are on their way.
    pub outgoing: Outgoing,
    /// Bytes of the head.
    pub head_bytes: usize,
    /// Where the bytes come from.
    pub source: Source,
    /// What comes behind these.
    pub more: std::vec::IntoIter<BodyPart>,
    /// Whether the loader reads the next part of it.
    pub fetching: bool,
}

/// Where an answer's bytes come from.
pub enum Source {
    /// It has none but its text.
    Nowhere,
    /// From the cache; to be released.
    Cached(CacheHandle),
    /// From a file that is not on the cache.
    Own(Arc<ServedFile>),
}

impl HttpSession {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(state: ConnectionState) -> Self {
        let peer = net::peer_address(state.connection.as_fd());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let slot = state.connection.slot();
        let (body_left, has_asked) = (slot.framing().decoder, slot.progress() != Progress::default());
        let data = HttpData {
            peer,
            stage: if body_left > 0 { Stage::DiscardingBody(body_left.into()) } else { Stage::ReadingHead },
            has_asked,
            loaded: None,
            partial_since_ns: None,
            asked_ns: None,
            spare: Vec::new(),
        };
        Session { state, data }
    }

    /// Keeps, where it outlives this process, how many bytes of a body are to be thrown away once the next `consumed` bytes are
    /// consumed. A successor that took them for a request would answer a request that was never sent.
    pub fn keep_body_left(&self, consumed: usize, left: u64) {
        const { assert!(MAX_BODY_BYTES < 1 << Framing::DECODER_BITS) };
        let framing = Framing { decoder: u32::try_from(left).unwrap_or(u32::MAX), strikes: 0 };
        self.state.connection.keep_framing(consumed, framing);
    }

    /// Has an event sent, if this is a stream; whether it is.
    pub fn push(&mut self, event: &[u8]) -> bool {
        let Stage::Streaming(stream) = &mut self.data.stage else { return false };
        stream.text.drain(..stream.text_sent);
        stream.sent += std::mem::take(&mut stream.text_sent) as u64;
        stream.text.extend_from_slice(event);
        true
    }
}

/// Where `part` of `whole` stands in it.
#[must_use]
pub fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    debug_assert!(start + part.len() <= whole.len());
    start..start + part.len()
}
