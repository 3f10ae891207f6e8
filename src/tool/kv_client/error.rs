//! Why there is no result.

use crate::service::kv::wire::KvStatus;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server has refused it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be asked for, or nobody answers.
    #[error("{0}")]
    Unusable(String),
}

impl Failure {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::Unusable(_) => 2,
        }
    }
}

/// What a status means, for people.
pub fn explained(status: KvStatus) -> &'static str {
    match status {
        KvStatus::Ok => "it was done",
        KvStatus::NotFound => "there is no such key",
        KvStatus::VersionMismatch => "the key has another version",
        KvStatus::NotPrimary => "another server writes; name all servers with --server",
        KvStatus::NoQuorum => "the servers cannot agree now, and nothing was committed; ask again later",
        KvStatus::Behind => "the server has not applied that version yet; ask again later",
        KvStatus::Busy => "the server has no room for it now; delete keys, or ask again later",
        KvStatus::Invalid => "the key cannot be one",
        KvStatus::TooLarge => "the value is longer than this server allows (--kv-max-value)",
        KvStatus::Conflict => "the request id was used for another call",
        KvStatus::Forbidden => "your role does not allow it",
    }
}
