//! `vaultctl`: the operator's tool.

use std::process::ExitCode;

use bank_vault::base::logging;
use bank_vault::tool::{output, vaultctl};

fn main() -> ExitCode {
    logging::end_on_panic();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    output::parse_arguments("vaultctl").map_or_else(|code| code, vaultctl::run)
}
