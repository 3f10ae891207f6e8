//! A blocking client of the key-value service for system tests. It sends what it is told, and checks that answers come in the order of the
//! calls.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bank_vault::base::onc_rpc::record::{RecordLimits, RecordStep, next_record};
use bank_vault::base::onc_rpc::{Credentials, Fault, Reply};
use bank_vault::base::vocab::{Condition, Lsn};
use bank_vault::service::kv::wire::{KvProcedure, KvRefusal, KvReply, KvRequest, MAX_KV_REPLY_BYTES, RequestId};

use crate::server::{Server, unused_port};

/// No answer takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a server may answer: one fragment, as long as its longest reply.
const LIMITS: RecordLimits = RecordLimits { bytes: MAX_KV_REPLY_BYTES, fragments: 1 };

/// A key of a page: the key, its version, and the length of its value.
pub type Entry = (Vec<u8>, u64, u32);

/// What a server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To KV_NULL.
    Null,
    /// The version and the value of a key.
    Found(u64, Vec<u8>),
    /// A write was done, and made this version.
    Written(u64),
    /// A write was not done, since the key has this version.
    Mismatch(u64),
    /// A page of a scan, and whether there are more keys behind it.
    Page(Vec<Entry>, bool),
    /// What the server says of itself.
    Node(Node),
    /// It was not done.
    Refused(KvRefusal),
    /// It was no call that the server carries out.
    Fault(Fault),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // As in `NodeStatus`.
pub struct Node {
    pub primary: bool,
    pub primary_address: String,
    pub term: u64,
    pub committed: u64,
    pub applied: u64,
    pub keys: u64,
}

impl Answer {
    fn of(reply: &KvReply<'_>) -> Answer {
        match *reply {
            KvReply::Null => Answer::Null,
            KvReply::Found { version, value } => Answer::Found(version.0, value.to_vec()),
            KvReply::Written { version } => Answer::Written(version.0),
            KvReply::Mismatch { current } => Answer::Mismatch(current.0),
            KvReply::Page(page) => {
                let entries = page.entries().map(|entry| (entry.key.to_vec(), entry.version.0, entry.value_bytes));
                Answer::Page(entries.collect(), page.more)
            }
            KvReply::Node(node) => Answer::Node(Node {
                primary: node.primary,
                primary_address: node.primary_address.to_owned(),
                term: node.term,
                committed: node.committed.0,
                applied: node.applied.0,
                keys: node.keys,
            }),
            KvReply::Refused(refusal) => Answer::Refused(refusal),
        }
    }

    /// The version that a write has made.
    ///
    /// # Panics
    /// It is another answer.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Answer::Written(version) => *version,
            other => panic!("{other:?}"),
        }
    }
}

/// A connection to a server.
pub struct Kv {
    /// The socket, for tests that send what no client should.
    pub stream: TcpStream,
    /// Who it says that it is.
    pub credentials: Credentials<'static>,
    /// The number of the next call.
    pub next_xid: u32,
    /// The calls that are not answered yet.
    asked: VecDeque<(u32, KvProcedure)>,
    unread: Vec<u8>,
}

impl Kv {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Kv {
        Kv::try_connect(address).unwrap()
    }

    /// Connects, to a server that may be gone.
    pub fn try_connect(address: SocketAddr) -> io::Result<Kv> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Kv::over)
    }

    /// Speaks over this connection.
    pub fn over(stream: TcpStream) -> Kv {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (credentials, asked, unread) = (Credentials::None, VecDeque::new(), Vec::new());
        Kv { stream, credentials, next_xid: 1, asked, unread }
    }

    /// Notes a call whose answer is to come, and gives its record.
    pub fn record(&mut self, request: &KvRequest<'_>) -> Vec<u8> {
        let mut record = Vec::new();
        request.write_call(self.next_xid, self.credentials, &mut record);
        self.expect(request.procedure());
        record
    }

    /// Notes that a call of the number [`Kv::next_xid`] is sent by other means.
    pub fn expect(&mut self, procedure: KvProcedure) {
        self.asked.push_back((self.next_xid, procedure));
        self.next_xid = self.next_xid.wrapping_add(1);
    }

    /// Sends a call.
    pub fn send(&mut self, request: &KvRequest<'_>) -> io::Result<()> {
        let record = self.record(request);
        self.stream.write_all(&record)
    }

    /// Sends these calls at once.
    pub fn send_all(&mut self, requests: &[KvRequest<'_>]) -> io::Result<()> {
        let records: Vec<u8> = requests.iter().flat_map(|request| self.record(request)).collect();
        self.stream.write_all(&records)
    }

    /// Sends bytes that need not be a call.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the answer to the first call that has none yet.
    ///
    /// # Panics
    /// It is the answer to another call, or none at all; or no call waits for one.
    pub fn read(&mut self) -> io::Result<Answer> {
        let payload = self.read_record()?;
        let (xid, procedure) = self.asked.pop_front().expect("an answer without a call");
        let reply = Reply::read(&payload).unwrap();
        assert_eq!(reply.xid, xid, "answers come in the order of the calls");
        Ok(match reply.results {
            Ok(results) => Answer::of(&KvReply::read(procedure, results).unwrap()),
            Err(fault) => Answer::Fault(fault),
        })
    }

    /// Reads a record, whatever it is; its payload.
    pub fn read_record(&mut self) -> io::Result<Vec<u8>> {
        let mut gathered = Vec::new();
        let mut part = vec![0; 1 << 16];
        loop {
            let at_least = match next_record(&self.unread, LIMITS, &mut gathered) {
                RecordStep::Complete { taken, payload } => {
                    let payload = payload.to_vec();
                    self.unread.drain(..taken);
                    return Ok(payload);
                }
                RecordStep::NeedMore { at_least } => at_least,
                RecordStep::Fatal(fault) => panic!("{fault}"),
            };
            while self.unread.len() < at_least {
                match self.stream.read(&mut part)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.unread.extend_from_slice(&part[..count]),
                }
            }
        }
    }

    /// Whether the server closes the connection, without another byte. It waits for that.
    pub fn is_closed(&mut self) -> bool {
        let end = self.stream.read(&mut [0; 1]);
        self.unread.is_empty()
            && match end {
                Ok(count) => count == 0,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            }
    }

    /// Sends a call and waits for its answer.
    pub fn call(&mut self, request: &KvRequest<'_>) -> io::Result<Answer> {
        self.send(request)?;
        self.read()
    }

    /// The version and the value of a key.
    pub fn get(&mut self, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        match self.call(&get(key)).unwrap() {
            Answer::Found(version, value) => Some((version, value)),
            Answer::Refused(KvRefusal::NotFound) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Gives a key a value; its version.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.call(&put(key, value)).unwrap().version()
    }

    /// Takes a key away; the version of that.
    pub fn delete(&mut self, key: &[u8]) -> u64 {
        self.call(&delete(key)).unwrap().version()
    }

    /// A page of the keys that begin with `prefix` and are not below `from`.
    pub fn scan(&mut self, from: &[u8], prefix: &[u8], limit: u32) -> (Vec<Entry>, bool) {
        match self.call(&scan(from, prefix, limit)).unwrap() {
            Answer::Page(entries, more) => (entries, more),
            other => panic!("{other:?}"),
        }
    }

    /// All keys that begin with `prefix`, page by page.
    pub fn scan_all(&mut self, prefix: &[u8], limit: u32) -> Vec<Entry> {
        let (mut all, mut from) = (Vec::<Entry>::new(), Vec::new());
        loop {
            let (entries, more) = self.scan(&from, prefix, limit);
            all.extend(entries);
            if !more {
                return all;
            }
            from = [all.last().unwrap().0.as_slice(), &[0]].concat();
        }
    }

    /// What the server says of itself.
    pub fn status(&mut self) -> Node {
        match self.call(&KvRequest::Status).unwrap() {
            Answer::Node(node) => node,
            other => panic!("{other:?}"),
        }
    }
}

/// A GET.
#[must_use]
pub fn get(key: &[u8]) -> KvRequest<'_> {
    KvRequest::Get { key, after: Lsn(0) }
}

/// A PUT without request id and condition.
#[must_use]
pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> KvRequest<'a> {
    KvRequest::Put { request_id: None, key, value, condition: Condition::Always }
}

/// A PUT with a request id.
#[must_use]
pub fn put_once<'a>(request_id: RequestId, key: &'a [u8], value: &'a [u8]) -> KvRequest<'a> {
    KvRequest::Put { request_id: Some(request_id), key, value, condition: Condition::Always }
}

/// A PUT with a condition.
#[must_use]
pub fn put_if<'a>(condition: Condition, key: &'a [u8], value: &'a [u8]) -> KvRequest<'a> {
    KvRequest::Put { request_id: None, key, value, condition }
}

/// A DELETE without request id and condition.
#[must_use]
pub fn delete(key: &[u8]) -> KvRequest<'_> {
    KvRequest::Delete { request_id: None, key, condition: Condition::Always }
}

/// A SCAN.
#[must_use]
pub fn scan<'a>(from: &'a [u8], prefix: &'a [u8], limit: u32) -> KvRequest<'a> {
    KvRequest::Scan { from, prefix, limit, after: Lsn(0) }
}

/// Where the key-value service of a server listens, by the line that says that the server is ready.
#[must_use]
pub fn kv_address(server: &Server) -> SocketAddr {
    let mut words = server.ready.split_whitespace().skip_while(|word| *word != "kv");
    words.nth(1).unwrap_or_else(|| panic!("no key-value service: {}", server.ready)).parse().unwrap()
}

/// Options of a server with a key-value service on a port of its own, before others.
#[must_use]
pub fn kv_options(more: &[&str]) -> Vec<String> {
    let port = unused_port().to_string();
    ["--kv-port", &port, "--rpcbind", "no"].iter().chain(more).map(ToString::to_string).collect()
}

/// Starts a server with a key-value service, and says where that listens. It is there again after a start on the same data.
#[must_use]
pub fn kv_server(more: &[&str]) -> (Server, SocketAddr) {
    kv_server_with(more, &[])
}

/// As [`kv_server`], with these variables in the environment.
#[must_use]
pub fn kv_server_with(more: &[&str], environment: &[(&str, &str)]) -> (Server, SocketAddr) {
    let options = kv_options(more);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::start_with(&crate::server::unused_name(), &options, environment);
    let address = kv_address(&server);
    (server, address)
}
