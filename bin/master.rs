//! `master`: the server.

use std::process::ExitCode;

use bank_vault::config::{Options, Settings};
use bank_vault::{logging, master, output};

fn main() -> ExitCode {
    logging::begin();
    let options: Options = match output::command_line("master") {
        Ok(options) => options,
        Err(code) => return code,
    };
    let layout = options.layout;
    #[cfg(feature = "break-it")]
    options.defect.into_iter().for_each(bank_vault::defect::introduce);
    let read_settings = move || Settings::load(options.clone());
    let outcome = read_settings().map_err(|error| (error.to_string(), 2)).and_then(|settings| {
        if layout {
            let said = output::say(&format!("{}\n", master::layout())).and_then(|_| output::finish());
            return said.map_err(|error| (error.to_string(), 2));
        }
        master::run(settings, read_settings).map_err(|error| (error.to_string(), error.exit_code()))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((text, code)) => {
            logging::complain(&format!("master: {text}"));
            ExitCode::from(code)
        }
    }
}
