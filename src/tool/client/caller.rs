//! One question at a time, on a connection that is kept for the next, and made anew when it fails.

use std::time::Instant;

use crate::base::vocab::{AccountId, Lsn};
use crate::service::bank::wire::{Request, Response, Statement, Status};
use crate::tool::client::backoff::Backoff;
use crate::tool::client::connection::{Connection, Server};
use crate::tool::client::error::ClientError;
use crate::tool::client::keys::{Key, Keys};
use crate::tool::client::prng::Prng;
use crate::tool::client::time::nanoseconds;

/// Asks one thing at a time. What may be repeated is, on a new connection, for as long as [`Server::retry_for`]: requests
/// that only read, and money operations with a key. A money operation without one is sent once, since it may have been done.
#[derive(Debug)]
pub struct Caller<'s> {
    server: &'s Server,
    connection: Option<Connection>,
    keys: Option<Keys>,
    prng: Prng,
    start: Instant,
}

impl<'s> Caller<'s> {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`ClientError`]: no connection, no login, or no answer.
    pub fn open(server: &'s Server) -> Result<Caller<'s>, ClientError> {
        Ok(Caller {
            server,
            connection: Some(Connection::open(server)?),
            keys: if server.keyed { Some(Keys::random()?) } else { None },
            prng: Prng::new(u64::from(std::process::id()), 0),
            start: Instant::now(),
        })
    }

    /// A new key for a request that should carry one.
    pub fn new_key(&mut self, request: &Request<'_>) -> Option<Key> {
        self.keys.as_mut().filter(|_| request.opcode().is_money()).map(Keys::next_key)
    }

    /// Sends a request, with an idempotency key if one is given, and waits for its reply.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::InDoubt`] leaves open whether a money operation was done, all others mean that it
    /// was not.
    pub fn call(&mut self, request: &Request<'_>, key: Option<&Key>) -> Result<Response, ClientError> {
        let is_money = request.opcode().is_money();
        if is_money && key.is_none() {
            // An idle connection may have been closed by the server long ago; better to learn that from a PING.
            self.repeat(false, |connection| connection.call(&Request::Ping))?;
            let answer = self.connection()?.call(request);
            return self.keep(answer).map_err(|error| in_doubt(error.is_passing(), error));
        }
        self.repeat(is_money, |connection| connection.call_keyed(request, key))
    }

    /// Asks for a page of a statement, see [`Connection::statement`].
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is one, too.
    pub fn statement(&mut self, account: AccountId, before: Lsn, limit: u16) -> Result<Statement, ClientError> {
        self.repeat(false, |connection| connection.statement(account, before, limit))
    }

    fn repeat<T>(
        &mut self,
        is_money: bool,
        mut ask: impl FnMut(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = Backoff::new(self.server.retry_for);
        // Whether an attempt may have been carried out. From then on "no room now" is no answer either.
        let mut is_unsure = false;
        loop {
            let error = match self.connection() {
                Err(error) => error,
                Ok(connection) => {
                    let answer = ask(connection);
                    match self.keep(answer) {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            is_unsure |= is_money && !matches!(error, ClientError::Refused { .. });
                            error
                        }
                    }
                }
            };
            let no_room = is_unsure && matches!(error, ClientError::Refused { status: Status::Busy, .. });
            if !error.is_passing() && !no_room {
                // Whether it was done is known only from an answer to the operation itself.
                let is_answered = matches!(error, ClientError::Refused { request, .. } if request.is_money());
                return Err(in_doubt(is_unsure && !is_answered, error));
            }
            let now = nanoseconds(self.start.elapsed());
            let Some(wait) = backoff.next_wait(now, &mut self.prng) else { return Err(in_doubt(is_unsure, error)) };
            // Nothing tells when a server is back; the wait spares it a rush of attempts.
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

    /// Gives the connection up when the answer says that it can no longer be trusted.
    fn keep<T>(&mut self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        if !matches!(answer, Ok(_) | Err(ClientError::Refused { .. })) {
            self.connection = None;
        }
        answer
    }
}

fn in_doubt(is_unsure: bool, error: ClientError) -> ClientError {
    if is_unsure { ClientError::InDoubt(Box::new(error)) } else { error }
}
