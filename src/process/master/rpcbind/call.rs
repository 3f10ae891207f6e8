//! Calls to rpcbind.

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::{RpcbindError, Step};
use super::message::{
    DUMP, Entry, GETPORT, PORTMAPPER_VERSION, RPCBIND, RPCBIND_VERSIONS, SET, UNSET, read_done, read_port,
};
use super::places::Places;
use super::socket::Stream;
use crate::base::limits::{MAX_RPC_FRAGMENTS, MAX_RPCBIND_REPLY_BYTES};
use crate::base::onc_rpc::{Call, Fault, RecordLimits, RecordStep, Reply, XdrError, next_record};

const LIMITS: RecordLimits = RecordLimits { bytes: MAX_RPCBIND_REPLY_BYTES, fragments: MAX_RPC_FRAGMENTS };

/// Where rpcbind is reached.
#[derive(Clone, Debug)]
enum Route {
    Socket(PathBuf),
    Portmapper(SocketAddrV4),
}

/// Who asks rpcbind, a connection for each question: one that went wrong leaves nothing behind for the next.
#[derive(Debug)]
pub struct Caller {
    route: Route,
    place: String,
    patience: Duration,
    /// The version that is spoken.
    version: u32,
    xid: u32,
}

impl Caller {
    /// Looks where rpcbind is: by its Unix socket, else as a portmapper.
    ///
    /// # Errors
    /// The portmapper's address is none of IPv4.
    pub fn find(places: &Places) -> Result<Caller, RpcbindError> {
        let (route, place, version) = match (places.socket(), places.portmapper) {
            (Some(path), _) => (Route::Socket(path.to_owned()), path.display().to_string(), RPCBIND_VERSIONS[0]),
            (None, std::net::SocketAddr::V4(address)) => {
                (Route::Portmapper(address), address.to_string(), PORTMAPPER_VERSION)
            }
            (None, address) => {
                let source = io::ErrorKind::Unsupported.into();
                return Err(RpcbindError::Connect { place: address.to_string(), source });
            }
        };
        Ok(Caller { route, place, patience: places.patience, version, xid: std::process::id() })
    }

    /// Whom it asks, in words.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Makes an entry; false where there is one with another address.
    ///
    /// # Errors
    /// See [`RpcbindError`].
    pub fn set(&mut self, entry: &Entry) -> Result<bool, RpcbindError> {
        let results = self.ask(Step::Set, SET, entry)?;
        read_done(&results).map_err(|error| self.garbage(Step::Set, error))
    }

    /// Takes an entry away; false where there is none, or it is another user's.
    ///
    /// # Errors
    /// See [`RpcbindError`].
    pub fn unset(&mut self, entry: &Entry) -> Result<bool, RpcbindError> {
        let results = self.ask(Step::Unset, UNSET, entry)?;
        read_done(&results).map_err(|error| self.garbage(Step::Unset, error))
    }

    /// The universal addresses at which the program is registered by the transport of `entry`.
    ///
    /// # Errors
    /// See [`RpcbindError`].
    pub fn addresses(&mut self, entry: &Entry) -> Result<Vec<String>, RpcbindError> {
        match self.route {
            Route::Socket(_) => {
                let results = self.ask(Step::List, DUMP, entry)?;
                entry.addresses_in(&results).map_err(|error| self.garbage(Step::List, error))
            }
            Route::Portmapper(_) => {
                let results = self.ask(Step::List, GETPORT, entry)?;
                let port = read_port(&results).map_err(|error| self.garbage(Step::List, error))?;
                // It has no hosts: whatever has the port is at the same.
                let at = |port| {
                    let mut entry = entry.clone();
                    entry.address.set_port(port);
                    entry.universal_address()
                };
                Ok(port.map(at).into_iter().collect())
            }
        }
    }

    /// Asks, in an older version where the one that is spoken is not known, and returns the results.
    fn ask(&mut self, step: Step, procedure: u32, entry: &Entry) -> Result<Vec<u8>, RpcbindError> {
        if matches!(self.route, Route::Portmapper(_)) && !entry.is_old() {
            return Err(RpcbindError::Unknown { place: self.place.clone(), netid: entry.netid });
        }
        match self.ask_once(step, procedure, entry)? {
            Err(Fault::ProgMismatch { .. }) if self.version == RPCBIND_VERSIONS[0] => {
                self.version = RPCBIND_VERSIONS[1];
                self.ask_once(step, procedure, entry)?.map_err(|fault| self.fault(step, fault))
            }
            results => results.map_err(|fault| self.fault(step, fault)),
        }
    }

    fn ask_once(&mut self, step: Step, procedure: u32, entry: &Entry) -> Result<Result<Vec<u8>, Fault>, RpcbindError> {
        let deadline = Instant::now() + self.patience;
        let stream = self.connect(deadline)?;
        self.xid = self.xid.wrapping_add(1);
        let call = Call { xid: self.xid, program: RPCBIND, version: self.version, procedure, ..Call::default() };
        let mut record = Vec::new();
        call.write_with(&mut record, |sink| match (&self.route, procedure) {
            (Route::Socket(_), DUMP) => {}
            (Route::Socket(_), _) => entry.write(nix::unistd::geteuid().as_raw(), sink),
            (Route::Portmapper(_), _) => entry.write_old(sink),
        });
        stream.write(&record, deadline).map_err(|source| self.broken(step, source))?;
        self.receive(&stream, step, deadline)
    }

    fn connect(&self, deadline: Instant) -> Result<Stream, RpcbindError> {
        let connected = match &self.route {
            Route::Socket(path) => Stream::to_path(path),
            Route::Portmapper(address) => Stream::to_address(*address, deadline),
        };
        connected.map_err(|source| RpcbindError::Connect { place: self.place.clone(), source })
    }

    /// The results in the next reply, which is to be that of this call.
    fn receive(&self, stream: &Stream, step: Step, deadline: Instant) -> Result<Result<Vec<u8>, Fault>, RpcbindError> {
        let (mut unread, mut gathered, mut room) = (Vec::new(), Vec::new(), [0; 4096]);
        loop {
            match next_record(&unread, LIMITS, &mut gathered) {
                RecordStep::Complete { payload, .. } => {
                    let reply = Reply::read(payload).map_err(|error| self.garbage(step, error))?;
                    if reply.xid != self.xid {
                        let why = "it answers another call".to_owned();
                        return Err(RpcbindError::Garbage { place: self.place.clone(), step, why });
                    }
                    return Ok(reply.results.map(<[u8]>::to_vec));
                }
                RecordStep::Fatal(fault) => {
                    let why = fault.to_string();
                    return Err(RpcbindError::Garbage { place: self.place.clone(), step, why });
                }
                RecordStep::NeedMore { .. } => {
                    let count = stream.read(&mut room, deadline).map_err(|source| self.broken(step, source))?;
                    unread.extend_from_slice(&room[..count]);
                }
            }
        }
    }

    fn garbage(&self, step: Step, error: XdrError) -> RpcbindError {
        RpcbindError::Garbage { place: self.place.clone(), step, why: error.to_string() }
    }

    fn fault(&self, step: Step, fault: Fault) -> RpcbindError {
        RpcbindError::Fault { place: self.place.clone(), step, fault }
    }

    fn broken(&self, step: Step, source: io::Error) -> RpcbindError {
        let place = self.place.clone();
        match source.kind() {
            io::ErrorKind::TimedOut => RpcbindError::Silent { place, step, patience: self.patience },
            _ => RpcbindError::Broken { place, step, source },
        }
    }
}
