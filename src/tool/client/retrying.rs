//! A connection for one request at a time that reconnects and retries.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::vocab::{AccountId, Lsn};
use crate::service::bank::wire::{Request, Response, Statement, Status};
use crate::tool::client::clock::monotonic;
use crate::tool::client::connection::{Connection, Server};
use crate::tool::client::error::ClientError;
use crate::tool::client::keys::{Key, KeySource};
use crate::tool::client::options::ReadFrom;

/// Sends one request at a time. For as long as `--retry-for` it retries on new connections what may be repeated: reads,
/// and money operations with a key. A money operation without a key is sent once, since it may have been done. What a server refuses since
/// it is not the primary was not done, and goes to whoever is.
#[derive(Debug)]
pub struct RetryingConnection<'s> {
    server: &'s Server,
    /// To the primary.
    connection: Option<Connection>,
    /// To any server, for reads, with `--read-from any`.
    reader: Option<Connection>,
    /// The highest LSN that was seen, with `--read-from any`.
    seen: Lsn,
    keys: Option<KeySource>,
    rng: SmallRng,
}

impl<'s> RetryingConnection<'s> {
    /// Finds the primary, connects and logs in.
    pub fn open(server: &'s Server) -> Result<RetryingConnection<'s>, ClientError> {
        let mut rng = SmallRng::seed_from_u64(u64::from(std::process::id()));
        let (mut connection, mut reader) = (None, None);
        if server.target.read_from == ReadFrom::Any {
            // There may be no primary, and reads need none.
            reader = Some(open_reader(server, &mut rng)?);
        } else {
            connection = Some(Connection::find(server)?);
        }
        Ok(RetryingConnection { server, connection, reader, seen: Lsn(0), keys: server.key_source()?, rng })
    }

    /// A new key for a request that should carry one.
    pub fn new_key(&mut self, request: &Request<'_>) -> Option<Key> {
        self.keys.as_mut().filter(|_| request.opcode().is_money()).map(KeySource::next_key)
    }

    /// Sends a request, with an idempotency key if one is given, and waits for its reply. [`ClientError::InDoubt`] means that a
    /// money operation may have been done, all other errors that it was not.
    pub fn call(&mut self, request: &Request<'_>, key: Option<&Key>) -> Result<Response, ClientError> {
        let is_money = request.opcode().is_money();
        if is_money && key.is_none() {
            return self.call_once(request);
        }
        if matches!(request, Request::Balance { .. })
            && let Some(answer) = self.read(|connection, after| connection.call_after(request, None, after))
        {
            return answer;
        }
        self.retry(is_money, |connection| connection.call(request, key))
    }

    /// Requests a page of a statement, see [`Connection::statement`].
    pub fn statement(&mut self, account: AccountId, before: Lsn, limit: u16) -> Result<Statement, ClientError> {
        let page = (account, before, limit);
        if let Some(answer) = self.read(|connection, after| connection.statement(page, after)) {
            return answer;
        }
        self.retry(false, |connection| connection.statement(page, None))
    }

    /// Sends a money operation without a key: once, but for servers that say that they have not done it.
    fn call_once(&mut self, request: &Request<'_>) -> Result<Response, ClientError> {
        let mut backoff = self.server.backoff();
        loop {
            // The server may have closed an idle connection long ago; a PING finds that out without risk.
            self.retry(false, |connection| connection.call(&Request::Ping, None))?;
            let answer = self.connection()?.call(request, None);
            match self.keep_or_drop(answer) {
                Err(error @ ClientError::Refused { status, .. }) if status.is_elsewhere() => {
                    let Some(wait) = backoff.next_wait(monotonic(), &mut self.rng) else { return Err(error) };
                    // No event tells when there is a primary.
                    std::thread::sleep(wait);
                }
                Err(error @ ClientError::Refused { .. }) => return Err(error),
                Err(error) => return Err(ClientError::InDoubt(Box::new(error))),
                Ok(response) => return Ok(response),
            }
        }
    }

    /// With `--read-from any`, reads from any server that has applied what was seen so far: each is asked once. `None` where none of them
    /// answers: then the primary is asked.
    fn read<T>(
        &mut self,
        mut send: impl FnMut(&mut Connection, Option<Lsn>) -> Result<T, ClientError>,
    ) -> Option<Result<T, ClientError>> {
        if self.server.target.read_from != ReadFrom::Any {
            return None;
        }
        // The one that answered last may have closed an idle connection: it has one attempt more.
        for _ in 0..=self.server.servers.known().len() {
            let reader = match self.reader.take() {
                Some(reader) => Ok(reader),
                None => open_reader(self.server, &mut self.rng),
            };
            let mut reader = reader.ok()?;
            reader.asks_lsn = true;
            let answer = send(&mut reader, Some(self.seen));
            self.seen = self.seen.max(reader.seen());
            match answer {
                Err(ClientError::Refused { status, .. }) if status == Status::Behind || status.is_elsewhere() => {}
                Err(error) if error.is_transient() => {}
                answer => {
                    self.reader = Some(reader).filter(|_| matches!(answer, Ok(_) | Err(ClientError::Refused { .. })));
                    return Some(answer);
                }
            }
        }
        None
    }

    fn retry<T>(
        &mut self,
        is_money: bool,
        mut send: impl FnMut(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = self.server.backoff();
        // Whether an attempt may have been carried out. From then on ERR_BUSY is no final answer either.
        let mut maybe_done = false;
        loop {
            let error = match self.connection() {
                Err(error) => error,
                Ok(connection) => {
                    let answer = send(connection);
                    match self.keep_or_drop(answer) {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            maybe_done |= is_money && !matches!(error, ClientError::Refused { .. });
                            error
                        }
                    }
                }
            };
            let no_room = maybe_done && matches!(error, ClientError::Refused { status: Status::Busy, .. });
            let is_final = !error.is_transient() && !no_room;
            let wait = if is_final { None } else { backoff.next_wait(monotonic(), &mut self.rng) };
            let Some(wait) = wait else {
                // Only a final answer to the operation itself tells whether it was done.
                let is_answered =
                    is_final && matches!(error, ClientError::Refused { request, .. } if request.is_money());
                return Err(if maybe_done && !is_answered { ClientError::InDoubt(Box::new(error)) } else { error });
            };
            // No event tells when a server is back.
            std::thread::sleep(wait);
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, ClientError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.server)?,
        };
        // What is written is to be seen by the reads that follow, wherever they go.
        connection.asks_lsn = self.server.target.read_from == ReadFrom::Any;
        Ok(self.connection.insert(connection))
    }

    /// Drops the connection after an error that leaves its state unknown, and where another server is to be asked.
    fn keep_or_drop<T>(&mut self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        let Some(connection) = &self.connection else { return answer };
        self.seen = self.seen.max(connection.seen());
        let address = connection.address;
        match &answer {
            Ok(_) => {}
            Err(ClientError::Refused { status, .. }) if status.is_elsewhere() => {
                self.server.servers.expect_cluster();
                self.connection = None;
            }
            Err(ClientError::Refused { .. }) => {}
            Err(error) => {
                if matches!(error, ClientError::Timeout { .. }) {
                    // What does not answer may be cut off.
                    self.server.servers.suspect(address);
                }
                self.connection = None;
            }
        }
        answer
    }
}

/// Connects to one of the servers, whichever: each is tried once, beginning with one by lot.
fn open_reader(server: &Server, rng: &mut SmallRng) -> Result<Connection, ClientError> {
    let known = server.servers.known();
    let first = rng.random_range(0..known.len());
    let mut last = None;
    for turn in 0..known.len() {
        match Connection::open_to(server, known[(first + turn) % known.len()]) {
            Err(error) if error.is_transient() => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| ClientError::closed("connecting")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::base::vocab::{Cents, SessionId};
    use crate::tool::client::options::Target;

    #[test]
    fn an_unreadable_reply_leaves_an_operation_without_a_key_in_doubt() {
        let mut replies = [Vec::new(), Vec::new(), vec![0x55; 40]];
        Response::Login { session: SessionId(1) }.encode(1, None, &mut replies[0]);
        Response::Ping { server_time_ms: 0 }.encode(2, None, &mut replies[1]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let timeout = Duration::from_secs(10);
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: 0,
            servers: Vec::new(),
            read_from: ReadFrom::Primary,
            user: "demo".to_owned(),
            pass: "demo".to_owned(),
            xor: false,
            timeout,
            no_keys: true,
            retry_for: Duration::ZERO,
        };
        let server = Server::at(vec![listener.local_addr().unwrap()], &target);
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in replies {
                assert!(stream.read(&mut [0; 512]).unwrap() > 0);
                stream.write_all(&reply).unwrap();
            }
        });
        let mut connection = RetryingConnection::open(&server).unwrap();
        let deposit = Request::Deposit { account: AccountId(1), amount: Cents(1) };
        let error = connection.call(&deposit, None).unwrap_err();
        assert!(
            matches!(&error, ClientError::InDoubt(last) if matches!(**last, ClientError::Protocol(_))),
            "{error:?}"
        );
        serving.join().unwrap();
    }
}
