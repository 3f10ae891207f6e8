//! The client of the key-value service: parses its arguments, runs, and returns the exit code.

use std::process::ExitCode;

use bank_vault::base::logging;
use bank_vault::tool::{kv_client, output};

fn main() -> ExitCode {
    logging::end_on_panic();
    output::parse_arguments("kv_client").map_or_else(|code| code, |options| ExitCode::from(kv_client::run(&options)))
}
