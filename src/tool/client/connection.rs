//! A blocking connection: connect, log in, send one request or many.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::Duration;

use crate::base::vocab::{AccountId, Lsn, SessionId};
use crate::service::bank::wire::{Flags, Header, Opcode, Request, Response, Statement, XorKey};
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::interrupt;
use crate::tool::client::keys::{Key, KeySource};
use crate::tool::client::options::Target;
use crate::tool::client::receive_buffer::ReceiveBuffer;

/// The least timeout of each of many logins: a server hashes passwords slowly, on purpose, and a hundred may come at a time.
const MANY_LOGINS_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a waiting read checks whether the run was interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Requests in flight in [`Connection::call_all`]; their replies fit the kernel's buffers many times.
const WINDOW: usize = 256;

/// A server, and the parameters of connections to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The user, timeouts and keys, as the command line has them; the timeout is above zero.
    pub target: Target,
    /// How long a LOGIN may take.
    pub login_timeout: Duration,
}

impl Server {
    /// Resolves the server's address.
    pub fn resolve(target: &Target) -> Result<Server, ClientError> {
        let failed = |source| ClientError::Resolve { host: target.host.clone(), source };
        let mut addresses = (target.host.as_str(), target.port).to_socket_addrs().map_err(failed)?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
        let address = addresses.next().ok_or_else(none).map_err(failed)?;
        let timeout = target.timeout.max(Duration::from_millis(1));
        let login_timeout = timeout.max(MANY_LOGINS_TIMEOUT);
        Ok(Server { address, target: Target { timeout, ..target.clone() }, login_timeout })
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

    /// The error for a connection that could not be made.
    pub fn connect_error(&self, source: io::Error) -> ClientError {
        ClientError::Connect { address: self.address.to_string(), source }
    }

    /// Connects, without logging in. Writes fail after the timeout, reads are for [`receive`].
    pub fn connect(&self) -> Result<TcpStream, ClientError> {
        let timeout = self.target.timeout;
        let prepare = || {
            let stream = TcpStream::connect_timeout(&self.address, timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(socket_timeout(timeout)))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        prepare().map_err(|source| self.connect_error(source))
    }
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
    buffer: &mut ReceiveBuffer,
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

/// A connection that is logged in.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: ReceiveBuffer,
    out: Vec<u8>,
    /// The last sequence number used.
    seq: u32,
    timeout: Duration,
}

impl Connection {
    /// Connects and logs in.
    pub fn open(server: &Server) -> Result<Connection, ClientError> {
        let mut connection = Connection {
            stream: server.connect()?,
            received: ReceiveBuffer::for_replies(WINDOW),
            out: Vec::new(),
            seq: 0,
            timeout: server.login_timeout,
        };
        connection.set_timeout(server.login_timeout)?;
        let Response::Login { session } = connection.call(&server.login(), None)? else {
            unreachable!("the reply's opcode was compared with LOGIN's");
        };
        connection.set_timeout(server.target.timeout)?;
        connection.received.xor = server.xor_key(session);
        Ok(connection)
    }

    /// The socket and the key, for a driver with its own buffers; no request is in flight.
    pub fn into_parts(self) -> (TcpStream, Option<XorKey>) {
        (self.stream, self.received.xor)
    }

    /// Sends one request, with an idempotency key if one is given, and waits for its reply. A refusal is an error, too.
    pub fn call(&mut self, request: &Request<'_>, key: Option<&Key>) -> Result<Response, ClientError> {
        self.encode(request, key);
        self.flush()?;
        self.receive(request.opcode(), self.seq)
    }

    /// Requests a page of a statement: at most `limit` entries before `before` (0: the newest).
    pub fn statement(&mut self, account: AccountId, before: Lsn, limit: u16) -> Result<Statement, ClientError> {
        self.encode(&Request::History { account, before, limit }, None);
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
                    self.encode(&request, None);
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

    fn encode(&mut self, request: &Request<'_>, key: Option<&Key>) {
        self.seq = self.seq.wrapping_add(1);
        request.encode(self.seq, key.map(|key| &key.0), self.received.xor, &mut self.out);
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
            receive(&mut self.stream, &mut self.received, self.timeout, "waiting for a reply")?;
        }
    }
}
