//! One question, one answer: `client balance 12` and its like.

use std::time::Instant;

use crate::client::connection::{Caller, Server};
use crate::client::error::ClientError;
use crate::client::options::Command;
use crate::client::say;
use crate::vocab::{AccountId, Cents};
use crate::wire::{Request, Response};

/// The request of a command, where the command is a request.
#[must_use]
pub fn request(command: &Command) -> Option<Request<'static>> {
    Some(match *command {
        Command::Balance { account } => Request::Balance { account: AccountId(account) },
        Command::Deposit { account, amount } => Request::Deposit { account: AccountId(account), amount },
        Command::Withdraw { account, amount } => Request::Withdraw { account: AccountId(account), amount },
        Command::Transfer { from, to, amount } => {
            Request::Transfer { from: AccountId(from), to: AccountId(to), amount }
        }
        Command::Ping => Request::Ping,
        Command::Totals => Request::Totals,
        Command::Shell | Command::Faults => return None,
    })
}

/// Asks, and returns the answer in words.
///
/// # Errors
/// [`ClientError`], a refusal among them.
pub fn ask(caller: &mut Caller<'_>, request: &Request<'_>) -> Result<String, ClientError> {
    let before = Instant::now();
    let response = caller.call(request)?;
    let text = describe(request, &response);
    Ok(if matches!(response, Response::Ping { .. }) {
        format!("{text}, answered in {:.1?}", before.elapsed())
    } else {
        text
    })
}

/// Connects, asks, and prints the answer.
///
/// # Errors
/// [`ClientError`], a refusal among them.
pub fn run(server: &Server, request: &Request<'_>) -> Result<(), ClientError> {
    let mut caller = Caller::open(server)?;
    let answer = ask(&mut caller, request)?;
    // A reader that has gone does not make the operation fail.
    let _ = say(&answer);
    Ok(())
}

/// What to add to an error, so that nobody repeats what may have been done.
#[must_use]
pub fn advice(request: &Request<'_>, error: &ClientError) -> &'static str {
    let in_doubt = matches!(error, ClientError::Lost { .. } | ClientError::Timeout { .. });
    if request.opcode().is_money() && in_doubt {
        "; it may have been done or not: look at the balance before you repeat it"
    } else {
        ""
    }
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
