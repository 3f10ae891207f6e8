//! A blocking connection: connect, log in, send one request or many.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::Duration;

use crate::base::vocab::{AccountId, Lsn, SessionId};
use crate::service::bank::wire::{Flags, Header, Opcode, Request, Response, Statement, XorKey};
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::interrupt;
use crate::tool::client::keys::Key;
use crate::tool::client::options::Target;
use crate::tool::client::receive_buffer::ReceiveBuffer;

/// The least timeout of each of many logins: a server hashes passwords slowly, on purpose, and a hundred may come at a time.
const MANY_LOGINS_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a waiting read checks whether the run was interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Requests in flight in [`Connection::call_all`]; their replies fit the kernel's buffers many times.
const WINDOW: usize = 256;

/// A server's address, and the parameters of connections to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The user to log in as.
    pub user: String,
    /// The user's password.
    pub pass: String,
    /// Whether bodies are XORed.
    pub xor: bool,
    /// How long a connection with a request in flight may be silent.
    pub timeout: Duration,
    /// How long its LOGIN may take.
    pub login_timeout: Duration,
    /// How long to retry after a transient error.
    pub retry_for: Duration,
    /// Whether money operations carry an idempotency key.
    pub keyed: bool,
}

impl Server {
    /// Resolves the server's address.
    ///
    /// # Errors
    /// [`ClientError::Resolve`] when the host name has none.
    pub fn resolve(target: &Target) -> Result<Server, ClientError> {
        let failed = |source| ClientError::Resolve { host: target.host.clone(), source };
        let mut addresses = (target.host.as_str(), target.port).to_socket_addrs().map_err(failed)?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
        let timeout = target.timeout.max(Duration::from_millis(1));
        Ok(Server {
            address: addresses.next().ok_or_else(none).map_err(failed)?,
            user: target.user.clone(),
            pass: target.pass.clone(),
            xor: target.xor,
            timeout,
            login_timeout: timeout.max(MANY_LOGINS_TIMEOUT),
            retry_for: target.retry_for,
            keyed: !target.no_keys,
        })
    }

    /// The same for a single connection, whose login waits for no others.
    #[must_use]
    pub fn for_one_connection(self) -> Server {
        Server { login_timeout: self.timeout, ..self }
    }

    /// The request that logs in.
    #[must_use]
    pub fn login(&self) -> Request<'_> {
        Request::Login { user: self.user.as_bytes(), pass: self.pass.as_bytes() }
    }

    /// The key that this connection's bodies are XORed with, if they are.
    #[must_use]
    pub fn xor_key(&self, session: SessionId) -> Option<XorKey> {
        self.xor.then(|| XorKey::derive(self.user.as_bytes(), session))
    }

    /// Connects, without logging in. Writes fail after [`Server::timeout`], reads are for [`read_with_timeout`].
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(&self) -> Result<TcpStream, ClientError> {
        let prepare = || {
            let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(socket_timeout(self.timeout)))?;
            stream.set_write_timeout(Some(self.timeout))?;
            Ok(stream)
        };
        prepare().map_err(|source| ClientError::Connect { address: self.address.to_string(), source })
    }
}

/// The read timeout that a socket needs for [`read_with_timeout`].
#[must_use]
pub fn socket_timeout(timeout: Duration) -> Duration {
    timeout.min(CHECK_INTERVAL)
}

/// Reads once from a socket whose own read timeout is [`socket_timeout`]. Waits until `timeout`, or until the grace after an
/// interruption is over.
///
/// # Errors
/// As [`ReceiveBuffer::read_from`]; `Interrupted` after an interruption.
#[inline]
pub fn read_with_timeout(
    buffer: &mut ReceiveBuffer,
    stream: &mut TcpStream,
    timeout: Duration,
) -> io::Result<(usize, bool)> {
    let mut waited = Duration::ZERO;
    loop {
        match buffer.read_from(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if interrupt::grace_is_over() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                waited += socket_timeout(timeout);
                if waited >= timeout {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// Checks a reply: the one to `opcode` with `seq` is due.
///
/// # Errors
/// [`ClientError::Refused`]; [`ClientError::TurnedAway`] where the server refuses the connection itself; or a break of the
/// protocol.
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
    xor: Option<XorKey>,
    timeout: Duration,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`ClientError`]: no connection, no login, or no answer.
    pub fn open(server: &Server) -> Result<Connection, ClientError> {
        let mut connection = Connection {
            stream: server.connect()?,
            received: ReceiveBuffer::for_replies(WINDOW),
            out: Vec::new(),
            seq: 0,
            xor: None,
            timeout: server.login_timeout,
        };
        connection.set_timeout(server.login_timeout)?;
        let Response::Login { session } = connection.call(&server.login())? else {
            unreachable!("the reply's opcode was compared with LOGIN's");
        };
        connection.set_timeout(server.timeout)?;
        connection.xor = server.xor_key(session);
        if let Some(xor) = connection.xor {
            connection.received.set_xor(xor);
        }
        Ok(connection)
    }

    /// The socket and the key, for a driver with its own buffers; no request is in flight.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Option<XorKey>) {
        (self.stream, self.xor)
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is one, too.
    pub fn call(&mut self, request: &Request<'_>) -> Result<Response, ClientError> {
        self.call_keyed(request, None)
    }

    /// As [`Connection::call`], with an idempotency key.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_keyed(&mut self, request: &Request<'_>, key: Option<&Key>) -> Result<Response, ClientError> {
        self.encode(request, key);
        self.flush()?;
        self.receive(request.opcode(), self.seq)
    }

    /// Requests a page of a statement: at most `limit` entries before `before` (0: the newest).
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is one, too.
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

    /// Sends many requests, a window at a time, and passes every reply to `each`, in order.
    ///
    /// # Errors
    /// [`ClientError`]; the first refusal ends it.
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
        request.encode(self.seq, key.map(|key| &key.0), self.xor, &mut self.out);
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        sent.map_err(|source| ClientError::from_io("sending a request", self.timeout, source))
    }

    fn receive(&mut self, opcode: Opcode, seq: u32) -> Result<Response, ClientError> {
        let (header, body) = self.receive_frame()?;
        let response = Response::decode(&header, self.received.body(body)).map_err(ProtocolError::from)?;
        check_reply(opcode, seq, &header, response)
    }

    fn receive_frame(&mut self) -> Result<(Header, Range<usize>), ClientError> {
        const DOING: &str = "waiting for a reply";
        loop {
            if let Some(found) = self.received.next_frame()? {
                return Ok(found);
            }
            let read = read_with_timeout(&mut self.received, &mut self.stream, self.timeout);
            let (count, _) = read.map_err(|source| ClientError::from_io(DOING, self.timeout, source))?;
            if count == 0 {
                return Err(ClientError::closed(DOING));
            }
        }
    }
}
