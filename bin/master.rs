//! `master`: the server.

use std::process::ExitCode;

use bank_vault::base::config::{Options, Settings};
use bank_vault::base::logging;
use bank_vault::process::master;
use bank_vault::service::table::SERVICES;
use bank_vault::tool::output;

fn main() -> ExitCode {
    logging::begin();
    let options: Options = match output::parse_arguments("master") {
        Ok(options) => options,
        Err(code) => return code,
    };
    let asked = options.check_upgrade;
    #[cfg(feature = "break-it")]
    options.defect.into_iter().for_each(bank_vault::base::defect::introduce);
    let read_settings = move || Settings::load(options.clone());
    let outcome =
        if asked { master::check_upgrade(SERVICES, &read_settings) } else { master::run(SERVICES, read_settings) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of them matters, however slowly they are read; the log may leave lines out.
            error.details().iter().for_each(|detail| output::print_error("master", detail));
            logging::complain(&format!("master: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
