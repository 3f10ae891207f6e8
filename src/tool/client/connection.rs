//! A blocking connection: connect, log in, send one request or many.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::base::vocab::{AccountId, Lsn, SessionId};
use crate::service::bank::wire::{Cluster, Envelope, Flags, Header, Opcode, Request, Response, Statement, XorKey};
use crate::tool::client::clock::{Backoff, monotonic};
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::interrupt;
use crate::tool::client::keys::{Key, KeySource};
use crate::tool::client::options::Target;
use crate::tool::client::receive_buffer::{RawBuffer, ReceiveBuffer};
use crate::tool::client::servers::{Servers, Standing};

/// The least timeout of each of many logins: a server hashes passwords slowly, on purpose, and a hundred may come at a time.
const MANY_LOGINS_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time to connect to one of several servers.
const MANY_SERVERS_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a waiting read checks whether the run was interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Requests in flight in [`Connection::call_all`]; their replies fit the kernel's buffers many times.
const WINDOW: usize = 256;

/// A server, and the parameters of connections to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens, or where they do that are one ledger.
    pub servers: Arc<Servers>,
    /// The user, timeouts and keys, as the command line has them; the timeout is above zero.
    pub target: Target,
    /// How long a LOGIN may take.
    pub login_timeout: Duration,
}

impl Server {
    /// Resolves the addresses of the bank's servers.
    pub fn resolve(target: &Target) -> Result<Server, ClientError> {
        let addresses = match &target.servers[..] {
            [] => vec![resolve(&target.host, target.port)?],
            servers => servers.iter().map(|server| resolve_pair(server)).collect::<Result<_, _>>()?,
        };
        Ok(Server::at(addresses, target))
    }

    /// Resolves the address of the one server of GetFile.
    pub fn resolve_host(target: &Target) -> Result<Server, ClientError> {
        let host = target.servers.first().unwrap_or(&target.host);
        Ok(Server::at(vec![resolve(host, target.port)?], target))
    }

    /// The servers at these addresses, of which there is at least one.
    pub fn at(addresses: Vec<SocketAddr>, target: &Target) -> Server {
        let timeout = target.timeout.max(Duration::from_millis(1));
        let login_timeout = timeout.max(MANY_LOGINS_TIMEOUT);
        Server {
            servers: Arc::new(Servers::new(addresses)),
            target: Target { timeout, ..target.clone() },
            login_timeout,
        }
    }

    /// The waits between attempts.
    pub fn backoff(&self) -> Backoff {
        let backoff = Backoff::new(self.target.retry_for);
        if self.servers.are_several() { backoff.among_several() } else { backoff }
    }

    /// The server to connect to: the only one, or the one that is taken for the primary.
    pub fn address(&self) -> SocketAddr {
        self.servers.primary()
    }

    /// All of them as text.
    pub fn name(&self) -> String {
        self.servers.given().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
    }

    /// The request that logs in.
    pub fn login(&self) -> Request<'_> {
        Request::Login { user: self.target.user.as_bytes(), pass: self.target.pass.as_bytes() }
    }

    /// The key that this connection's bodies are XORed with, if they are.
    pub fn xor_key(&self, session: SessionId) -> Option<XorKey> {
        self.target.xor.then(|| XorKey::derive(self.target.user.as_bytes(), session))
    }

    /// A source of idempotency keys, if money operations carry any.
    pub fn key_source(&self) -> Result<Option<KeySource>, ClientError> {
        if self.target.no_keys { Ok(None) } else { KeySource::random().map(Some) }
    }

    /// The error for a connection that could not be made; another server is tried next.
    pub fn connect_error(&self, address: SocketAddr, source: io::Error) -> ClientError {
        self.servers.suspect(address);
        ClientError::Connect { address: address.to_string(), source }
    }

    /// How long making a connection may take. Where there is another server, one that does not answer is not waited for as long as one
    /// that is alone.
    pub fn connect_timeout(&self) -> Duration {
        let timeout = self.target.timeout;
        if self.servers.are_several() { timeout.min(MANY_SERVERS_TIMEOUT) } else { timeout }
    }

    /// Connects, without logging in. Writes fail after the timeout, reads are for [`receive`].
    pub fn connect(&self) -> Result<TcpStream, ClientError> {
        self.connect_to(self.address())
    }

    /// The same to one of several.
    pub fn connect_to(&self, address: SocketAddr) -> Result<TcpStream, ClientError> {
        let timeout = self.target.timeout;
        let prepare = || {
            let stream = TcpStream::connect_timeout(&address, self.connect_timeout())?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(socket_timeout(timeout)))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        prepare().map_err(|source| self.connect_error(address, source))
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, ClientError> {
    let failed = |source| ClientError::Resolve { host: host.to_owned(), source };
    let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
    (host, port).to_socket_addrs().and_then(|mut found| found.next().ok_or_else(none)).map_err(failed)
}

/// Resolves `HOST:PORT`.
fn resolve_pair(server: &str) -> Result<SocketAddr, ClientError> {
    let pair = server.trim().rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "write it like HOST:PORT");
    let (host, port) = pair.ok_or_else(|| ClientError::Resolve { host: server.to_owned(), source: malformed() })?;
    resolve(host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// The read timeout that a socket needs for [`receive`].
pub fn socket_timeout(timeout: Duration) -> Duration {
    timeout.min(CHECK_INTERVAL)
}

/// Sends all of `out` and empties it; `timeout` is what the socket has as its write timeout.
#[inline]
pub fn send(
    stream: &mut TcpStream,
    out: &mut Vec<u8>,
    timeout: Duration,
    doing: &'static str,
) -> Result<(), ClientError> {
    let sent = stream.write_all(out);
    out.clear();
    sent.map_err(|source| ClientError::from_io(doing, timeout, source))
}

/// Reads once from a socket whose own read timeout is [`socket_timeout`]. Waits until `timeout`, or until the grace after an
/// interruption is over. The end of the connection is an error.
#[inline]
pub fn receive(
    stream: &mut TcpStream,
    buffer: &mut RawBuffer,
    timeout: Duration,
    doing: &'static str,
) -> Result<(), ClientError> {
    let mut waited = Duration::ZERO;
    loop {
        match buffer.read_from(stream) {
            Ok((0, _)) => return Err(ClientError::closed(doing)),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waited += socket_timeout(timeout);
                if interrupt::grace_is_over() {
                    return Err(ClientError::Interrupted(doing));
                }
                if waited >= timeout {
                    return Err(ClientError::Timeout { doing, after: timeout });
                }
            }
            Err(source) => return Err(ClientError::from_io(doing, timeout, source)),
        }
    }
}

/// Checks a reply: the one to `opcode` with `seq` is due. A refusal is an error; [`ClientError::TurnedAway`] where the server
/// refuses the connection itself.
pub fn check_reply(opcode: Opcode, seq: u32, header: &Header, response: Response) -> Result<Response, ClientError> {
    match response {
        Response::Error { opcode: 0, status } if header.seq == 0 => Err(ClientError::TurnedAway(status)),
        _ if header.seq != seq || header.opcode != opcode.code() => {
            let (got_opcode, got_seq) = (header.opcode, header.seq);
            Err(ProtocolError::OutOfOrder { opcode, seq, got_opcode, got_seq }.into())
        }
        Response::Error { status, .. } => Err(ClientError::Refused { request: opcode, status }),
        response => Ok(response),
    }
}

/// What the answer to CLUSTER says that is due with `seq`; `body` is the frame's.
pub fn cluster_of(header: &Header, body: &[u8], seq: u32) -> Result<Cluster, ClientError> {
    let is_answer =
        !header.flags.contains(Flags::ERROR) && (header.opcode, header.seq) == (Opcode::Cluster.code(), seq);
    if is_answer {
        return Ok(Cluster::decode(body).map_err(ProtocolError::from)?);
    }
    let response = Response::decode(header, body).map_err(ProtocolError::from)?;
    check_reply(Opcode::Cluster, seq, header, response)?;
    unreachable!("a good answer to CLUSTER is no short reply, and only such a one passes the check");
}

/// Opens a connection to the primary. Where there are several servers, each is tried, and again after waits that `--retry-for` bounds.
pub fn find<C>(server: &Server, open: impl Fn() -> Result<C, ClientError>) -> Result<C, ClientError> {
    let mut backoff = server.backoff();
    let mut rng = SmallRng::seed_from_u64(u64::from(std::process::id()));
    let mut at_once = server.servers.known().len();
    loop {
        match open() {
            Err(error) if error.is_transient() && server.servers.are_several() && !interrupt::grace_is_over() => {
                at_once = at_once.saturating_sub(1);
                if at_once == 0 {
                    let Some(wait) = backoff.next_wait(monotonic(), &mut rng) else { return Err(error) };
                    // No event tells when there is a primary.
                    std::thread::sleep(wait);
                }
            }
            done => return done,
        }
    }
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Connection {
    /// Whom it is to.
    pub address: SocketAddr,
    /// Whether requests ask for LSNs; the highest is in [`Connection::seen`].
    pub asks_lsn: bool,
    stream: TcpStream,
    received: ReceiveBuffer,
    out: Vec<u8>,
    /// The last sequence number used.
    seq: u32,
    timeout: Duration,
}

impl Connection {
    /// Finds the primary, connects to it and logs in. Where there are several servers, each is tried, and again after waits that
    /// `--retry-for` bounds.
    pub fn find(server: &Server) -> Result<Connection, ClientError> {
        find(server, || Connection::open(server))
    }

    /// Connects to the server that is taken for the primary, and logs in. Where there are several, it is asked whether it is the primary.
    pub fn open(server: &Server) -> Result<Connection, ClientError> {
        let address = server.address();
        let opened = Connection::open_to(server, address).and_then(|mut connection| {
            if server.servers.are_several() {
                connection.check_primary(server)?;
            }
            Ok(connection)
        });
        if matches!(opened, Err(ClientError::Timeout { .. })) {
            // What does not answer may be cut off.
            server.servers.suspect(address);
        }
        opened
    }

    /// Connects to this server, whatever it is in its cluster, and logs in.
    pub fn open_to(server: &Server, address: SocketAddr) -> Result<Connection, ClientError> {
        let mut connection = Connection {
            address,
            asks_lsn: false,
            stream: server.connect_to(address)?,
            received: ReceiveBuffer::for_replies(WINDOW),
            out: Vec::new(),
            seq: 0,
            timeout: server.login_timeout,
        };
        if server.servers.are_several() {
            // The kernel also connects to a server that is stopped. A PING is answered at once, so that takes no longer to notice than with
            // any other request, although a LOGIN may take its time.
            connection.set_timeout(server.target.timeout)?;
            connection.call(&Request::Ping, None)?;
        }
        connection.set_timeout(server.login_timeout)?;
        let Response::Login { session } = connection.call(&server.login(), None)? else {
            unreachable!("the reply's opcode was compared with LOGIN's");
        };
        connection.set_timeout(server.target.timeout)?;
        connection.received.xor = server.xor_key(session);
        Ok(connection)
    }

    /// Asks whether the server is the primary; notes who is.
    pub fn check_primary(&mut self, server: &Server) -> Result<(), ClientError> {
        match server.servers.learn(self.address, &self.cluster()?) {
            Standing::Primary => Ok(()),
            Standing::Other => Err(ClientError::NotPrimary { address: self.address.to_string() }),
        }
    }

    /// Asks for the server's cluster.
    pub fn cluster(&mut self) -> Result<Cluster, ClientError> {
        self.encode(&Request::Cluster, None, None);
        self.flush()?;
        let (header, body) = self.receive_frame()?;
        cluster_of(&header, self.received.body(body), self.seq)
    }

    /// The highest LSN that a reply has carried.
    pub fn seen(&self) -> Lsn {
        self.received.seen
    }

    /// The socket and the key, for a driver with its own buffers; no request is in flight.
    pub fn into_parts(self) -> (TcpStream, Option<XorKey>) {
        (self.stream, self.received.xor)
    }

    /// Sends one request, with an idempotency key if one is given, and waits for its reply. A refusal is an error, too.
    pub fn call(&mut self, request: &Request<'_>, key: Option<&Key>) -> Result<Response, ClientError> {
        self.call_after(request, key, None)
    }

    /// The same from a server that has applied operation `after`, if one is given.
    pub fn call_after(
        &mut self,
        request: &Request<'_>,
        key: Option<&Key>,
        after: Option<Lsn>,
    ) -> Result<Response, ClientError> {
        self.encode(request, key, after);
        self.flush()?;
        self.receive(request.opcode(), self.seq)
    }

    /// Requests a page of a statement: at most `limit` entries before `before` (0: the newest), from a server that has applied operation
    /// `after`, if one is given.
    pub fn statement(
        &mut self,
        (account, before, limit): (AccountId, Lsn, u16),
        after: Option<Lsn>,
    ) -> Result<Statement, ClientError> {
        self.encode(&Request::History { account, before, limit }, None, after);
        self.flush()?;
        let (header, body) = self.receive_frame()?;
        let body = self.received.body(body);
        let is_page =
            !header.flags.contains(Flags::ERROR) && (header.opcode, header.seq) == (Opcode::History.code(), self.seq);
        if is_page {
            return Ok(Statement::decode(body).map_err(ProtocolError::from)?);
        }
        let response = Response::decode(&header, body).map_err(ProtocolError::from)?;
        check_reply(Opcode::History, self.seq, &header, response)?;
        unreachable!("a good answer to HISTORY is a page, and only such a one passes the check");
    }

    /// Sends many requests, a window at a time, and passes every reply to `each`, in order. The first refusal ends it.
    pub fn call_all<'r>(
        &mut self,
        requests: impl Iterator<Item = Request<'r>>,
        mut each: impl FnMut(Response),
    ) -> Result<(), ClientError> {
        let mut requests = requests.peekable();
        while requests.peek().is_some() {
            let first = self.seq.wrapping_add(1);
            let opcodes: Vec<Opcode> = requests
                .by_ref()
                .take(WINDOW)
                .map(|request| {
                    self.encode(&request, None, None);
                    request.opcode()
                })
                .collect();
            self.flush()?;
            let mut seq = first;
            for opcode in opcodes {
                each(self.receive(opcode, seq)?);
                seq = seq.wrapping_add(1);
            }
        }
        Ok(())
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.timeout = timeout;
        let set = self.stream.set_read_timeout(Some(socket_timeout(timeout)));
        set.map_err(|source| ClientError::Lost { doing: "setting its timeout", source })
    }

    fn encode(&mut self, request: &Request<'_>, key: Option<&Key>, after: Option<Lsn>) {
        self.seq = self.seq.wrapping_add(1);
        let (seq, xor, asks_lsn) = (self.seq, self.received.xor, self.asks_lsn);
        request.encode_in(&Envelope { seq, key: key.map(|key| &key.0), after, asks_lsn, xor }, &mut self.out);
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        send(&mut self.stream, &mut self.out, self.timeout, "sending a request")
    }

    fn receive(&mut self, opcode: Opcode, seq: u32) -> Result<Response, ClientError> {
        let (header, body) = self.receive_frame()?;
        let response = Response::decode(&header, self.received.body(body)).map_err(ProtocolError::from)?;
        check_reply(opcode, seq, &header, response)
    }

    fn receive_frame(&mut self) -> Result<(Header, Range<usize>), ClientError> {
        loop {
            if let Some(found) = self.received.next_frame()? {
                return Ok(found);
            }
            receive(&mut self.stream, self.received.raw(), self.timeout, "waiting for a reply")?;
        }
    }
}
