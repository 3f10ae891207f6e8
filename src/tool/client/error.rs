//! What can go wrong between the client and a server, and which exit code it means.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::base::onc_rpc::{Fault, RecordFault, XdrError};
use crate::service::bank::wire::{BodyError, Opcode, Status};
use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::tool::output::StdoutError;

/// How the program ends; `bin/client.rs` maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done and every check passed: exit code 0.
    Success,
    /// The server refused, or a check failed: exit code 1.
    Failed,
    /// Bad arguments, no server, or a result that cannot be written: exit code 2.
    Unusable,
    /// A signal ended the run early, and nothing was wrong so far: the program dies of that signal.
    Interrupted(Signal),
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold; `doing` is what the client was doing.
pub enum ClientError {
    #[error("cannot find the host `{host}`: {source}; check --host or --server")]
    Resolve { host: String, source: io::Error },
    #[error(
        "cannot connect to {address}: {source}; is a server running there? start one with `cargo run --bin master`"
    )]
    Connect { address: String, source: io::Error },
    /// The connection ended too early.
    #[error("the connection was lost while {doing}: {source}")]
    Lost { doing: &'static str, source: io::Error },
    /// No bytes came for too long.
    #[error("no answer within {after:?} while {doing}; give it longer with --timeout")]
    Timeout { doing: &'static str, after: Duration },
    /// The user interrupted the run, and the replies were waited for long enough.
    #[error("interrupted while {0}")]
    Interrupted(&'static str),
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server broke the protocol: {0}")]
    Rpc(#[from] RpcError),
    #[error("{request} refused: {status}")]
    Refused { request: Opcode, status: Status },
    /// It was asked, and another server is to be.
    #[error("{address} is not the primary of its cluster, and none was found; give it longer with --retry-for")]
    NotPrimary { address: String },
    /// The server had no room for an operation, however often it was sent.
    #[error("the server still had no room after {0:?} of attempts; give it longer with --retry-for")]
    NoRoom(Duration),
    /// A money operation was sent and not answered.
    #[error(transparent)]
    InDoubt(Box<ClientError>),
    #[error("cannot draw random bytes for idempotency keys: {0}; --no-keys does without")]
    Random(#[source] io::Error),
    /// The server refused the connection itself.
    #[error("the server turned the connection away: {0}")]
    TurnedAway(Status),
}

impl ClientError {
    /// What the error means for the exit code.
    pub fn outcome(&self) -> Outcome {
        match self {
            ClientError::InDoubt(last) => last.outcome(),
            ClientError::Refused { .. }
            | ClientError::NoRoom(_)
            | ClientError::TurnedAway(_)
            | ClientError::Protocol(_)
            | ClientError::Rpc(_) => Outcome::Failed,
            _ => Outcome::Unusable,
        }
    }

    /// Whether a new connection may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Connect { .. }
            | ClientError::Lost { .. }
            | ClientError::Timeout { .. }
            | ClientError::NotPrimary { .. } => true,
            ClientError::Refused { status, .. } => status.is_elsewhere(),
            ClientError::TurnedAway(status) => *status == Status::Busy,
            _ => false,
        }
    }

    /// Sorts an I/O error: the socket's timeout is a [`ClientError::Timeout`], everything else a lost connection.
    pub fn from_io(doing: &'static str, after: Duration, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout { doing, after },
            _ => ClientError::Lost { doing, source },
        }
    }

    /// The server closed the connection in order, but too early.
    pub fn closed(doing: &'static str) -> ClientError {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
        ClientError::Lost { doing, source }
    }
}

/// Why a command or a load run failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold.
pub enum CommandError {
    /// The options do not go together, or the answer cannot be shown.
    #[error("{0}")]
    Unusable(String),
    /// The server cannot be reached, or refused.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The standard output did not take the result.
    #[error(transparent)]
    Output(#[from] StdoutError),
    /// See [`CommandError::system`].
    #[error("cannot {what}: {source}")]
    System { what: String, source: io::Error },
    /// A request failed; `message` names the error and advises the user.
    #[error("{message}")]
    Request { message: String, error: ClientError },
}

impl CommandError {
    /// For `map_err`: a system call failed; `what` names the action and its object.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
        move |source| CommandError::System { what: what.into(), source }
    }

    /// What the error means for the exit code.
    pub fn outcome(&self) -> Outcome {
        match self {
            CommandError::Server(error) | CommandError::Request { error, .. } => error.outcome(),
            _ => Outcome::Unusable,
        }
    }
}

/// How a server's bytes break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold.
pub enum ProtocolError {
    /// The bytes are no frame, or its checksum is wrong.
    #[error("its bytes are no frame ({0})")]
    Framing(Status),
    /// A frame that is no response.
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("a reply with opcode {got_opcode:#06x} and seq {got_seq}, where {opcode} with seq {seq} is due")]
    OutOfOrder { opcode: Opcode, seq: u32, got_opcode: u16, got_seq: u32 },
    #[error("a reply with opcode {0:#06x} that nothing was asked for")]
    Unasked(u16),
    #[error("a page of a statement that does not go on from the one before: {0}")]
    Page(&'static str),
    #[error("a XORed reply before the login")]
    XorBeforeLogin,
}

/// How a server's bytes are no answer of ONC RPC to what was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold.
pub enum RpcError {
    #[error(transparent)]
    Record(#[from] RecordFault),
    #[error("its bytes are no reply: {0}")]
    Xdr(#[from] XdrError),
    #[error("it refuses the call: {0}")]
    Fault(Fault),
    #[error("a reply to call {got}, where that to call {due} is due")]
    OutOfOrder { due: u32, got: u32 },
    #[error("{got} as the answer to {asked}")]
    Answer { asked: KvProcedure, got: KvStatus },
}
