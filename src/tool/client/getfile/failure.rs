//! Why a file was not had.

use std::io;
use std::time::Duration;

use crate::service::getfile::wire::response::{BadHead, Response};
use crate::tool::client::error::{ClientError, Outcome};

/// Why a request did not bring its file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold.
pub enum Failure {
    /// The server answered with another status than OK.
    #[error("the server answered {}", .0.word())]
    Status(Response),
    /// Not what `--check` expects.
    #[error("{0}")]
    Differs(String),
    /// The content ended too early.
    #[error("the content ended after {received} of {length} bytes")]
    Short { received: u64, length: u64 },
    /// The response breaks the protocol.
    #[error("{0}")]
    Malformed(BadHead),
    /// The connection ended without a response, or was reset.
    #[error("the connection was lost: {0}")]
    Lost(#[source] io::Error),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}; give it longer with --timeout")]
    Timeout(Duration),
    /// No connection could be made.
    #[error(transparent)]
    NoConnection(ClientError),
    /// The user ended the run meanwhile.
    #[error("interrupted")]
    Interrupted,
    /// A file or folder of this machine failed.
    #[error("cannot {what}: {source}")]
    Local { what: String, source: io::Error },
}

impl Failure {
    /// For `map_err`: a system call failed; `what` names the action and its object.
    pub fn local(what: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> Failure {
        move |source| Failure::Local { what: what(), source }
    }

    /// Its name in the report.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Status(response) => response.word(),
            Failure::Differs(_) => "differs",
            Failure::Short { .. } => "short",
            Failure::Malformed(_) => "malformed",
            Failure::Lost(_) => "lost",
            Failure::Timeout(_) => "timeout",
            Failure::NoConnection(_) => "no_connection",
            Failure::Interrupted => "interrupted",
            Failure::Local { .. } => "local",
        }
    }

    /// What it means for the exit code where it is the only one.
    pub fn outcome(&self) -> Outcome {
        match self {
            Failure::NoConnection(_) | Failure::Local { .. } => Outcome::Unusable,
            _ => Outcome::Failed,
        }
    }
}
