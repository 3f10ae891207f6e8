//! A request for the cache process that has no answer yet.

use std::net::IpAddr;

use crate::store::transfer::{Reader, SegmentId, Ticket};

/// A request for the cache process. Dropped, it gives its segment back.
pub struct Asked {
    /// What is asked for.
    pub path: Box<[u8]>,
    /// On whose behalf.
    pub owner: u64,
    /// Since when.
    pub since_ns: u64,
    /// How often it was begun.
    pub asks: u32,
    /// How far it is.
    pub at: At,
}

/// How far a request is.
pub enum At {
    /// It is to be begun.
    Begin,
    /// It is to be begun when there is a cache process that has lived after this time: the one that was asked could not finish.
    Rest(u64),
    /// It waits for a segment.
    Ticket(Ticket),
    /// It has one, and waits for room in the queue.
    Unsent(Reader<'static>),
    /// It was sent when so many cache processes had been started.
    Sent(Reader<'static>, u32),
    /// It cannot be sent.
    Unreachable,
}

impl Asked {
    /// A request that is to be begun, of a client at this address.
    #[must_use]
    pub fn new(path: Box<[u8]>, peer: IpAddr, since_ns: u64) -> Self {
        Asked { path, owner: owner(peer), since_ns, asks: 0, at: At::Begin }
    }

    /// Its segment.
    #[must_use]
    pub fn segment(&self) -> Option<SegmentId> {
        match &self.at {
            At::Unsent(reader) | At::Sent(reader, _) => Some(reader.id()),
            _ => None,
        }
    }

    /// Its reader, and whether it waits for the cache process.
    pub fn reader(&mut self) -> Option<(&mut Reader<'static>, bool)> {
        match &mut self.at {
            At::Unsent(reader) => Some((reader, false)),
            At::Sent(reader, _) => Some((reader, true)),
            _ => None,
        }
    }

    /// Whether it waits with this ticket.
    #[must_use]
    pub fn has(&self, ticket: Ticket) -> bool {
        matches!(self.at, At::Ticket(own) if own == ticket)
    }
}

/// The number that stands for a client: its address, of IPv6 the part that names its network, since one client has all of the rest.
fn owner(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => {
            let [network @ .., _, _, _, _] = address.segments();
            network.into_iter().fold(0, |owner, part| owner << 16 | u64::from(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_its_address_or_its_network() {
        let owner = |peer: &str| owner(peer.parse().unwrap());
        assert_eq!(owner("127.0.0.1"), 0x7F00_0001);
        assert_eq!(owner("::ffff:127.0.0.1"), owner("127.0.0.1"));
        assert_ne!(owner("127.0.0.1"), owner("127.0.0.2"));
        assert_eq!(owner("2001:db8:1:2::1"), 0x2001_0db8_0001_0002);
        assert_eq!(owner("2001:db8:1:2::1"), owner("2001:db8:1:2:ffff::"));
        assert_ne!(owner("2001:db8:1:2::"), owner("2001:db8:1:3::"));
    }
}
