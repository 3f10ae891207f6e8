//! The client: parses its arguments, runs, and maps the outcome to an exit code.

use std::process::ExitCode;

use bank_vault::base::logging;
use bank_vault::tool::client::error::Outcome;
use bank_vault::tool::client::{options::Options, run};
use bank_vault::tool::{output, signals};

fn main() -> ExitCode {
    logging::end_on_panic();
    let options = match Options::from_command_line() {
        Ok(options) => options,
        Err(error) => return output::print_usage("client", &error),
    };
    match run(&options) {
        Outcome::Success => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
        Outcome::Unusable => ExitCode::from(2),
        Outcome::Interrupted(signal) => signals::die_of(signal),
    }
}
