//! Connections that others make.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::link::{Link, LinkState};
use super::socket;
use super::state::{LISTENER, Peers};
use crate::base::limits::{ACCEPT_BACKOFF_MS, MAX_PEERS_GREETING, PEER_ACCEPTS_PER_TURN};
use crate::process::replica::peers::event::{Ready, Token};
use crate::process::replica::peers::greeting::Handshake;
use crate::process::replica::peers::refusal::Refusal;
use crate::process::replica::peers::wire::NONCE_BYTES;

impl Peers {
    /// Accepts some of the connections that wait.
    pub(super) fn accept_ready(&mut self, ready: &[Ready]) {
        if !ready.iter().any(|ready| ready.token == LISTENER) {
            return;
        }
        for _ in 0..PEER_ACCEPTS_PER_TURN {
            match socket::accept(&self.listener) {
                Ok(Some((stream, address))) => {
                    self.counters.traffic.accepted += 1;
                    let token = self.admit(Link::new(stream, address, None, self.now_ns));
                    self.greet(token);
                    self.make_room();
                }
                Ok(None) => return,
                Err(error) => {
                    log::warn!("cannot accept a connection of a peer: {error}; trying again in {ACCEPT_BACKOFF_MS} ms");
                    self.counters.traffic.accept_failures += 1;
                    self.accept_from_ns = self.now_ns + ACCEPT_BACKOFF_MS * 1_000_000;
                    return;
                }
            }
        }
        self.counters.turns.accepting += 1;
    }

    pub(super) fn admit(&mut self, link: Link) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.links.insert(token, link);
        token
    }

    /// Sends this node's greeting over a connection that has just been made.
    pub(super) fn greet(&mut self, token: Token) {
        let Some(link) = self.links.get_mut(&token) else { return };
        let begin = |nonce| Handshake::begin(link.role(), &self.own, nonce).map_err(Refusal::Garbage);
        match draw_nonce().and_then(begin) {
            Ok(handshake) => {
                // An outbox that has just been made has room for a greeting.
                let _ = link.outbox.push_frame(handshake.greeting().to_vec());
                link.state = LinkState::Greeting(Box::new(handshake));
            }
            Err(why) => self.refuse(token, why),
        }
    }

    /// Closes one of the connections that have not proved anything, where there are too many: of the address that has most of them the
    /// oldest, so that one who floods takes places of his own. The time that a good peer has for its proof is then what it takes to make
    /// as many connections.
    fn make_room(&mut self) {
        let strangers = || self.links.iter().filter(|(_, link)| link.is_stranger());
        if strangers().count() <= MAX_PEERS_GREETING {
            return;
        }
        let mut of_address: BTreeMap<IpAddr, usize> = BTreeMap::new();
        strangers().for_each(|(_, link)| *of_address.entry(link.address.ip()).or_default() += 1);
        let oldest = strangers().max_by_key(|(token, link)| (of_address.get(&link.address.ip()), Reverse(**token)));
        if let Some(token) = oldest.map(|(&token, _)| token) {
            self.refuse(token, Refusal::Crowded);
        }
    }
}

fn draw_nonce() -> Result<[u8; NONCE_BYTES], Refusal> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| Refusal::Unreachable(error.into()))?;
    Ok(nonce)
}
