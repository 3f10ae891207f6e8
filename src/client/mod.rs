//! The client: a load generator that checks its own results, one-shot commands, a shell, and a prober of bad frames.
//!
//! It knows the server only by the wire protocol, and so proves that the protocol document is enough.

pub mod backoff;
pub mod books;
pub mod connection;
pub mod error;
pub mod faults;
pub mod inbox;
pub mod latency;
pub mod load;
pub mod mix;
pub mod oneshot;
pub mod options;
pub mod prng;
pub mod report;
pub mod shell;
pub mod skew;

use std::io::{self, Write};

use connection::Server;
use error::{ClientError, Outcome};
use options::{Command, Options};

/// Does what the options say, and prints what came of it.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let done = match &options.command {
        None => load::run(&options.load, &options.target).map_err(|trouble| (trouble.to_string(), trouble.outcome())),
        Some(command) => obey(options, command),
    };
    done.unwrap_or_else(|(why, outcome)| {
        eprintln!("client: {why}");
        outcome
    })
}

/// Does one of the commands; an error comes as its words and what they mean for the exit code.
fn obey(options: &Options, command: &Command) -> Result<Outcome, (String, Outcome)> {
    let plain = |error: ClientError| (error.to_string(), error.outcome());
    let server = Server::find(&options.target).map_err(plain)?;
    match (command, oneshot::request(command)) {
        (_, Some(request)) => match oneshot::run(&server, &request) {
            Ok(()) => Ok(Outcome::Well),
            Err(error) => Err((format!("{error}{}", oneshot::advice(&request, &error)), error.outcome())),
        },
        (Command::Faults, None) => {
            let all_right = faults::run(&server).map_err(plain)?;
            Ok(if all_right { Outcome::Well } else { Outcome::Refused })
        }
        (_, None) => match shell::run(&server) {
            Ok(()) => Ok(Outcome::Well),
            Err(shell::ShellError::Server(error)) => Err(plain(error)),
            Err(error) => Err((error.to_string(), Outcome::Unusable)),
        },
    }
}

/// Prints a line and sends it off at once, for whoever reads a pipe line by line.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
