//! One question, one answer: `client balance 12` and its like.

use std::time::Instant;

use serde_json::json;

use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Request, Response};
use crate::tool::client::caller::Caller;
use crate::tool::client::error::ClientError;
use crate::tool::client::keys::Key;
use crate::tool::client::options::{Command, Manner};

/// A request, and how it is to be sent and shown.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What is asked for.
    pub request: Request<'static>,
    /// How.
    pub manner: Manner,
}

impl Question {
    /// The question of a command, where the command is one request.
    #[must_use]
    pub fn of(command: &Command) -> Option<Question> {
        let plain = Manner::default();
        let (request, manner) = match *command {
            Command::Balance { account } => (Request::Balance { account: AccountId(account) }, plain),
            Command::Deposit { account, amount, manner } => {
                (Request::Deposit { account: AccountId(account), amount }, manner)
            }
            Command::Withdraw { account, amount, manner } => {
                (Request::Withdraw { account: AccountId(account), amount }, manner)
            }
            Command::Transfer { from, to, amount, manner } => {
                (Request::Transfer { from: AccountId(from), to: AccountId(to), amount }, manner)
            }
            Command::Ping => (Request::Ping, plain),
            Command::Totals => (Request::Totals, plain),
            Command::History(_) | Command::Shell | Command::Faults => return None,
        };
        Some(Question { request, manner })
    }

    /// A question that is sent and shown as usual.
    #[must_use]
    pub fn plain(request: Request<'static>) -> Question {
        Question { request, manner: Manner::default() }
    }

    /// Asks, and returns the answer in words.
    ///
    /// # Errors
    /// [`Unanswered`], for a refusal, too.
    pub fn ask(&self, caller: &mut Caller<'_>) -> Result<String, Unanswered> {
        let Question { request, manner } = self;
        let key = manner.key.or_else(|| caller.new_key(request));
        let before = Instant::now();
        let answer = caller.call(request, key.as_ref());
        let response = answer.map_err(|error| Unanswered {
            is_money: request.opcode().is_money(),
            key,
            manner: *manner,
            error,
        })?;
        let text = describe(request, &response);
        Ok(match (response, key) {
            (Response::Ping { .. }, _) => format!("{text}, answered in {:.1?}", before.elapsed()),
            (_, key) if manner.json => as_json(request, key, &response),
            (_, Some(key)) if manner.verbose => format!("{text}\nkey: {key}"),
            _ => text,
        })
    }
}

/// Why a question has no good answer.
#[derive(Debug)]
pub struct Unanswered {
    is_money: bool,
    key: Option<Key>,
    manner: Manner,
    /// What happened.
    pub error: ClientError,
}

impl Unanswered {
    /// What happened, and what to do about it: nobody should repeat what may have been done.
    #[must_use]
    pub fn explain(&self) -> String {
        let Unanswered { is_money, key, manner, error } = self;
        match (error, key) {
            (ClientError::InDoubt(_), Some(key)) => {
                format!("{error}; it may have been done or not: ask again with --key {key}, by which it is done once")
            }
            (ClientError::InDoubt(_), None) => {
                format!("{error}; it may have been done or not: look at the balance before you repeat it")
            }
            (_, Some(key)) if *is_money && (manner.verbose || manner.json) => format!("{error}; key: {key}"),
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

/// An answer in words.
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
        // The caller lets through only the reply to its request; these two have no words of their own.
        (request, _) => format!("{}: done", request.opcode()),
    }
}
