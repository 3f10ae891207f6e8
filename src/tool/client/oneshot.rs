//! One request, one answer: `client balance 12` and the like.

use std::time::Instant;

use serde_json::json;

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Response};
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::keys::Key;
use crate::tool::client::options::{Command, MoneyOptions, Movement};
use crate::tool::client::retrying::RetryingConnection;

/// A request, and how to send and show it.
#[derive(Clone, Copy, Debug)]
pub struct OneShot {
    pub request: Request<'static>,
    /// How to send and show it.
    pub options: MoneyOptions,
}

impl OneShot {
    /// The request of a command, where the command is a single request.
    pub fn of(command: &Command) -> Option<OneShot> {
        Some(match *command {
            Command::Balance { account } => OneShot::plain(Request::Balance { account: AccountId(account) }),
            Command::Deposit(Movement { account, amount, options }) => {
                OneShot { request: Request::Deposit { account: AccountId(account), amount }, options }
            }
            Command::Withdraw(Movement { account, amount, options }) => {
                OneShot { request: Request::Withdraw { account: AccountId(account), amount }, options }
            }
            Command::Transfer { from, to, amount, options } => {
                OneShot { request: Request::Transfer { from: AccountId(from), to: AccountId(to), amount }, options }
            }
            Command::Ping => OneShot::plain(Request::Ping),
            Command::Totals => OneShot::plain(Request::Totals),
            Command::History(_) | Command::Shell | Command::Faults | Command::Getfile(_) | Command::KvLoad(_) => {
                return None;
            }
        })
    }

    /// A request with the default options.
    pub fn plain(request: Request<'static>) -> OneShot {
        OneShot { request, options: MoneyOptions::default() }
    }

    /// Sends the request, and returns the answer as text. A refusal is an error.
    pub fn send(&self, connection: &mut RetryingConnection<'_>) -> Result<String, CommandError> {
        let OneShot { request, options } = self;
        let key = options.key.or_else(|| connection.new_key(request));
        let before = Instant::now();
        let response = connection
            .call(request, key.as_ref())
            .map_err(|error| CommandError::Request { message: self.explain(&error, key), error })?;
        let text = describe(request, &response);
        Ok(match (response, key) {
            (Response::Ping { .. }, _) => format!("{text}, answered in {:.1?}", before.elapsed()),
            (_, key) if options.json => as_json(request, key, &response),
            (_, Some(key)) if options.verbose => format!("{text}\nkey: {key}"),
            _ => text,
        })
    }

    /// The error, and what to do about it: nobody should repeat what may have been done.
    fn explain(&self, error: &ClientError, key: Option<Key>) -> String {
        match (error, key) {
            (ClientError::InDoubt(_), Some(key)) => {
                format!("{error}; it may have been done or not: ask again with --key {key}, by which it is done once")
            }
            (ClientError::InDoubt(_), None) => {
                format!("{error}; it may have been done or not: look at the balance before you repeat it")
            }
            (_, Some(key)) if self.options.verbose || self.options.json => format!("{error}; key: {key}"),
            _ => error.to_string(),
        }
    }
}

/// The accounts that a request names, and what the answer says that they hold.
fn balances(request: &Request<'_>, response: &Response) -> Vec<(AccountId, Cents)> {
    match (*request, *response) {
        (Request::Transfer { from, to, .. }, Response::Transfer { from_balance, to_balance }) => {
            vec![(from, from_balance), (to, to_balance)]
        }
        (
            Request::Balance { account } | Request::Deposit { account, .. } | Request::Withdraw { account, .. },
            Response::Balance { balance } | Response::Deposit { balance } | Response::Withdraw { balance },
        ) => vec![(account, balance)],
        _ => Vec::new(),
    }
}

fn as_json(request: &Request<'_>, key: Option<Key>, response: &Response) -> String {
    let balances = balances(request, response).into_iter();
    let balances = balances
        .map(|(account, balance)| json!({ "account": account.0, "balance_cents": balance.0 }))
        .collect::<Vec<_>>();
    let key = key.map(|key| key.to_string());
    json!({ "opcode": request.opcode().name(), "key": key, "balances": balances }).to_string()
}

/// An answer as text.
fn describe(request: &Request<'_>, response: &Response) -> String {
    match response {
        Response::Ping { server_time_ms } => format!("the server's clock: {server_time_ms} ms since 1970"),
        Response::Totals(totals) => format!(
            "accounts: {}\nsum: {}\ndeposited: {}\nwithdrawn: {}\nlast operation: {}",
            totals.accounts, totals.sum, totals.deposited, totals.withdrawn, totals.lsn
        ),
        _ => {
            let balances = balances(request, response).into_iter();
            balances.map(|(account, balance)| format!("account {account}: {balance}")).collect::<Vec<_>>().join("\n")
        }
    }
}
