//! What a worker remembers of one connection of GetFile.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::ipc::net;
use crate::service::connection_state::{Closing, ConnectionState};
use crate::service::getfile::session::asked::{Asked, At};
use crate::service::getfile::session::source::Outcome;
use crate::service::getfile::session::transfer::Transfer;
use crate::service::getfile::wire::response::Response;
use crate::service::outgoing::{Content, Outgoing};
use crate::service::sessions::Session;
use crate::store::cache_channel::CacheStatus;
use crate::store::connection::slot::Framing;

/// A connection of GetFile that this worker serves.
pub type GetFileSession = Session<GetFileData>;

/// What GetFile remembers of a connection.
pub struct GetFileData {
    /// Where the client is.
    pub peer: IpAddr,
    /// What it is at.
    pub stage: Stage,
    /// When this worker got it.
    pub begun_ns: u64,
    /// When its request was whole.
    pub asked_ns: Option<u64>,
    /// How the request begins that is read to its end only because it is too long.
    pub long_line: Vec<u8>,
    /// Where its answer comes from, as the cache process has said.
    pub cache_status: Option<CacheStatus>,
}

/// What a connection is at.
pub enum Stage {
    /// It reads the request.
    Reading,
    /// It throws away a path that is too long, up to the end of the request.
    SkippingPath,
    /// A thread looks for its file.
    AwaitingFile,
    /// A thread has found it.
    Found(Outcome),
    /// The cache process is asked for it.
    Asking(Box<Asked>),
    /// It sends what comes from the cache process. The request stays unread, as in the next.
    Transferring(Box<Transfer>),
    /// It sends the response. The request stays unread until all of that is sent.
    Sending(Box<Sending>),
    /// It waits for room in the access log, for this line.
    AwaitingLog(Vec<u8>),
}

/// A response on its way.
pub struct Sending {
    /// What it says.
    pub response: Response,
    /// Bytes of its head.
    pub head_bytes: usize,
    /// Head and content.
    pub outgoing: Outgoing,
    /// The file.
    pub content: Option<Arc<Content>>,
    /// Whether a thread reads the next part of it.
    pub fetching: bool,
}

/// How far a connection is, where it outlives the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reached {
    /// All that was received is unread.
    Nothing = 0,
    /// A part of a path that is too long was thrown away.
    LongPath = 1,
    /// It has its answer.
    Answer = 2,
}

impl GetFileData {
    /// Whether its request is to be put to the cache process once more when that lives again.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        matches!(&self.stage, Stage::Asking(asked) if matches!(asked.at, At::Rest(_)))
    }
}

impl GetFileSession {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(mut state: ConnectionState, now_ns: u64) -> Self {
        let peer = net::peer_address(state.connection.as_fd());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let reached = state.connection.slot().framing().decoder;
        if reached == Reached::Answer as u32 {
            state.closing = Closing::AfterSending;
        }
        let stage = if reached == Reached::LongPath as u32 { Stage::SkippingPath } else { Stage::Reading };
        let data =
            GetFileData { peer, stage, begun_ns: now_ns, asked_ns: None, long_line: Vec::new(), cache_status: None };
        Session { state, data }
    }

    /// Keeps how far the connection is once the next `consumed` bytes are consumed.
    pub fn keep_reached(&self, consumed: usize, reached: Reached) {
        self.state.connection.keep_framing(consumed, Framing { decoder: reached as u32, strikes: 0 });
    }
}
