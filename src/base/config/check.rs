//! Checks that several settings share.

use std::path::PathBuf;

use super::error::ConfigError;
use super::range::Range;

impl Range {
    /// The value in the type that the program uses, if it is within the range (and within that type).
    pub fn check<T: TryFrom<i64>>(self, value: i64) -> Result<T, ConfigError> {
        let outside = || ConfigError::OutOfRange { range: self, value: value.to_string() };
        if value < self.least || value > self.most {
            return Err(outside());
        }
        T::try_from(value).map_err(|_| outside())
    }

    /// Reads a command-line word; what is not a whole number gets the same refusal as one out of range.
    pub fn parse(self, text: &str) -> Result<i64, ConfigError> {
        let number = text.parse().map_err(|_| ConfigError::OutOfRange { range: self, value: text.to_owned() })?;
        self.check(number)
    }
}

/// A number within its range, or the default where none is given.
pub(super) fn number<T: TryFrom<i64>>(range: Range, value: Option<i64>, default: T) -> Result<T, ConfigError> {
    value.map_or(Ok(default), |value| range.check(value))
}

/// A path that is not empty.
pub(super) fn not_empty(name: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() { Err(ConfigError::EmptyPath { name }) } else { Ok(path) }
}
