//! The other parts of a turn: who is late, and what is written.

use super::link::LinkState;
use super::state::Peers;
use crate::base::limits::PEER_WRITTEN_BYTES_PER_TURN;
use crate::process::replica::peers::event::{Records, Token};
use crate::process::replica::peers::refusal::{Closed, Refusal};

impl Peers {
    /// Closes connections whose other end has not proved itself in time, or has not finished a frame.
    pub(super) fn give_up_late(&mut self) {
        let now_ns = self.now_ns;
        let is_late = |link: &super::link::Link| link.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns);
        let late: Vec<Token> =
            self.links.iter().filter(|(_, link)| !link.is_behind && is_late(link)).map(|(&token, _)| token).collect();
        for token in late {
            match self.links.get(&token).map(|link| &link.state) {
                Some(LinkState::Connecting) => {
                    self.refuse(token, Refusal::Unreachable(std::io::ErrorKind::TimedOut.into()));
                }
                Some(LinkState::Greeting(_)) => self.refuse(token, Refusal::Slow),
                Some(LinkState::Peer(_)) => self.close(token, Closed::Stalled),
                None => {}
            }
        }
    }

    /// Writes what each socket takes, within its share.
    pub(super) fn write_all(&mut self, records: &dyn Records) {
        let mut broken = Vec::new();
        for (&token, link) in &mut self.links {
            if matches!(link.state, LinkState::Connecting) {
                continue;
            }
            let written = link.outbox.write(&link.stream, records, PEER_WRITTEN_BYTES_PER_TURN, &mut self.counters);
            match written {
                Ok(is_more) => {
                    self.counters.turns.writing += u64::from(is_more);
                    self.is_busy |= is_more;
                }
                Err(error) => broken.push((token, error)),
            }
        }
        for (token, error) in broken {
            match self.links.get(&token) {
                Some(link) if link.peer().is_none() => self.refuse(token, Refusal::Gone),
                _ => self.close(token, Closed::Broken(error)),
            }
        }
    }
}
