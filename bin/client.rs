//! The door of the client: arguments in, exit code out.

use std::process::ExitCode;

use bank_vault::client::error::Outcome;
use bank_vault::client::{options::Options, run};

fn main() -> ExitCode {
    match run(&Options::from_command_line()) {
        Outcome::Well => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::from(1),
        Outcome::Unusable => ExitCode::from(2),
    }
}
