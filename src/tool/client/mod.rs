//! The client: a load generator that checks its own results, one-shot commands, a shell, and a prober of bad frames.
//!
//! It knows the server only by the wire protocol, and so proves that the protocol document is enough.

pub mod backoff;
pub mod books;
pub mod caller;
pub mod connection;
pub mod error;
pub mod faults;
pub mod history;
pub mod inbox;
pub mod interrupt;
pub mod keys;
pub mod latency;
pub mod load;
pub mod mix;
pub mod oneshot;
pub mod options;
pub mod prng;
pub mod report;
pub mod shell;
pub mod skew;
pub mod time;

use crate::tool::output::{self, Reader, Unwritten};
use caller::Caller;
use connection::Server;
use error::{ClientError, CommandError, Outcome};
use oneshot::Question;
use options::{Command, Options};

/// Does what the options say, and prints what came of it.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let done = match &options.command {
        None => load::run(&options.load, &options.target).map_err(|trouble| (trouble.to_string(), trouble.outcome())),
        Some(command) => obey(options, command),
    };
    let written = |outcome| output::finish().map(|()| outcome).map_err(|error| (error.to_string(), Outcome::Unusable));
    done.and_then(written).unwrap_or_else(|(why, outcome)| {
        output::complain("client", &why);
        outcome
    })
}

/// Does one of the commands; an error comes as its words and what they mean for the exit code.
fn obey(options: &Options, command: &Command) -> Result<Outcome, (String, Outcome)> {
    let plain = |error: ClientError| (error.to_string(), error.outcome());
    let of_command = |error: CommandError| (error.to_string(), error.outcome());
    let server = Server::find(&options.target).map_err(plain)?.for_one();
    if let Some(question) = Question::of(command) {
        let mut caller = Caller::open(&server).map_err(plain)?;
        let asked = question.ask(&mut caller);
        let answer = asked.map_err(|unanswered| (unanswered.explain(), unanswered.error.outcome()))?;
        // A reader that has gone does not make the operation fail.
        let said = say(&answer).map_err(|error| {
            (format!("{error}. The server has answered: {} is done", question.request.opcode()), Outcome::Unusable)
        });
        return said.map(|_| Outcome::Well);
    }
    match command {
        Command::History(options) => {
            let mut caller = Caller::open(&server).map_err(plain)?;
            history::show(&mut caller, options).map(|()| Outcome::Well).map_err(of_command)
        }
        Command::Faults => {
            let all_right = faults::run(&server).map_err(of_command)?;
            Ok(if all_right { Outcome::Well } else { Outcome::Refused })
        }
        _ => match shell::run(&server) {
            Ok(()) => Ok(Outcome::Well),
            Err(shell::ShellError::Command(error)) => Err(of_command(error)),
            Err(error) => Err((error.to_string(), Outcome::Unusable)),
        },
    }
}

/// Prints a line and sends it off at once.
fn say(text: &str) -> Result<Reader, Unwritten> {
    output::say(&format!("{text}\n"))
}
