//! `vaultctl`: the operator's tool.

use std::process::ExitCode;

use bank_vault::vaultctl;
use clap::Parser;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    vaultctl::run(vaultctl::Cli::parse())
}
