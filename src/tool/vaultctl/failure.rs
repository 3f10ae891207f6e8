//! What a subcommand says, and why it did not do what was asked.

use std::error::Error;
use std::process::ExitCode;

use crate::tool::output;

/// Why a subcommand did not do what was asked; it decides the exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The input was good, but the state of things forbids it: exit code 1.
    #[error(transparent)]
    Refused(Box<dyn Error>),
    /// The input was bad, or a resource is unavailable: exit code 2.
    #[error(transparent)]
    Unavailable(Box<dyn Error>),
}

/// Why a resource is unavailable, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unavailable(pub String);

impl Failure {
    pub(super) fn refused(error: impl Error + 'static) -> Failure {
        Failure::Refused(Box::new(error))
    }

    pub(super) fn unavailable(error: impl Error + 'static) -> Failure {
        Failure::Unavailable(Box::new(error))
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) => ExitCode::from(1),
            Failure::Unavailable(_) => ExitCode::from(2),
        }
    }
}

/// Writes to the standard output. A reader that has gone, as in `vaultctl journal dump | head`, changes nothing.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    output::print(text).map(drop).map_err(Failure::unavailable)
}
