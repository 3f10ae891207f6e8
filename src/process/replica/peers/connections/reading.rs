//! What comes from the other ends.

use std::io::{self, Read};

use super::duplicates::is_new_kept;
use super::link::{Link, LinkState, LinkedPeer};
use super::state::Peers;
use crate::base::limits::{MAX_PEERS_CONNECTED, PEER_FRAMES_PER_TURN, PEER_READ_BYTES_PER_TURN};
use crate::process::replica::peers::event::{PeerEvent, Ready, Token};
use crate::process::replica::peers::greeting::{Step, judge, refusal_of};
use crate::process::replica::peers::refusal::{Closed, Refusal};
use crate::process::replica::peers::settings::Identity;
use crate::process::replica::peers::wire::{Frame, WireError};

/// Bytes that are read at once, and in a turn, of somebody who has not proved anything: more than a greeting and a proof have.
const STRANGER_BYTES: usize = 4096;

/// How a read has ended.
enum Input {
    /// There may be more.
    More,
    /// There is no more now.
    Drained,
    /// The other end has closed; what it sent before that counts.
    Closed,
    Broken(io::Error),
}

impl Peers {
    /// Reads of those that are ready, and of those that were not read to the end.
    pub(super) fn read_ready(&mut self, ready: &[Ready]) {
        for ready in ready {
            if let Some(link) = self.links.get_mut(&ready.token).filter(|_| ready.write) {
                link.outbox.unblock();
                self.finish_connecting(ready.token);
            }
        }
        let is_ready = |token: &Token| ready.iter().any(|ready| ready.token == *token && ready.read);
        let tokens: Vec<Token> = (self.links.iter())
            .filter(|(token, link)| link.is_behind || is_ready(token))
            .filter(|(_, link)| !matches!(link.state, LinkState::Connecting))
            .map(|(&token, _)| token)
            .collect();
        for token in tokens {
            self.read(token);
        }
    }

    /// Reads of one, within its share of the turn.
    fn read(&mut self, token: Token) {
        let (mut bytes, mut frames) = (0, 0);
        if let Some(link) = self.links.get_mut(&token) {
            link.is_behind = false;
        }
        loop {
            self.take_frames(token, &mut frames);
            let Some(link) = self.links.get_mut(&token) else { return };
            let (most, share) = match link.peer() {
                Some(_) => (self.scratch.len(), PEER_READ_BYTES_PER_TURN),
                None => (STRANGER_BYTES, STRANGER_BYTES),
            };
            if frames >= PEER_FRAMES_PER_TURN || bytes >= share {
                self.counters.traffic.bytes_in += bytes as u64;
                self.counters.turns.reading += 1;
                return self.goes_on_later(token);
            }
            let input = receive(link, &mut self.scratch[..most], self.now_ns, &mut bytes);
            if matches!(input, Input::More) {
                continue;
            }
            self.counters.traffic.bytes_in += bytes as u64;
            self.take_frames(token, &mut frames);
            return match input {
                // What it has sent before it closed counts, so that is read again.
                _ if frames >= PEER_FRAMES_PER_TURN => {
                    self.counters.turns.reading += 1;
                    self.goes_on_later(token);
                }
                Input::More | Input::Drained => {}
                Input::Closed => self.ended(token, Closed::Peer),
                Input::Broken(error) => self.ended(token, Closed::Broken(error)),
            };
        }
    }

    fn goes_on_later(&mut self, token: Token) {
        if let Some(link) = self.links.get_mut(&token) {
            link.is_behind = true;
            self.is_busy = true;
        }
    }

    fn ended(&mut self, token: Token, why: Closed) {
        match self.links.get(&token) {
            Some(link) if link.peer().is_none() => self.refuse(token, Refusal::Gone),
            _ => self.close(token, why),
        }
    }

    /// Takes the whole frames that have come, up to a turn's number of them.
    fn take_frames(&mut self, token: Token, frames: &mut usize) {
        while *frames < PEER_FRAMES_PER_TURN {
            let Some(link) = self.links.get_mut(&token) else { return };
            let expects = link.expects();
            let taken = match (link.inbox.next(expects), &mut link.state) {
                (Ok(None), _) => return,
                (Ok(Some(received)), LinkState::Greeting(handshake)) => {
                    handshake.take(received.frame, received.bytes, &self.secret).map(Taken::Step)
                }
                (Ok(Some(received)), LinkState::Peer(peer)) => Ok(Taken::Frame(*peer, received.frame)),
                (Ok(Some(_)), LinkState::Connecting) => return,
                (Err(error), LinkState::Peer(_)) => return self.close(token, Closed::Garbage(error)),
                (Err(error), _) => Err(refusal_of(error)),
            };
            *frames += 1;
            match taken {
                Ok(Taken::Step(step)) => self.step(token, step),
                Ok(Taken::Frame(peer, frame)) => self.deliver(token, peer, frame),
                Err(why) => return self.refuse(token, why),
            }
        }
    }

    fn step(&mut self, token: Token, step: Step) {
        match step {
            Step::Prove(proof) => {
                if let Some(link) = self.links.get_mut(&token) {
                    // Behind the greeting there is room for a proof.
                    let _ = link.outbox.push_frame(proof);
                }
            }
            Step::Proved(identity) => self.welcome(token, identity),
        }
    }

    /// Somebody has proved to know the secret.
    fn welcome(&mut self, token: Token, identity: Identity) {
        let Some(link) = self.links.get(&token) else { return };
        let accepted = match judge(&self.own, &self.members, link.dialled, identity) {
            Ok(accepted) => accepted,
            Err(why) => return self.refuse(token, why),
        };
        let peer = LinkedPeer { node: accepted.peer.node, replica: accepted.peer.replica, since_ns: self.now_ns };
        let new = link.candidate(self.own.node, peer.node, peer.since_ns);
        if let Some((old_token, old)) = self.of_node.get(&peer.node).and_then(|token| self.links.get_key_value(token)) {
            let since_ns = old.peer().map_or(0, |peer| peer.since_ns);
            if !is_new_kept(old.candidate(self.own.node, peer.node, since_ns), new) {
                return self.close(token, Closed::Replaced);
            }
            let old_token = *old_token;
            self.close(old_token, Closed::Replaced);
        } else if self.of_node.len() >= MAX_PEERS_CONNECTED {
            return self.refuse(token, Refusal::Full);
        }
        if let Some(link) = self.links.get_mut(&token) {
            link.state = LinkState::Peer(peer);
            self.of_node.insert(peer.node, token);
            self.counters.traffic.connected += 1;
            self.events.push_back(PeerEvent::Connected(accepted));
        }
    }

    fn deliver(&mut self, token: Token, peer: LinkedPeer, frame: Frame) {
        self.counters.traffic.frames_in += 1;
        let from = peer.node;
        let event = match frame {
            Frame::Message(message, _) if message.from != from || message.to != self.own.node => {
                return self.close(token, Closed::Garbage(WireError::Misaddressed));
            }
            Frame::Message(message, records) => PeerEvent::Message { message, records },
            Frame::Found(found) => PeerEvent::Found { from, found },
            Frame::Snapshot(frame) => PeerEvent::Snapshot { from, frame },
            frame @ (Frame::Greeting(_) | Frame::Proof(_)) => {
                return self.close(token, Closed::Garbage(WireError::Unexpected(frame.kind())));
            }
        };
        self.events.push_back(event);
    }
}

/// What a frame was.
enum Taken {
    Step(Step),
    Frame(LinkedPeer, Frame),
}

fn receive(link: &mut Link, into: &mut [u8], now_ns: u64, total: &mut usize) -> Input {
    loop {
        return match (&link.stream).read(into) {
            Ok(0) => Input::Closed,
            Ok(count) => {
                link.inbox.push(&into[..count]);
                link.heard_ns = now_ns;
                *total += count;
                if count < into.len() { Input::Drained } else { Input::More }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Input::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Input::Broken(error),
        };
    }
}
