//! Why a fetch failed.

use thiserror::Error;
use ureq::Timeout;

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
}

impl Failure {
    /// Whether a connection that was kept may have been closed by the other side meanwhile.
    pub fn may_be_of_an_old_connection(&self) -> bool {
        matches!(self, Failure::Disconnected(_))
    }

    /// What `ureq` tells before there is a head.
    pub fn of_head(error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe => Failure::Disconnected(error.to_string()),
                _ => Failure::Connect(error.to_string()),
            },
            ureq::Error::Timeout(Timeout::PerRead) => Failure::TimedOut("the head"),
            ureq::Error::Timeout(which) => Failure::TimedOut(step(*which)),
            ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed | ureq::Error::BadUri(_) => Failure::Redirected,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Failure::Connect(error.to_string()),
            other => Failure::Malformed(other.to_string()),
        }
    }

    /// What reading the content tells.
    pub fn of_content(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Failure::WrongLength;
        }
        match ureq::Error::from(error) {
            ureq::Error::Timeout(which) => Failure::TimedOut(step(which)),
            ureq::Error::Io(error) => Failure::Disconnected(error.to_string()),
            other => Failure::Malformed(other.to_string()),
        }
    }
}

/// What was waited for.
fn step(which: Timeout) -> &'static str {
    match which {
        Timeout::Connect | Timeout::Resolve => "connecting",
        Timeout::SendRequest | Timeout::PerWrite => "sending the request",
        Timeout::RecvResponse => "the head",
        _ => "more of it",
    }
}
