//! What is known of the cluster in shared memory: what workers need to answer requests, and what tools show.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::base::limits::MAX_REPLICAS;
use crate::base::vocab::{Lsn, ReplicaRole};
use crate::ipc::bytes::SharedBytes;

use crate::ipc::layout::{Counter, Word};
use crate::shared_struct;
use crate::store::cluster::peer_counts::PeerCountsRow;
use crate::store::cluster::view::{ClusterView, MemberView, Standing};

/// Members that there is room for.
const MEMBERS: usize = MAX_REPLICAS as usize;
/// How often a reader tries to get a view that is of one moment. A writer that died in the middle leaves one that never is, until its
/// successor writes; each of its words is right all the same.
const ATTEMPTS: usize = 64;

shared_struct! {
    /// A member, as this instance knows it. Writer: the replica process.
    pub struct MemberRow, align 8, size 32 + 3 * 64; {
        node: AtomicU64,
        match_lsn: AtomicU64,
        heard_ns: AtomicU64,
        /// Its number and, above 8 bits, its role.
        kind: AtomicU64,
        peer_address: SharedBytes<64>,
        client_address: SharedBytes<64>,
        kv_address: SharedBytes<64>,
    }
}

shared_struct! {
    /// What concerns the cluster. An instance without peers leaves all of it zero, which says that it is alone.
    pub struct ClusterRow, align 64, size 128 + 2 * 64 + MEMBERS * 224 + 32 + size_of::<PeerCountsRow>(); {
        /// The instance's own number; 0 without peers. Writer: the master, before the first worker.
        pub replica: Word,
        spare_word: Word,
        /// See [`Standing`]. Writers: the master, before the first worker; then the replica process.
        standing: AtomicU64,
        /// Odd while the replica process writes what follows. Writer: the replica process, of all below as well.
        sequence: AtomicU64,
        node: AtomicU64,
        term: AtomicU64,
        members_count: AtomicU64,
        /// Terms that have begun while this instance looked on: each is an election, won or not. Writer: the replica process, as of all
        /// below.
        pub elections: Counter,
        /// Rounds of reads for which it has begun to confirm that it leads.
        pub rounds: Counter,
        /// Snapshots that it has sent to those that were far behind.
        pub snapshots_sent: Counter,
        /// Snapshots that took the place of its books.
        pub snapshots_installed: Counter,
        /// Times that another member than before was the primary, as far as this instance knows.
        pub primary_changes: Counter,
        /// The number of the primary that was known last.
        last_primary: AtomicU64,
        spare: [AtomicU64; 4],
        primary_address: SharedBytes<64>,
        primary_kv_address: SharedBytes<64>,
        members: [MemberRow; MEMBERS],
        /// What the connections to peers have counted.
        pub peers: PeerCountsRow,
        spare_end: [AtomicU64; 4],
    }
}

fn to_word(Standing { role, primary }: Standing) -> u64 {
    u64::from(primary) << 8 | u64::from(role.code())
}

#[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
fn from_word(word: u64) -> Standing {
    // A role that is none can only be a newer program's: such an instance answers what a follower does.
    Standing { role: ReplicaRole::of(word as u8).unwrap_or(ReplicaRole::Candidate), primary: (word >> 8) as u8 }
}

impl ClusterRow {
    /// Says that the instance has peers and knows no primary yet. Only the master, before the first worker.
    pub fn begin(&self, replica: u8) {
        self.replica.set(replica.into());
        self.stand(Standing { role: ReplicaRole::Follower, primary: 0 });
    }

    /// Whether the instance has peers; it stays so for its whole life.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.replica.get() != 0
    }

    /// What decides whether a request may be answered here.
    #[inline]
    #[must_use]
    pub fn standing(&self) -> Standing {
        from_word(self.standing.load(Ordering::Relaxed))
    }

    /// Says what decides whether a request may be answered here. Relaxed: what protects the books is the gate of the sequencer, and this
    /// only gives refusals their names.
    pub fn stand(&self, standing: Standing) {
        self.standing.store(to_word(standing), Ordering::Relaxed);
    }

    /// Counts the elections and changes of the primary that `view` shows, before it is published. Only the replica process.
    pub fn count_changes(&self, view: &ClusterView) {
        let before = self.term.load(Ordering::Relaxed);
        // Without a node nothing was published yet: what was before is not known.
        if self.node.load(Ordering::Relaxed) != 0 {
            self.elections.add(view.term.saturating_sub(before));
        }
        let primary = u64::from(view.standing.primary);
        let last = self.last_primary.load(Ordering::Relaxed);
        if primary != 0 && primary != last {
            self.last_primary.store(primary, Ordering::Relaxed);
            self.primary_changes.add(u64::from(last != 0));
        }
    }

    /// Writes all of `view`; members beyond [`MAX_REPLICAS`] are left out. Only the replica process.
    pub fn publish(&self, view: &ClusterView) {
        let sequence = self.sequence.load(Ordering::Relaxed) | 1;
        self.sequence.store(sequence, Ordering::Relaxed);
        // CLUSTER-VIEW: a reader that sees any of what follows sees the odd number.
        fence(Ordering::Release);
        self.stand(view.standing);
        self.node.store(view.node, Ordering::Relaxed);
        self.term.store(view.term, Ordering::Relaxed);
        self.primary_address.store_text(&view.primary_address);
        self.primary_kv_address.store_text(&view.primary_kv_address);
        for (row, member) in self.members.iter().zip(&view.members) {
            row.write(member);
        }
        self.members_count.store(view.members.len().min(MEMBERS) as u64, Ordering::Relaxed);
        // CLUSTER-VIEW: release.
        self.sequence.store(sequence + 1, Ordering::Release);
    }

    /// What it says, as of one moment; see `ATTEMPTS`.
    #[must_use]
    pub fn view(&self) -> ClusterView {
        for _ in 0..ATTEMPTS {
            // CLUSTER-VIEW: acquire.
            let before = self.sequence.load(Ordering::Acquire);
            let view = self.read();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return view;
            }
            std::hint::spin_loop();
        }
        self.read()
    }

    fn read(&self) -> ClusterView {
        let count = usize::try_from(self.members_count.load(Ordering::Relaxed)).unwrap_or(0);
        ClusterView {
            standing: self.standing(),
            node: self.node.load(Ordering::Relaxed),
            term: self.term.load(Ordering::Relaxed),
            primary_address: self.primary_address.load_text(),
            primary_kv_address: self.primary_kv_address.load_text(),
            members: self.members.iter().take(count).map(MemberRow::read).collect(),
        }
    }
}

impl MemberRow {
    fn write(&self, member: &MemberView) {
        self.node.store(member.node, Ordering::Relaxed);
        self.match_lsn.store(member.match_lsn.0, Ordering::Relaxed);
        self.heard_ns.store(member.heard_ns, Ordering::Relaxed);
        let kind = u64::from(member.role.code()) << 8 | u64::from(member.replica);
        self.kind.store(kind, Ordering::Relaxed);
        self.peer_address.store_text(&member.peer_address);
        self.client_address.store_text(&member.client_address);
        self.kv_address.store_text(&member.kv_address);
    }

    #[allow(clippy::cast_possible_truncation, reason = "cut into its parts")]
    fn read(&self) -> MemberView {
        let kind = self.kind.load(Ordering::Relaxed);
        MemberView {
            replica: kind as u8,
            node: self.node.load(Ordering::Relaxed),
            role: ReplicaRole::of((kind >> 8) as u8).unwrap_or(ReplicaRole::Learner),
            match_lsn: Lsn(self.match_lsn.load(Ordering::Relaxed)),
            heard_ns: self.heard_ns.load(Ordering::Relaxed),
            peer_address: self.peer_address.load_text(),
            client_address: self.client_address.load_text(),
            kv_address: self.kv_address.load_text(),
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::ipc::segment::{Segment, unlink};
    use crate::store::cluster::peer_counts::PeerCounts;

    fn row() -> Segment<ClusterRow, ()> {
        let name = format!("/vault-test.{}.{:?}", std::process::id(), std::thread::current().id());
        let made = Segment::create(&name, 1, 1, 0, |_: &ClusterRow, _| Ok(())).unwrap();
        unlink(&name).unwrap();
        made
    }

    fn view(term: u64) -> ClusterView {
        let member = |number: u8| MemberView {
            replica: number,
            node: term,
            role: if number == 2 { ReplicaRole::Primary } else { ReplicaRole::Follower },
            match_lsn: Lsn(term),
            heard_ns: term,
            peer_address: format!("10.0.0.{number}:{term}"),
            client_address: format!("10.0.1.{number}:{term}"),
            kv_address: format!("10.0.2.{number}:{term}"),
        };
        ClusterView {
            standing: Standing { role: ReplicaRole::Follower, primary: 2 },
            node: term,
            term,
            primary_address: format!("10.0.1.2:{term}"),
            primary_kv_address: format!("10.0.2.2:{term}"),
            members: (1..=MAX_REPLICAS).map(member).collect(),
        }
    }

    #[test]
    fn zeroed_memory_is_an_instance_that_is_alone() {
        let memory = row();
        let row = memory.root();
        assert_eq!(row.view(), ClusterView::default());
        assert_eq!((row.standing().role, row.has_peers()), (ReplicaRole::Alone, false));
        row.begin(3);
        assert_eq!(row.standing(), Standing { role: ReplicaRole::Follower, primary: 0 });
        assert!(row.has_peers());
        row.publish(&view(7));
        assert_eq!(row.view(), view(7));
        for role in ReplicaRole::ALL {
            let standing = Standing { role, primary: 7 };
            row.stand(standing);
            assert_eq!(row.standing(), standing);
        }
    }

    #[test]
    fn elections_and_changes_of_the_primary_are_counted_from_the_first_view_on() {
        let memory = row();
        let row = memory.root();
        let publish = |term, primary| {
            let view = ClusterView { standing: Standing { role: ReplicaRole::Follower, primary }, ..view(term) };
            row.count_changes(&view);
            row.publish(&view);
            (row.elections.get(), row.primary_changes.get())
        };
        assert_eq!(publish(7, 0), (0, 0), "what was before is not known");
        assert_eq!(publish(7, 2), (0, 0), "the first");
        assert_eq!(publish(8, 0), (1, 0), "none is known");
        assert_eq!(publish(9, 2), (2, 0), "the same again");
        assert_eq!(publish(11, 3), (4, 1));
        assert_eq!(publish(11, 3), (4, 1));
    }

    #[test]
    fn what_peers_count_is_summed_up_over_lives() {
        let memory = row();
        let row = memory.root();
        let mut counted = PeerCounts::default();
        (counted.traffic.split, counted.refused.unresolved, counted.closed.own, counted.dropped.unencodable) =
            (1000, 3, 2, 1);
        row.peers.add(&counted.since(&PeerCounts::default()));
        assert_eq!(row.peers.read(), counted);
        let before = counted;
        counted.refused.unresolved = 5;
        row.peers.add(&counted.since(&before));
        assert_eq!(row.peers.read(), counted);
        // Another life begins to count anew.
        row.peers.add(&before.since(&PeerCounts::default()));
        assert_eq!((row.peers.read().traffic.split, row.peers.read().refused.unresolved), (2000, 8));
    }

    #[test]
    fn a_view_is_of_one_moment() {
        let memory = row();
        let row = memory.root();
        row.publish(&view(1));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (2..20_000).for_each(|term| row.publish(&view(term))));
            let mut seen = 0;
            while !writer.is_finished() {
                // A reader that never finds a quiet moment gives what it sees; beside this writer that happens.
                let before = row.sequence.load(Ordering::Acquire);
                let found = row.view();
                if row.sequence.load(Ordering::Acquire) == before && before.is_multiple_of(2) {
                    assert_eq!(found, view(found.term));
                    seen += 1;
                }
            }
            assert!(seen > 0 || row.view() == view(19_999));
        });
        assert_eq!(row.view(), view(19_999));
        // A writer that dies in the middle.
        row.sequence.fetch_or(1, Ordering::Relaxed);
        assert_eq!(row.view(), view(19_999), "its words are there");
        row.publish(&view(3));
        assert_eq!(row.view(), view(3));
        assert!(row.sequence.load(Ordering::Relaxed).is_multiple_of(2));
    }
}
