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
use crate::ipc::{IpcError, net};
use crate::service::entry::{Entry, Listen};
use crate::store::connection::{PerService, ServiceId};

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
    #[error("{0} and {1} are both {2}: each needs a port of its own")]
    Twice(&'static str, &'static str, u16),
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

/// A listening socket for each service that is on; an optional one is given up where its port is taken.
///
/// # Errors
/// See [`PortError`].
pub fn open(services: &[Entry], settings: &Settings) -> Result<PerService<Option<OwnedFd>>, PortError> {
    let (sockets, given_up) = each(services, settings, |listen, address| {
        let socket = listener(listen, address, false)?;
        if settings.accept == AcceptMode::Reuseport {
            net::share_port(socket.as_fd())?;
        }
        Ok(socket)
    })?;
    for (name, error) in given_up {
        log::warn!("no {}: {error}", name.to_uppercase());
    }
    Ok(sockets)
}

/// Whether [`open`] would succeed now. Nobody is listened to meanwhile.
///
/// # Errors
/// As of [`open`].
pub fn check(services: &[Entry], settings: &Settings) -> Result<(), PortError> {
    each(services, settings, |_, address| net::try_address(address)).map(drop)
}

/// One more socket of a service, in `reuseport` mode, at an address that one of this server's sockets has.
///
/// # Errors
/// What the kernel gives.
pub fn join(listen: &Listen, address: SocketAddr) -> Result<OwnedFd, IpcError> {
    listener(listen, address, true)
}

fn listener(listen: &Listen, address: SocketAddr, shared_port: bool) -> Result<OwnedFd, IpcError> {
    let socket = net::listener(address, shared_port)?;
    if let Some(seconds) = listen.defer_seconds {
        net::defer_accept(socket.as_fd(), seconds)?;
    }
    Ok(socket)
}

/// What is opened for each service, and the services that were given up, by name, with the reason.
type Opened<T> = (PerService<Option<T>>, Vec<(&'static str, PortError)>);

fn each<T>(
    services: &[Entry],
    settings: &Settings,
    open: impl Fn(&Listen, SocketAddr) -> Result<T, IpcError>,
) -> Result<Opened<T>, PortError> {
    let on: Vec<_> = ServiceId::all()
        .zip(services)
        .filter_map(|(service, entry)| Some((service, entry.name, (entry.listen)(settings)?)))
        .collect();
    check_twice(on.iter().map(|(_, _, listen)| listen))?;
    let (mut opened, mut given_up) = (PerService::default(), Vec::new());
    for (service, name, listen) in on {
        let address = SocketAddr::new(settings.host, listen.port);
        match open(&listen, address).map_err(|error| explained(error, address, listen.option)) {
            Ok(socket) => opened[service.index()] = Some(socket),
            Err(error @ PortError::InUse { .. }) if listen.optional => given_up.push((name, error)),
            Err(error) => return Err(error),
        }
    }
    Ok((opened, given_up))
}

/// No two services may be told the same port. One whose port nobody has named makes way instead.
fn check_twice<'a>(all: impl Iterator<Item = &'a Listen>) -> Result<(), PortError> {
    let named: Vec<_> = all.filter(|listen| !listen.optional && listen.port != 0).collect();
    let option = |listen: &Listen| listen.option.split(' ').next().unwrap_or_default();
    for (place, one) in named.iter().enumerate() {
        if let Some(other) = named[place + 1..].iter().find(|other| other.port == one.port) {
            return Err(PortError::Twice(option(one), option(other), one.port));
        }
    }
    Ok(())
}

fn explained(error: IpcError, address: SocketAddr, option: &'static str) -> PortError {
    match error.errno() {
        Some(Errno::EADDRINUSE) => PortError::InUse { address, option },
        Some(Errno::EACCES) => PortError::Forbidden { address, option },
        Some(Errno::EADDRNOTAVAIL) => PortError::NotHere(address),
        _ => PortError::Ipc(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_named_for_two_services_is_refused() {
        let listen = |option, port, optional| Listen { port, option, optional, defer_seconds: None, connections: 1 };
        let bank = |port| listen("--port (0: any that is free)", port, false);
        let http = |port, optional| listen("--http-port (0: no HTTP)", port, optional);
        let third = |port| listen("--third-port", port, false);
        let refusal = |all: [Listen; 3]| check_twice(all.iter()).map_err(|error| error.to_string()).err();
        let both = |one, other| Some(format!("{one} and {other} are both 7000: each needs a port of its own"));
        assert_eq!(refusal([bank(7000), http(8080, true), third(7000)]), both("--port", "--third-port"));
        assert_eq!(refusal([bank(7000), http(7000, false), third(1)]), both("--port", "--http-port"));
        assert_eq!(refusal([bank(7000), http(7000, true), third(1)]), None, "nobody has named the port of HTTP");
        assert_eq!(refusal([bank(0), http(8080, false), third(0)]), None, "0 is any port");
    }
}
