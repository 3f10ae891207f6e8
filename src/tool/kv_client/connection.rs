//! A connection to one server: one call at a time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::base::limits::{MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES};
use crate::base::onc_rpc::{AuthSys, Credentials, Fault, RecordLimits, RecordStep, Reply, XdrError, next_record};
use crate::base::vocab::Lsn;
use crate::service::kv::wire::{KvProcedure, KvRefusal, KvReply, KvRequest};

const LIMITS: RecordLimits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, as nothing was asked.
    Null,
    /// The value of a key.
    Found { version: Lsn, value: Vec<u8> },
    /// A write was done.
    Written { version: Lsn },
    /// A write was not done, for its condition.
    Mismatch { current: Lsn },
    /// Keys.
    Page { entries: Vec<Entry>, more: bool },
    /// What the server is.
    Node(Node),
    /// It was not done.
    Refused(KvRefusal),
}

/// A key of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub version: Lsn,
    pub value_bytes: u32,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub primary: bool,
    pub primary_address: String,
    pub term: u64,
    pub committed: Lsn,
    pub applied: Lsn,
    pub keys: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection is of no use any more. Whether the request was carried out is not known.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// What came is no answer.
    #[error("its answer is none: {0}")]
    Malformed(String),
    /// It does not carry out such calls.
    #[error("it refuses the call: {0}")]
    Fault(Fault),
}

impl From<XdrError> for AskError {
    fn from(error: XdrError) -> Self {
        AskError::Malformed(error.to_string())
    }
}

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    xid: u32,
}

impl Connection {
    /// Connects to the first of the addresses of `address`, HOST:PORT, that takes a connection.
    ///
    /// # Errors
    /// What the last of them said.
    pub fn open(address: &str, deadline: Instant) -> io::Result<Connection> {
        let mut refusal = io::Error::from(io::ErrorKind::NotFound);
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Connection { stream, xid: std::process::id() });
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Asks, and waits for the answer until `deadline`. After an error the connection is of no use.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&mut self, request: &KvRequest<'_>, deadline: Instant) -> Result<Answer, AskError> {
        self.xid = self.xid.wrapping_add(1);
        let machine = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let me = AuthSys { machine_name: machine.trim_ascii(), uid, gid, ..AuthSys::default() };
        let mut record = Vec::new();
        request.write_call(self.xid, Credentials::Sys(me), &mut record);
        self.stream.set_write_timeout(Some(left(deadline)?))?;
        self.stream.write_all(&record)?;
        let (mut unread, mut gathered, mut room) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
        loop {
            match next_record(&unread, LIMITS, &mut gathered) {
                RecordStep::Complete { payload, .. } => {
                    let reply = Reply::read(payload)?;
                    if reply.xid != self.xid {
                        return Err(AskError::Malformed("it answers another call".to_owned()));
                    }
                    let results = reply.results.map_err(AskError::Fault)?;
                    return answer(request.procedure(), results);
                }
                RecordStep::Fatal(fault) => return Err(AskError::Malformed(fault.to_string())),
                RecordStep::NeedMore { .. } => {
                    self.stream.set_read_timeout(Some(left(deadline)?))?;
                    match self.stream.read(&mut room)? {
                        0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                        count => unread.extend_from_slice(&room[..count]),
                    }
                }
            }
        }
    }
}

fn answer(procedure: KvProcedure, results: &[u8]) -> Result<Answer, AskError> {
    Ok(match KvReply::read(procedure, results)? {
        KvReply::Null => Answer::Null,
        KvReply::Found { version, value } => Answer::Found { version, value: value.to_vec() },
        KvReply::Written { version } => Answer::Written { version },
        KvReply::Mismatch { current } => Answer::Mismatch { current },
        KvReply::Page(page) => {
            let entry = |entry: crate::service::kv::wire::ScanEntry<'_>| Entry {
                key: entry.key.to_vec(),
                version: entry.version,
                value_bytes: entry.value_bytes,
            };
            Answer::Page { entries: page.entries().map(entry).collect(), more: page.more }
        }
        KvReply::Node(node) => Answer::Node(Node {
            primary: node.primary,
            primary_address: node.primary_address.to_owned(),
            term: node.term,
            committed: node.committed,
            applied: node.applied,
            keys: node.keys,
        }),
        KvReply::Refused(refusal) => Answer::Refused(refusal),
    })
}

/// The time until `deadline`.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
