//! The listening sockets of a start.
//!
//! With `--accept reuseport` several sockets share a port, and the kernel lets every process of the same user add one
//! (SO_REUSEPORT, `socket(7)`): a second ledger would be dealt half of the first one's clients. So the first socket is bound and
//! listens without that option, which fails if anybody listens there, whatever options he has set; only then it is set, and
//! the sockets of further workers join. In no moment the port is free for two servers that start at the same time.
//!
//! What the kernel does not offer is to keep others out later: a program of the same user that sets SO_REUSEPORT by itself can
//! join while the server runs. No Bank Vault does.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use crate::base::config::{AcceptMode, Settings};
use crate::base::limits::HTTP_DEFER_SECONDS;
use crate::ipc::{IpcError, net};
use crate::store::connection::{PerService, Service};

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody listens there.
    #[error("{address} is in use: somebody listens there already; stop that one, or choose another port with {option}")]
    InUse {
        /// Where.
        address: SocketAddr,
        /// The option that says which port, and what 0 is to it.
        option: &'static str,
    },
    /// One port for two services.
    #[error("--port and --http-port are both {0}: each needs a port of its own")]
    Twice(u16),
    /// Ports below 1024 are for privileged processes.
    #[error(
        "{address} may not be listened on by this user: choose a port from 1024 on with {option}, or grant CAP_NET_BIND_SERVICE"
    )]
    Forbidden {
        /// Where.
        address: SocketAddr,
        /// The option that says which port, and what 0 is to it.
        option: &'static str,
    },
    /// No such address.
    #[error("{0} is no address of this machine: choose another with --host")]
    NotHere(SocketAddr),
    /// The kernel refuses it for another reason.
    #[error(transparent)]
    Ipc(#[from] IpcError),
}

/// A listening socket for each service that is on; HTTP is given up where its port is taken that nobody has named.
///
/// # Errors
/// See [`PortError`].
pub fn open(settings: &Settings) -> Result<PerService<Option<OwnedFd>>, PortError> {
    let opened = each(settings, |service, address| {
        let socket = listen_for(service, address, false)?;
        if settings.accept == AcceptMode::Reuseport {
            net::share_port(socket.as_fd())?;
        }
        Ok(socket)
    });
    let (sockets, given_up) = opened?;
    if let Some(error) = given_up {
        log::warn!("no HTTP: {error}");
    }
    Ok(sockets)
}

/// Whether [`open`] would succeed now. Nobody is listened to meanwhile.
///
/// # Errors
/// As of [`open`].
pub fn check(settings: &Settings) -> Result<(), PortError> {
    each(settings, |_, address| net::try_address(address)).map(drop)
}

/// A socket more for `service`, in `reuseport` mode, at an address that one of this server's listens at already.
///
/// # Errors
/// What the kernel gives.
pub fn join(service: Service, address: SocketAddr) -> Result<OwnedFd, IpcError> {
    listen_for(service, address, true)
}

/// A client of HTTP speaks first, so the kernel keeps its connection until it does.
fn listen_for(service: Service, address: SocketAddr, shared_port: bool) -> Result<OwnedFd, IpcError> {
    let socket = net::listener(address, shared_port)?;
    if service == Service::Web {
        net::defer_accept(socket.as_fd(), HTTP_DEFER_SECONDS)?;
    }
    Ok(socket)
}

/// What is opened for each service, and why HTTP was given up.
type Opened<T> = (PerService<Option<T>>, Option<PortError>);

fn each<T>(
    settings: &Settings,
    open: impl Fn(Service, SocketAddr) -> Result<T, IpcError>,
) -> Result<Opened<T>, PortError> {
    let http = &settings.http;
    let ports: PerService<(u16, &str)> =
        [(settings.port, "--port (0: any that is free)"), (http.port, "--http-port (0: no HTTP)")];
    let open = |service: Service| {
        let (port, option) = ports[service.index()];
        let address = SocketAddr::new(settings.host, port);
        open(service, address).map_err(|error| explained(error, address, option))
    };
    if http.is_on() && http.port_is_named && settings.port == http.port {
        return Err(PortError::Twice(http.port));
    }
    let bank = open(Service::Bank)?;
    if !http.is_on() {
        return Ok(([Some(bank), None], None));
    }
    match open(Service::Web) {
        Ok(web) => Ok(([Some(bank), Some(web)], None)),
        Err(error @ PortError::InUse { .. }) if !http.port_is_named => Ok(([Some(bank), None], Some(error))),
        Err(error) => Err(error),
    }
}

fn explained(error: IpcError, address: SocketAddr, option: &'static str) -> PortError {
    match error.errno() {
        Some(Errno::EADDRINUSE) => PortError::InUse { address, option },
        Some(Errno::EACCES) => PortError::Forbidden { address, option },
        Some(Errno::EADDRNOTAVAIL) => PortError::NotHere(address),
        _ => PortError::Ipc(error),
    }
}
