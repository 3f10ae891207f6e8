//! What `ureq` tells, as a failure of a fetch.

use ureq::Timeout;

use crate::process::cache::origin::Failure;

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
