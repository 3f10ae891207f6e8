//! The listening sockets of a start.
//!
//! With `--accept reuseport` several sockets share a port, and the kernel lets every process of the same user add one
//! (SO_REUSEPORT, `socket(7)`): a second ledger would be dealt half of the first one's clients. So the first socket is bound and
//! listens without that option, which fails if anybody listens there, whatever options he has set; only then it is set, and
//! the sockets of further workers join. In no moment the port is free for two servers that start at the same time.
//!
//! What the kernel does not offer is to keep others out later: a program of the same user that sets SO_REUSEPORT by itself can
//! join while the server runs. No Bank Vault does.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
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
    #[error("{0} is no address of this machine: choose another with {1}")]
    NotHere(SocketAddr, &'static str),
    /// The name of this instance among its peers leads to no address.
    #[error("--peers: {address}, where this instance is to listen, has no address: {source}; name one of this machine")]
    Unresolved {
        /// As it stands in the settings.
        address: String,
        /// Why not.
        source: io::Error,
    },
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
        let address = SocketAddr::new(listen.host, listen.port);
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
    for (place, one) in named.iter().enumerate() {
        if let Some(other) = named[place + 1..].iter().find(|other| other.port == one.port) {
            return Err(PortError::Twice(option_of(one), option_of(other), one.port));
        }
    }
    Ok(())
}

fn explained(error: IpcError, address: SocketAddr, option: &'static str) -> PortError {
    match error.errno() {
        Some(Errno::EADDRINUSE) => PortError::InUse { address, option },
        Some(Errno::EACCES) => PortError::Forbidden { address, option },
        Some(Errno::EADDRNOTAVAIL) => PortError::NotHere(address, if option == "--peers" { option } else { "--host" }),
        _ => PortError::Ipc(error),
    }
}

/// The socket on which this instance listens for its peers; `None` where there are none.
///
/// # Errors
/// See [`PortError`].
pub fn open_peers(services: &[Entry], settings: &Settings) -> Result<Option<OwnedFd>, PortError> {
    of_peers(services, settings, |address| net::listener(address, false))
}

/// Whether [`open_peers`] would succeed now. Nobody is listened to meanwhile.
///
/// # Errors
/// As of [`open_peers`].
pub fn check_peers(services: &[Entry], settings: &Settings) -> Result<(), PortError> {
    of_peers(services, settings, net::try_address).map(drop)
}

/// What is opened at this instance's own address, the first of those to which its name leads that is this machine's and free.
fn of_peers<T>(
    services: &[Entry],
    settings: &Settings,
    open: impl Fn(SocketAddr) -> Result<T, IpcError>,
) -> Result<Option<T>, PortError> {
    let Some(cluster) = &settings.cluster else { return Ok(None) };
    let own = cluster.own_address();
    let unresolved = |source| PortError::Unresolved { address: own.to_owned(), source };
    let mut refusal = None;
    for address in own.to_socket_addrs().map_err(unresolved)? {
        check_beside_services(services, settings, address)?;
        match open(address) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => refusal = refusal.or(Some(explained(error, address, "--peers"))),
        }
    }
    Err(refusal.unwrap_or_else(|| unresolved(io::ErrorKind::NotFound.into())))
}

/// No service may be told the port of this instance among its peers, at the same address.
fn check_beside_services(services: &[Entry], settings: &Settings, peers: SocketAddr) -> Result<(), PortError> {
    let same_host = peers.ip() == settings.host || peers.ip().is_unspecified() || settings.host.is_unspecified();
    let all = services.iter().filter_map(|entry| (entry.listen)(settings));
    let mut named = all.filter(|listen| same_host && !listen.optional && listen.port == peers.port());
    match named.next() {
        Some(listen) => Err(PortError::Twice(option_of(&listen), "the port of this instance in --peers", listen.port)),
        None => Ok(()),
    }
}

/// The option that says which port, without what 0 is to it.
fn option_of(listen: &Listen) -> &'static str {
    listen.option.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::ClusterSettings;
    use crate::base::vocab::ReplicaId;
    use crate::service::table::SERVICES;

    #[test]
    fn peers_are_listened_for_at_the_own_address_which_no_service_has() {
        let settings = |own: &str, port: u16| {
            let replica = ReplicaId::new(2).unwrap();
            let peers = vec![(ReplicaId::new(1).unwrap(), "nowhere:1".to_owned()), (replica, own.to_owned())];
            let cluster = Some(ClusterSettings { replica, peers, secret: "secret".into() });
            Settings { port, cluster, ..Settings::default() }
        };
        let taken = net::listener("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = net::local_address(taken.as_fd()).unwrap();
        let own = settings(&address.to_string(), 1);
        for refusal in [check_peers(SERVICES, &own).unwrap_err(), open_peers(SERVICES, &own).map(drop).unwrap_err()] {
            let said = refusal.to_string();
            assert!(said.contains(&format!("{address} is in use")) && said.contains("--peers"), "{said}");
        }
        let said = check_peers(SERVICES, &settings(&address.to_string(), address.port())).unwrap_err().to_string();
        assert!(said.starts_with("--port and the port of this instance in --peers are both"), "{said}");
        drop(taken);
        let socket = open_peers(SERVICES, &own).unwrap().unwrap();
        assert_eq!(net::local_address(socket.as_fd()).unwrap(), address);
        let said = check_peers(SERVICES, &settings("192.0.2.1:7900", 1)).unwrap_err().to_string();
        assert!(said.contains("no address of this machine") && said.contains("--peers"), "{said}");
        assert!(open_peers(SERVICES, &Settings::default()).unwrap().is_none());
    }

    #[test]
    fn a_port_that_is_named_for_two_services_is_refused() {
        let host = std::net::Ipv4Addr::LOCALHOST.into();
        let listen =
            |option, port, optional| Listen { host, port, option, optional, defer_seconds: None, connections: 1 };
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
