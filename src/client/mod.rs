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

use std::io::{self, Write};

use caller::Caller;
use connection::Server;
use error::{ClientError, Outcome};
use oneshot::Question;
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
    let server = Server::find(&options.target).map_err(plain)?.for_one();
    if let Some(question) = Question::of(command) {
        let mut caller = Caller::open(&server).map_err(plain)?;
        let asked = question.ask(&mut caller);
        let answer = asked.map_err(|unanswered| (unanswered.explain(), unanswered.error.outcome()))?;
        // A reader that has gone does not make the operation fail.
        let _ = say(&answer);
        return Ok(Outcome::Well);
    }
    match command {
        Command::History(options) => {
            let mut caller = Caller::open(&server).map_err(plain)?;
            history::show(&mut caller, options).map(|()| Outcome::Well).map_err(plain)
        }
        Command::Faults => {
            let all_right = faults::run(&server).map_err(plain)?;
            Ok(if all_right { Outcome::Well } else { Outcome::Refused })
        }
        _ => match shell::run(&server) {
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
