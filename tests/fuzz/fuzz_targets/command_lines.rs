//! Command lines of all three programs, one argument in each line: no argument is a panic.
#![no_main]

use bank_vault::base::config;
use bank_vault::tool::client::clock::nanoseconds;
use bank_vault::tool::{client, vaultctl};
use bank_vault_fuzz::text;
use clap::Parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(arguments) = text(data).map(|text| text.split('\n')) else { return };
    if let Ok(options) = client::options::Options::try_parse_from(std::iter::once("client").chain(arguments.clone())) {
        let times = [options.target.timeout, options.target.retry_for, options.load.warmup];
        assert!(times.iter().chain(&options.load.duration).all(|time| nanoseconds(*time) < u64::MAX / 2));
        assert!(options.load.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0));
    }
    if let Ok(options) = config::Options::try_parse_from(std::iter::once("master").chain(arguments.clone())) {
        let _ = config::Settings::resolve(options.values);
    }
    let _ = vaultctl::Cli::try_parse_from(std::iter::once("vaultctl").chain(arguments));
});
