//! Why a fetch failed.

use thiserror::Error;

/// Why a fetch failed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// No connection was made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It took too long.
    #[error("no answer in time: {0}")]
    TimedOut(&'static str),
    /// It says so itself, or says what was not asked for.
    #[error("status {0}")]
    Status(u16),
    /// It has led elsewhere too often, or to what is no HTTP.
    #[error("its redirection leads nowhere")]
    Redirected,
    /// The content is coded, which nobody has asked for.
    #[error("its content is coded as {0}")]
    Coded(String),
    /// Nothing says where the content ends, so nobody could tell a part from the whole.
    #[error("its content has no end that can be told")]
    Endless,
    /// Fewer or more bytes came than were said.
    #[error("its content is not as long as it said")]
    WrongLength,
    /// What it says is no HTTP.
    #[error("it does not speak HTTP: {0}")]
    Malformed(String),
    /// The connection has ended.
    #[error("the connection has ended: {0}")]
    Disconnected(String),
    /// The path cannot be put into a URL.
    #[error("the path makes no URL")]
    BadPath,
    /// There is no thread for it.
    #[error("no thread is free for it")]
    NoThread,
    /// A file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// A file was changed while it was read, so that what has come may be parts of two.
    #[error("the file was changed while it was read")]
    Changed,
    /// There is no map file that can be used.
    #[error("there is no map of files")]
    NoMap,
    /// The origin cannot be used.
    #[error("there is nothing to fetch it from")]
    NoOrigin,
}
