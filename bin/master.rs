//! `master`: the server.

use std::io::Write;
use std::process::ExitCode;

use bank_vault::config::{Options, Settings};
use bank_vault::master;
use clap::Parser;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|out, record| {
            let role = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
            writeln!(out, "{} [{}] {}: {}", role.trim_end(), std::process::id(), record.level(), record.args())
        })
        .init();
    let options = Options::parse();
    let asked = options.check_upgrade;
    #[cfg(feature = "break-it")]
    options.defect.into_iter().for_each(bank_vault::defect::introduce);
    let read_settings = move || Settings::load(options.clone());
    let outcome = if asked { master::check_upgrade(&read_settings) } else { master::run(read_settings) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("master: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
