//! What may be shown to clients.

use crate::base::vocab::{Lsn, ReplicaRole};
use crate::store::cluster::{ClusterRow, Standing};
use crate::store::connection::slot::ConnectionSlot;
use crate::store::instance::Instance;
use crate::store::ledger::order::Order;
use crate::store::ledger::{GateState, Sequencer, Shows};

/// What may be shown, as a service in a worker sees it.
pub struct Visibility {
    /// Says what is durable and committed.
    pub sequencer: &'static Sequencer,
    /// The last operation whose number was taken when it was last looked.
    pub order: Order<'static>,
    /// What says which requests may be answered here; `None` without peers, where all may.
    pub cluster: Option<&'static ClusterRow>,
    /// Whether an operation has found no room in the journal's ring and none has come since. Nobody is to try meanwhile: a short operation
    /// would find room where a long one waits for more, and who has just come would have it before those who wait.
    pub room_is_short: bool,
    /// How often the gate was closed, when it was last looked at; 0 without peers.
    gate_closings: u32,
}

impl Visibility {
    /// What may be shown of `instance`.
    #[must_use]
    pub fn new(instance: &'static Instance) -> Self {
        let (sequencer, order) = (instance.table().sequencer(), instance.table().order());
        let cluster = Some(&instance.control().cluster).filter(|cluster| cluster.has_peers());
        Visibility { sequencer, order, cluster, room_is_short: false, gate_closings: sequencer.gate().closings }
    }

    /// What the instance is, and who is the primary.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.cluster.map(ClusterRow::standing).unwrap_or_default()
    }

    /// Looks at the gate; whether it was closed since.
    pub fn note_gate(&mut self) -> bool {
        let closings = self.sequencer.gate().closings;
        std::mem::replace(&mut self.gate_closings, closings) != closings
    }

    /// How often the gate had been closed when it was last looked at.
    #[inline]
    #[must_use]
    pub fn gate_closings(&self) -> u32 {
        self.gate_closings
    }

    /// How often the gate had been closed when the service began to serve a connection: now, if it has not before. What is queued for a
    /// client is of that time.
    #[must_use]
    pub fn gate_closings_of(&self, slot: &ConnectionSlot) -> u32 {
        if slot.gate_closings() == 0 {
            slot.set_gate_closings(self.gate_closings);
        }
        slot.gate_closings()
    }

    /// Whether replies that show this may leave. What may be shown is asked first: had the gate been closed before that was said, this sees
    /// it closed.
    #[inline]
    #[must_use]
    pub fn may_be_shown(&self, shows: Shows) -> bool {
        self.sequencer.may_be_shown(shows)
            && (!self.sequencer.is_replicated() || self.sequencer.gate().closings == self.gate_closings)
    }

    /// What replies show that were made out of operations up to `seen`. What was read needs a round of reads that begins now.
    #[inline]
    #[must_use]
    pub fn shows(&self, seen: Lsn, has_read: bool) -> Shows {
        // An instance that follows answers as of what it has, and says so. When that changes, the gate says it a moment before the standing
        // does, and a client of the key-value service may go by either.
        let leads = |cluster: &ClusterRow| {
            cluster.standing().role == ReplicaRole::Primary || self.sequencer.gate().state == GateState::Open
        };
        let wants_round = has_read && self.cluster.is_some_and(leads);
        Shows { lsn: seen, round: if wants_round { self.sequencer.want_round() } else { 0 } }
    }

    /// The last operation whose result may be shown. What is read after this was asked is as of it, or as of a later one: what an operation
    /// changes stays locked from before it gets its number until it is applied.
    #[inline]
    #[must_use]
    pub fn shown(&self) -> Lsn {
        self.sequencer.shown(&self.order)
    }
}
