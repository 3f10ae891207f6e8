//! What can go wrong between the client and a server, and which exit code it means.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::service::bank::wire::{BodyError, Opcode, Status};
use crate::tool::output::Unwritten;

/// How a run ended, for the door to turn into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done and found right: exit code 0.
    Well,
    /// The server refused, or a check found something wrong: exit code 1.
    Refused,
    /// The arguments make no sense, there is nothing to talk to, or a result cannot be written: exit code 2.
    Unusable,
    /// A signal ended it early, and all is well so far: the program dies of that signal.
    Interrupted(Signal),
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host name means no address.
    #[error("cannot find the host `{host}`: {source}; check --host")]
    Resolve {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection could be made.
    #[error(
        "cannot connect to {address}: {source}; is a server running there? start one with `cargo run --bin master`"
    )]
    Connect {
        /// Host and port.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection ended while something was under way.
    #[error("the connection was lost while {doing}: {source}")]
    Lost {
        /// What the client was about.
        doing: &'static str,
        /// What the kernel said, or that the server closed.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("no answer within {after:?} while {doing}; give it longer with --timeout")]
    Timeout {
        /// What the client was about.
        doing: &'static str,
        /// How long it waited.
        after: Duration,
    },
    /// The user does not want to wait any longer.
    #[error("interrupted while {0}")]
    Interrupted(&'static str),
    /// The server's bytes break the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server said no.
    #[error("{request} refused: {status}")]
    Refused {
        /// What was asked for, such as `WITHDRAW`.
        request: Opcode,
        /// The server's reason.
        status: Status,
    },
    /// The server had no room for an operation, however often it was asked.
    #[error("the server still had no room after {0:?} of attempts; give it longer with --retry-for")]
    NoRoom(Duration),
    /// A money operation was sent, and its answer could not be had.
    #[error(transparent)]
    InDoubt(Box<ClientError>),
    /// The system gave no random bytes.
    #[error("cannot draw random bytes for idempotency keys: {0}; --no-keys does without")]
    Random(#[source] io::Error),
    /// The server said, unasked, that it will not serve this connection.
    #[error("the server turned the connection away: {0}")]
    TurnedAway(Status),
}

impl ClientError {
    /// What the error means for the exit code.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            ClientError::InDoubt(last) => last.outcome(),
            ClientError::Refused { .. }
            | ClientError::NoRoom(_)
            | ClientError::TurnedAway(_)
            | ClientError::Protocol(_) => Outcome::Refused,
            ClientError::Resolve { .. }
            | ClientError::Connect { .. }
            | ClientError::Lost { .. }
            | ClientError::Timeout { .. }
            | ClientError::Interrupted(_)
            | ClientError::Random(_) => Outcome::Unusable,
        }
    }

    /// Whether a new connection may fare better.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Lost { .. } | ClientError::Timeout { .. } => true,
            ClientError::TurnedAway(status) => *status == Status::Busy,
            ClientError::Resolve { .. }
            | ClientError::Protocol(_)
            | ClientError::Refused { .. }
            | ClientError::NoRoom(_)
            | ClientError::InDoubt(_)
            | ClientError::Interrupted(_)
            | ClientError::Random(_) => false,
        }
    }

    /// Sorts an I/O error: the socket's own timeout is a [`ClientError::Timeout`], the end of all patience a
    /// [`ClientError::Interrupted`], all else a lost connection.
    #[must_use]
    pub fn from_io(doing: &'static str, after: Duration, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout { doing, after },
            io::ErrorKind::Interrupted => ClientError::Interrupted(doing),
            _ => ClientError::Lost { doing, source },
        }
    }

    /// The server closed the connection in an orderly way, but too early.
    #[must_use]
    pub fn closed(doing: &'static str) -> ClientError {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
        ClientError::Lost { doing, source }
    }
}

/// Why a command has not shown what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server cannot be talked to, or refused.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The standard output did not take the answer.
    #[error(transparent)]
    Output(#[from] Unwritten),
}

impl CommandError {
    /// What the error means for the exit code.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            CommandError::Server(error) => error.outcome(),
            CommandError::Output(_) => Outcome::Unusable,
        }
    }
}

/// How a server's bytes break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are no frame, or one with a wrong checksum.
    #[error("its bytes are no frame ({0})")]
    Framing(Status),
    /// A frame that is no response.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A reply to something else than the oldest open request.
    #[error("a reply with opcode {got_opcode:#06x} and seq {got_seq}, where {opcode} with seq {seq} is due")]
    OutOfOrder {
        /// The opcode that is due.
        opcode: Opcode,
        /// The sequence number that is due.
        seq: u32,
        /// The opcode that came.
        got_opcode: u16,
        /// The sequence number that came.
        got_seq: u32,
    },
    /// A reply though nothing was asked.
    #[error("a reply with opcode {0:#06x} that nothing was asked for")]
    Unasked(u16),
    /// A page of a statement that is not what was asked for.
    #[error("a page of a statement that does not go on from the one before: {0}")]
    Page(&'static str),
    /// A XORed body before the login that makes the key.
    #[error("a XORed reply before the login")]
    XorBeforeLogin,
}
