//! Asking the new program whether it fits, and being asked.

use std::fs::File;
use std::io::{self, Read, Write};

use super::hand_over::{HandOver, Introduction, layout};
use super::new_program::NewProgram;
use super::resume::{Purpose, prepare};
use crate::base::config::{ConfigError, Settings};
use crate::ipc::inherit;
use crate::process::master::driver::Driver;
use crate::process::master::error::MasterError;
use crate::process::master::supervisor::Event;
use crate::service::entry::Entry;

impl Driver {
    /// Asks the program that stands there now; the event to be reported at once if it cannot be asked.
    pub fn check_new_program(&mut self) -> Option<Event> {
        let path = self.common.program.clone();
        let asked = self.hand_over().and_then(|(hand_over, ..)| {
            let question = serde_json::to_vec(&hand_over).map_err(io::Error::from)?;
            let mut file = File::from(inherit::message(&question)?);
            io::Seek::rewind(&mut file)?;
            NewProgram::ask(&path, file.into())
        });
        match asked {
            Ok(program) => {
                log::info!("upgrade: asking {} whether it can go on here", path.display());
                self.new_program = Some(program);
                None
            }
            Err(error) => Some(Event::Checked(Err(format!("{} cannot be asked: {error}", path.display())))),
        }
    }

    /// The new program may have answered.
    pub fn read_new_program(&mut self, now: u64) {
        let Some(program) = &mut self.new_program else { return };
        let Some(answer) = program.answer(&layout(self.common.services)) else { return };
        let result = answer.map(|Introduction { version, stay, .. }| {
            let what = program.describe(&version);
            if stay.is_empty() { what } else { format!("{what}; these stay as they are: {}", stay.join(", ")) }
        });
        self.supervisor.handle(now, Event::Checked(result));
    }
}

/// The answer of a new program: reads on standard input what would be handed over, makes every check that is made after `execve(2)`,
/// and writes to standard output what this program is.
///
/// # Errors
/// Why this program could not go on.
pub fn check(
    services: &'static [Entry],
    read_settings: &dyn Fn() -> Result<Settings, ConfigError>,
) -> Result<(), MasterError> {
    let layout = layout(services);
    let mut question = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut question);
    read.map_err(|source| MasterError::Io { step: "read what would be handed over", source })?;
    let stay = match serde_json::from_slice::<HandOver>(&question) {
        Ok(left) if left.layout == layout => prepare(&left, services, read_settings, Purpose::Check)?.stay,
        // The server that asks sees that the layouts differ.
        _ => Vec::new(),
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let introduction = Introduction { layout, version, stay: stay.into_iter().map(str::to_owned).collect() };
    let text = serde_json::to_string(&introduction).map_err(io::Error::from);
    let said = text.and_then(|text| writeln!(io::stdout(), "{text}"));
    said.map_err(|source| MasterError::Io { step: "answer", source })
}
