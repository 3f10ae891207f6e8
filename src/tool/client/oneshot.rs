//! One request, one answer: `client balance 12` and the like.

use std::time::Instant;

use serde_json::json;

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Response};
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::keys::Key;
use crate::tool::client::options::{Command, MoneyOptions};
use crate::tool::client::retrying::RetryingConnection;

/// A request, and how to send and show it.
#[derive(Clone, Copy, Debug)]
pub struct OneShot {
    /// The request.
    pub request: Request<'static>,
    /// How to send and show it.
    pub options: MoneyOptions,
}

impl OneShot {
    /// The request of a command, where the command is a single request.
    #[must_use]
    pub fn of(command: &Command) -> Option<OneShot> {
        let plain = MoneyOptions::default();
        let (request, options) = match *command {
            Command::Balance { account } => (Request::Balance { account: AccountId(account) }, plain),
            Command::Deposit { account, amount, options } => {
                (Request::Deposit { account: AccountId(account), amount }, options)
            }
            Command::Withdraw { account, amount, options } => {
                (Request::Withdraw { account: AccountId(account), amount }, options)
            }
            Command::Transfer { from, to, amount, options } => {
                (Request::Transfer { from: AccountId(from), to: AccountId(to), amount }, options)
            }
            Command::Ping => (Request::Ping, plain),
            Command::Totals => (Request::Totals, plain),
            Command::History(_) | Command::Shell | Command::Faults => return None,
        };
        Some(OneShot { request, options })
    }

    /// A request with the default options.
    #[must_use]
    pub fn plain(request: Request<'static>) -> OneShot {
        OneShot { request, options: MoneyOptions::default() }
    }

    /// Sends the request, and returns the answer as text.
    ///
    /// # Errors
    /// [`OneShotError`], for a refusal, too.
    pub fn send(&self, connection: &mut RetryingConnection<'_>) -> Result<String, OneShotError> {
        let OneShot { request, options } = self;
        let key = options.key.or_else(|| connection.new_key(request));
        let before = Instant::now();
        let answer = connection.call(request, key.as_ref());
        let response = answer.map_err(|error| OneShotError { key, options: *options, error })?;
        let text = describe(request, &response);
        Ok(match (response, key) {
            (Response::Ping { .. }, _) => format!("{text}, answered in {:.1?}", before.elapsed()),
            (_, key) if options.json => as_json(request, key, &response),
            (_, Some(key)) if options.verbose => format!("{text}\nkey: {key}"),
            _ => text,
        })
    }
}

/// Why a request failed.
#[derive(Debug)]
pub struct OneShotError {
    key: Option<Key>,
    options: MoneyOptions,
    /// The error.
    pub error: ClientError,
}

impl From<OneShotError> for CommandError {
    fn from(error: OneShotError) -> CommandError {
        CommandError::Explained { message: error.explain(), outcome: error.error.outcome() }
    }
}

impl OneShotError {
    /// The error, and what to do about it: nobody should repeat what may have been done.
    #[must_use]
    pub fn explain(&self) -> String {
        let OneShotError { key, options, error } = self;
        match (error, key) {
            (ClientError::InDoubt(_), Some(key)) => {
                format!("{error}; it may have been done or not: ask again with --key {key}, by which it is done once")
            }
            (ClientError::InDoubt(_), None) => {
                format!("{error}; it may have been done or not: look at the balance before you repeat it")
            }
            (_, Some(key)) if options.verbose || options.json => format!("{error}; key: {key}"),
            _ => error.to_string(),
        }
    }
}

fn as_json(request: &Request<'_>, key: Option<Key>, response: &Response) -> String {
    let accounts = match *request {
        Request::Deposit { account, .. } | Request::Withdraw { account, .. } => vec![account],
        Request::Transfer { from, to, .. } => vec![from, to],
        _ => Vec::new(),
    };
    let balances = match *response {
        Response::Deposit { balance } | Response::Withdraw { balance } => vec![balance],
        Response::Transfer { from_balance, to_balance } => vec![from_balance, to_balance],
        _ => Vec::new(),
    };
    let balances: Vec<_> = accounts
        .iter()
        .zip(balances)
        .map(|(account, balance)| json!({ "account": account.0, "balance_cents": balance.0 }))
        .collect();
    let key = key.map(|key| key.to_string());
    json!({ "opcode": request.opcode().name(), "key": key, "balances": balances }).to_string()
}

/// An answer as text.
fn describe(request: &Request<'_>, response: &Response) -> String {
    let holds = |account: AccountId, balance: Cents| format!("account {account}: {balance}");
    match (*request, *response) {
        (Request::Transfer { from, to, .. }, Response::Transfer { from_balance, to_balance }) => {
            format!("{}\n{}", holds(from, from_balance), holds(to, to_balance))
        }
        (
            Request::Balance { account } | Request::Deposit { account, .. } | Request::Withdraw { account, .. },
            Response::Balance { balance } | Response::Deposit { balance } | Response::Withdraw { balance },
        ) => holds(account, balance),
        (_, Response::Ping { server_time_ms }) => format!("the server's clock: {server_time_ms} ms since 1970"),
        (_, Response::Totals(totals)) => format!(
            "accounts: {}\nsum: {}\ndeposited: {}\nwithdrawn: {}\nlast operation: {}",
            totals.accounts, totals.sum, totals.deposited, totals.withdrawn, totals.lsn
        ),
        // The connection returns only the reply to its request; LOGIN and HISTORY are not sent here.
        (request, _) => format!("{}: done", request.opcode()),
    }
}
