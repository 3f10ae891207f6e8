//! The client: a load generator that checks its own results, one-shot commands, a shell, and a sender of malformed frames.
//!
//! It knows the server only by the wire protocol, and so proves that the protocol document is enough.

pub mod accounts;
pub mod clock;
mod connection;
pub mod error;
mod faults;
mod getfile;
mod history;
mod interrupt;
pub mod keys;
pub mod kv_load;
mod load;
pub mod mix;
mod oneshot;
pub mod options;
mod quantities;
pub mod receive_buffer;
mod retrying;
pub mod sampler;
mod servers;
mod shell;

use crate::tool::output;
use connection::Server;
use error::{CommandError, Outcome};
use oneshot::OneShot;
use options::{Command, Options};
use retrying::RetryingConnection;

/// Executes the command line, and prints the result.
pub fn run(options: &Options) -> Outcome {
    let done = match &options.command {
        None => load::run(&options.load, &options.target),
        Some(Command::Getfile(files)) => getfile::run(files, &options.target),
        Some(Command::KvLoad(load)) => kv_load::run(load, &options.target),
        Some(command) => execute(options, command),
    };
    done.and_then(|outcome| output::close_stdout().map(|()| outcome).map_err(CommandError::from)).unwrap_or_else(
        |error| {
            output::print_error("client", &error.to_string());
            error.outcome()
        },
    )
}

fn execute(options: &Options, command: &Command) -> Result<Outcome, CommandError> {
    let mut server = Server::resolve(&options.target)?;
    // The login of a single connection waits for no others.
    server.login_timeout = server.target.timeout;
    if let Some(one_shot) = OneShot::of(command) {
        let answer = one_shot.send(&mut RetryingConnection::open(&server)?)?;
        // A reader that closed the pipe does not make the operation fail.
        output::print_line(&answer).map_err(|error| {
            let opcode = one_shot.request.opcode();
            CommandError::Unusable(format!("{error}. The server has answered: {opcode} is done"))
        })?;
        return Ok(Outcome::Success);
    }
    match command {
        Command::History(options) => history::show(&mut RetryingConnection::open(&server)?, options)?,
        Command::Faults => {
            if !faults::run(&server)? {
                return Ok(Outcome::Failed);
            }
        }
        _ => shell::run(&server)?,
    }
    Ok(Outcome::Success)
}
