//! The number of a start.

use crate::process::master::error::MasterError;

/// A number for a start, which no other start of an instance of the same name has.
///
/// # Errors
/// There are no random numbers.
pub fn draw() -> Result<u32, MasterError> {
    loop {
        match getrandom::u32() {
            Ok(0) => {}
            Ok(boot) => return Ok(boot),
            Err(error) => return Err(MasterError::Io { step: "read random bytes", source: error.into() }),
        }
    }
}
