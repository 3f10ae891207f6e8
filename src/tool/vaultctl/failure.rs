//! What a subcommand says, and why it did not do what was asked.

use std::error::Error;

use crate::tool::output;

/// Why a subcommand did not do what was asked. A `?` makes any error one of a bad input or an unavailable resource; a refusal is
/// to be said so.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: Box<dyn Error>,
    pub(super) exit_code: u8,
}

impl Failure {
    /// The input was good, but the state of things forbids it: exit code 1.
    pub(super) fn refused(why: impl Into<Box<dyn Error>>) -> Failure {
        Failure { why: why.into(), exit_code: 1 }
    }

    /// The input was bad, or a resource is unavailable: exit code 2.
    pub(super) fn unavailable(why: impl Into<Box<dyn Error>>) -> Failure {
        Failure { why: why.into(), exit_code: 2 }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::unavailable(error)
    }
}

/// Writes to the standard output. A reader that has gone, as in `vaultctl journal dump | head`, changes nothing.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    output::print(text)?;
    Ok(())
}

/// Writes a report to the standard output as JSON.
pub(super) fn say_json(report: &impl serde::Serialize) -> Result<(), Failure> {
    say(&format!("{}\n", serde_json::to_string_pretty(report)?))
}
