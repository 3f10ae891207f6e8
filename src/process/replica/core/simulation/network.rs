//! A network that drops, repeats, delays, reorders, and is cut.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::records::{Books, Record};
use crate::process::replica::message::Message;
use crate::store::cluster::NodeId;

/// Moments that a message is on its way, at most.
const LONGEST: usize = 128;

/// What is on its way.
#[derive(Clone)]
pub struct Packet {
    pub from: usize,
    pub message: Message,
    pub records: Vec<Record>,
    pub books: Option<Books>,
    /// Not a message, but what becomes of a snapshot: to whom, and whether it has arrived.
    pub outcome: Option<(NodeId, bool)>,
}

pub struct Network {
    slots: Vec<Vec<Packet>>,
    /// `[from][to]`: no way.
    pub cut: Vec<Vec<bool>>,
    /// Of a thousand messages.
    pub dropped: u32,
    pub repeated: u32,
    pub delay: u64,
}

impl Network {
    pub fn new(many: usize) -> Network {
        let slots = (0..LONGEST).map(|_| Vec::new()).collect();
        Network { slots, cut: vec![vec![false; many]; many], dropped: 0, repeated: 0, delay: 1 }
    }

    pub fn heal(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    fn put(&mut self, now: u64, delay: u64, packet: Packet) {
        let slot = usize::try_from(now + delay).unwrap() % LONGEST;
        self.slots[slot].push(packet);
    }

    /// Puts a message on its way. Returns whether it is.
    pub fn send(&mut self, now: u64, to: usize, packet: Packet, rng: &mut SmallRng) -> bool {
        if self.cut[packet.from][to] || rng.random_range(0..1000) < self.dropped {
            return false;
        }
        let long = if rng.random_range(0..50) == 0 { 4 * self.delay } else { self.delay };
        if rng.random_range(0..1000) < self.repeated {
            self.put(now, 1 + rng.random_range(0..long), packet.clone());
        }
        self.put(now, 1 + rng.random_range(0..long), packet);
        true
    }

    /// Tells an instance something later.
    pub fn tell(&mut self, now: u64, packet: Packet) {
        self.put(now, 3, packet);
    }

    /// What arrives now.
    pub fn arriving(&mut self, now: u64) -> Vec<Packet> {
        std::mem::take(&mut self.slots[usize::try_from(now).unwrap() % LONGEST])
    }

    /// All that is on its way.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.slots.iter().flatten().flat_map(|packet| &packet.records)
    }
}
