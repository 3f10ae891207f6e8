//! A connection for one request at a time that reconnects and retries.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::base::vocab::{AccountId, Lsn};
use crate::service::bank::wire::{Request, Response, Statement, Status};
use crate::tool::client::clock::{Backoff, monotonic};
use crate::tool::client::connection::{Connection, Server};
use crate::tool::client::error::ClientError;
use crate::tool::client::keys::{Key, KeySource};

/// Sends one request at a time. For as long as `--retry-for` it retries on new connections what may be repeated: reads,
/// and money operations with a key. A money operation without a key is sent once, since it may have been done.
#[derive(Debug)]
pub struct RetryingConnection<'s> {
    server: &'s Server,
    connection: Option<Connection>,
    keys: Option<KeySource>,
    rng: SmallRng,
}

impl<'s> RetryingConnection<'s> {
    /// Connects and logs in.
    pub fn open(server: &'s Server) -> Result<RetryingConnection<'s>, ClientError> {
        Ok(RetryingConnection {
            server,
            connection: Some(Connection::open(server)?),
            keys: server.key_source()?,
            rng: SmallRng::seed_from_u64(u64::from(std::process::id())),
        })
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
            // The server may have closed an idle connection long ago; a PING finds that out without risk.
            self.retry(false, |connection| connection.call(&Request::Ping, None))?;
            let answer = self.connection()?.call(request, None);
            return self.keep_or_drop(answer).map_err(|error| match error {
                ClientError::Refused { .. } => error,
                error => ClientError::InDoubt(Box::new(error)),
            });
        }
        self.retry(is_money, |connection| connection.call(request, key))
    }

    /// Requests a page of a statement, see [`Connection::statement`].
    pub fn statement(&mut self, account: AccountId, before: Lsn, limit: u16) -> Result<Statement, ClientError> {
        self.retry(false, |connection| connection.statement(account, before, limit))
    }

    fn retry<T>(
        &mut self,
        is_money: bool,
        mut send: impl FnMut(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = Backoff::new(self.server.target.retry_for);
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
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.server)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Drops the connection after an error that leaves its state unknown.
    fn keep_or_drop<T>(&mut self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        if !matches!(answer, Ok(_) | Err(ClientError::Refused { .. })) {
            self.connection = None;
        }
        answer
    }
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
            user: "demo".to_owned(),
            pass: "demo".to_owned(),
            xor: false,
            timeout,
            no_keys: true,
            retry_for: Duration::ZERO,
        };
        let server = Server { address: listener.local_addr().unwrap(), target, login_timeout: timeout };
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
