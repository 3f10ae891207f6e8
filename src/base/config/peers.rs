//! The list of peers, as it is written in one line.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use thiserror::Error;

use crate::base::limits::{MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS};
use crate::base::vocab::ReplicaId;

/// Why a list of peers cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPeers {
    /// One of its parts has no id, or one out of range.
    #[error("`{0}` does not begin with an id from 1 to {MAX_REPLICAS} and `=`")]
    Id(String),
    /// An address is none.
    #[error("`{0}` is not of the form ID=HOST:PORT, with a port from 1 to 65535, and an IPv6 address in brackets")]
    Address(String),
    /// An address is longer than the record of a change of membership has room for.
    #[error("the address of `{0}` is longer than {MAX_PEER_ADDRESS_BYTES} bytes")]
    Long(String),
    /// An id stands twice.
    #[error("{0} stands twice; each instance has an id of its own")]
    TwiceId(ReplicaId),
    /// An address stands twice.
    #[error("{0} stands twice; each instance has an address of its own")]
    TwiceAddress(String),
}

/// Reads `1=HOST:PORT,2=HOST:PORT`; by rising id.
pub(super) fn parse(text: &str) -> Result<Vec<(ReplicaId, String)>, BadPeers> {
    let mut peers = text.split(',').map(str::trim).map(parse_peer).collect::<Result<Vec<_>, _>>()?;
    peers.sort_unstable();
    if let Some(pair) = peers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(BadPeers::TwiceId(pair[0].0));
    }
    let mut addresses = BTreeSet::new();
    match peers.iter().find(|(_, address)| !addresses.insert(address.to_ascii_lowercase())) {
        Some((_, address)) => Err(BadPeers::TwiceAddress(address.clone())),
        None => Ok(peers),
    }
}

/// Reads one of its parts, `1=HOST:PORT`.
///
/// # Errors
/// It is of another form, or beyond a bound.
pub fn parse_peer(text: &str) -> Result<(ReplicaId, String), BadPeers> {
    let no_id = || BadPeers::Id(text.to_owned());
    let (number, address) = text.split_once('=').ok_or_else(no_id)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let replica = number.parse().ok().filter(|_| is_number).and_then(ReplicaId::new).ok_or_else(no_id)?;
    if address.len() > MAX_PEER_ADDRESS_BYTES {
        return Err(BadPeers::Long(text.to_owned()));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok((replica, address.to_owned())),
        _ => Err(BadPeers::Address(text.to_owned())),
    }
}

/// An IPv4 address, an IPv6 address in brackets, or the name of a host (RFC 1123, section 2.1), in which `_` is let pass as well: names of
/// containers have it.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_label = |label: &str| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
            };
            text.split('.').all(is_label)
        }
    }
}

/// A number of a port that can be connected to.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u8, String)>, String> {
        let peers = parse(text).map_err(|error| error.to_string())?;
        Ok(peers.into_iter().map(|(replica, address)| (replica.number(), address)).collect())
    }

    #[test]
    fn peers_are_read_by_rising_id() {
        let peer = |number: u8, address: &str| (number, address.to_owned());
        assert_eq!(read("1=127.0.0.1:7900").unwrap(), [peer(1, "127.0.0.1:7900")]);
        assert_eq!(
            read("7=[::1]:65535, 2=db-2.example_net:1,1=h:80").unwrap(),
            [peer(1, "h:80"), peer(2, "db-2.example_net:1"), peer(7, "[::1]:65535")]
        );
        let longest = format!("{}:7900", "h".repeat(MAX_PEER_ADDRESS_BYTES - 5));
        assert_eq!(read(&format!("1={longest}")).unwrap(), [peer(1, &longest)]);
    }

    #[test]
    fn what_is_no_list_of_peers_is_refused_by_its_part() {
        for (text, part) in [
            ("", "`` does not begin with an id"),
            ("127.0.0.1:7900", "`127.0.0.1:7900` does not begin with an id from 1 to 7"),
            ("0=h:1", "`0=h:1` does not begin"),
            ("8=h:1", "`8=h:1` does not begin"),
            ("+1=h:1", "`+1=h:1` does not begin"),
            ("1 =h:1", "`1 =h:1` does not begin"),
            ("1=h:1,", "`` does not begin"),
            ("1=h", "`1=h` is not of the form ID=HOST:PORT"),
            ("1=h:", "`1=h:` is not"),
            ("1=:1", "`1=:1` is not"),
            ("1=h:0", "`1=h:0` is not"),
            ("1=h:65536", "`1=h:65536` is not"),
            ("1=h:+1", "`1=h:+1` is not"),
            ("1=::1:7900", "`1=::1:7900` is not"),
            ("1=[h]:7900", "`1=[h]:7900` is not"),
            ("1=[::1:7900", "`1=[::1:7900` is not"),
            ("1=a..b:1", "`1=a..b:1` is not"),
            ("1=-a:1", "`1=-a:1` is not"),
            ("1=a b:1", "`1=a b:1` is not"),
            ("1=a=b:1", "`1=a=b:1` is not"),
            ("1=h:1,2=i:1,1=j:1", "1 stands twice"),
            ("1=h:1,2=H:1", "H:1 stands twice"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.starts_with(part), "{text}: {refusal}");
        }
        let long = format!("{}:7900", "h".repeat(MAX_PEER_ADDRESS_BYTES - 4));
        assert!(read(&format!("1={long}")).unwrap_err().contains("longer than 46 bytes"));
    }
}
