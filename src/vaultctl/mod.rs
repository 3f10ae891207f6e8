//! The operator's tool: one file per subcommand, each with its arguments and a `run` that returns a `Failure`.
//!
//! What was asked for goes to the standard output, everything said about it to the standard error.

mod password;
mod user;

use std::error::Error;
use std::process::ExitCode;

/// The command line of `vaultctl`.
#[derive(Debug, clap::Parser)]
#[command(name = "vaultctl", version, about = "Looks after a Bank Vault: its users and what its instances leave")]
#[command(after_help = "Exit codes: 0 done; 1 refused as things stand (a user who is there already, or is not); \
                        2 bad input or an unavailable resource.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say who may log in
    User(user::User),
}

/// Why a subcommand did not do what was asked; it decides the exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input was good, but the state of things forbids it: exit code 1.
    #[error(transparent)]
    Refused(Box<dyn Error>),
    /// The input was bad, or something needed is not to be had: exit code 2.
    #[error(transparent)]
    Unavailable(Box<dyn Error>),
}

impl Failure {
    fn refused(error: impl Error + 'static) -> Failure {
        Failure::Refused(Box::new(error))
    }

    fn unavailable(error: impl Error + 'static) -> Failure {
        Failure::Unavailable(Box::new(error))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) => ExitCode::from(1),
            Failure::Unavailable(_) => ExitCode::from(2),
        }
    }
}

/// Does what the command line asks, and says on the standard error what went wrong.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::User(user) => user::run(user),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vaultctl: {failure}");
            failure.exit_code()
        }
    }
}
