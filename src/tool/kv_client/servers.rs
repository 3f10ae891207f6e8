//! Several servers, of which the primary is found and followed.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Answer, AskError, Connection};
use super::error::{Failure, explained};
use super::options::Options;
use crate::base::onc_rpc::Fault;
use crate::service::kv::wire::{KvProcedure, KvRefusal, KvRequest};

/// Between two tries that no event separates.
const PAUSE: Duration = Duration::from_millis(100);

/// The servers that were named, and the one that is asked now.
#[derive(Debug)]
pub struct Servers {
    named: Vec<String>,
    /// Which of them comes next.
    next: usize,
    /// Whom to ask now.
    address: String,
    connection: Option<Connection>,
    /// Whether the one that is connected has said that it is the primary.
    is_primary: bool,
    reads_from_any: bool,
    timeout: Duration,
}

/// Why one try was none.
enum Miss {
    /// Nobody was there.
    Unreached(String),
    /// The connection broke, and the request may have been carried out.
    Broken(String),
    /// It is to be asked elsewhere, or again.
    Elsewhere(KvRefusal),
}

impl Servers {
    /// Those that the command line names.
    pub fn new(options: &Options) -> Servers {
        let named = options.server.clone();
        Servers {
            address: named.first().cloned().unwrap_or_default(),
            next: 1,
            named,
            connection: None,
            is_primary: false,
            reads_from_any: options.any,
            timeout: Duration::from_secs(options.timeout.get()),
        }
    }

    /// Asks until there is an answer that is final. What may have been carried out is asked again as it was, under the same request id.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the last refusal, [`Failure::Unusable`] where nobody answers in time, or with what is no answer.
    pub fn ask(&mut self, request: &KvRequest<'_>) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.timeout;
        let is_write = matches!(request.procedure(), KvProcedure::Put | KvProcedure::Delete);
        let (mut unreached, mut is_in_doubt) = (0, false);
        let mut refused = None;
        loop {
            let begun = Instant::now();
            // How long the next try takes, as far as is known.
            let mut next_takes = Duration::ZERO;
            let miss = match self.try_once(request, deadline)? {
                Ok(answer) => return Ok(answer),
                Err(miss) => miss,
            };
            let (failure, pauses) = match miss {
                Miss::Unreached(why) => {
                    unreached += 1;
                    let everybody = unreached >= self.named.len();
                    if everybody && !is_in_doubt {
                        return Err(Failure::Unusable(why));
                    }
                    self.go_on();
                    (self.in_time(why, is_in_doubt), everybody)
                }
                Miss::Broken(why) => {
                    is_in_doubt |= is_write;
                    self.go_on();
                    (self.in_time(why, is_in_doubt), true)
                }
                Miss::Elsewhere(refusal) => {
                    unreached = 0;
                    let status = refusal.status();
                    let followed = refusal == KvRefusal::NotPrimary && self.follow(deadline);
                    if !followed {
                        self.go_on();
                    }
                    let why = format!("{status}: {}", explained(status));
                    if is_write && refusal == KvRefusal::NoQuorum {
                        // The server has waited for a primary. Of a try that is cut short nobody would know what became of it.
                        next_takes = begun.elapsed();
                    }
                    refused = Some(why.clone());
                    (self.refused(why, is_in_doubt), !followed)
                }
            };
            if Instant::now() + PAUSE + next_takes >= deadline {
                // The last try may have been cut short by the deadline alone: what was said before it says more.
                return Err(refused.filter(|_| !is_in_doubt).map_or(failure, Failure::Refused));
            }
            if pauses {
                thread::sleep(PAUSE);
            }
        }
    }

    /// A refusal speaks of its own try alone.
    fn refused(&self, why: String, is_in_doubt: bool) -> Failure {
        if is_in_doubt { self.in_time(why, true) } else { Failure::Refused(why) }
    }

    fn in_time(&self, why: String, is_in_doubt: bool) -> Failure {
        let doubt = if is_in_doubt { "; whether it was done is not known" } else { "" };
        Failure::Unusable(format!("{why}; nobody has answered within {} s{doubt}", self.timeout.as_secs()))
    }

    /// One try; an error is final.
    fn try_once(&mut self, request: &KvRequest<'_>, deadline: Instant) -> Result<Result<Answer, Miss>, Failure> {
        // One that hangs leaves time for the others.
        let share = self.timeout / u32::try_from(self.named.len().max(1)).unwrap_or(u32::MAX);
        let until = deadline.min(Instant::now() + share);
        if self.connection.is_none() {
            self.is_primary = false;
            match Connection::open(&self.address, until) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => return Ok(Err(Miss::Unreached(format!("{}: {error}", self.address)))),
            }
        }
        let is_read = matches!(request.procedure(), KvProcedure::Get | KvProcedure::Scan);
        if is_read && !self.reads_from_any && !self.is_primary && self.named.len() > 1 {
            match self.ask_connected(&KvRequest::Status, until)? {
                Ok(Answer::Node(node)) if node.primary => self.is_primary = true,
                Ok(_) => return Ok(Err(Miss::Elsewhere(KvRefusal::NotPrimary))),
                Err(miss) => return Ok(Err(miss)),
            }
        }
        Ok(match self.ask_connected(request, until)? {
            Ok(Answer::Refused(refusal @ (KvRefusal::NotPrimary | KvRefusal::NoQuorum | KvRefusal::Behind))) => {
                Err(Miss::Elsewhere(refusal))
            }
            answer => answer,
        })
    }

    fn ask_connected(&mut self, request: &KvRequest<'_>, until: Instant) -> Result<Result<Answer, Miss>, Failure> {
        let Some(connection) = self.connection.as_mut() else {
            return Ok(Err(Miss::Unreached(format!("{}: not connected", self.address))));
        };
        match connection.ask(request, until) {
            Ok(answer) => Ok(Ok(answer)),
            Err(AskError::Broken(error)) => {
                self.connection = None;
                // A socket says that it would block where its time is over (socket(7), SO_RCVTIMEO).
                let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                let why = if is_late { "no answer in time".to_owned() } else { error.to_string() };
                Ok(Err(Miss::Broken(format!("{}: {why}", self.address))))
            }
            Err(error @ AskError::Fault(Fault::Auth(_) | Fault::SystemErr)) => {
                Err(Failure::Refused(format!("{}: {error}", self.address)))
            }
            Err(error) => Err(Failure::Unusable(format!("{}: {error}", self.address))),
        }
    }

    /// Goes where the server that is connected says that the primary is; false where it knows none, or names itself.
    fn follow(&mut self, deadline: Instant) -> bool {
        match self.ask_connected(&KvRequest::Status, deadline) {
            Ok(Ok(Answer::Node(node))) if !node.primary_address.is_empty() && !node.primary => {
                let is_new = node.primary_address != self.address;
                self.address = node.primary_address;
                self.connection = None;
                is_new
            }
            _ => false,
        }
    }

    /// Goes to the next of those that were named.
    fn go_on(&mut self) {
        self.connection = None;
        if let Some(address) = self.named.get(self.next % self.named.len().max(1)) {
            self.address.clone_from(address);
        }
        self.next += 1;
    }
}
