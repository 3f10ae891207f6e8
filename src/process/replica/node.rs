//! A node of a cluster: its peers, and what it is. Outside until it is a member; then it has a core.

use std::collections::{BTreeMap, HashMap};
use std::mem::{Discriminant, discriminant};
use std::net::TcpListener;
use std::num::NonZeroU64;

use crate::base::vocab::{Lsn, OnDisk};
use crate::process::replica::arguments::ReplicaArguments;
use crate::process::replica::changing::{Around, Changing};
use crate::process::replica::core::{Core, Event, Settings as CoreSettings};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::founding::{Greetings, is_made_member, new_cluster};
use crate::process::replica::loading::{loaded, wait_for_journal};
use crate::process::replica::log_reading::{FOUNDED, FOUNDED_TERM, load_log};
use crate::process::replica::peers::{
    ConfiguredPeer, Found, Founding, Identity, PeerEvent, PeerPlace, PeerSettings, Peers, Ready, Refusal,
};
use crate::process::replica::records::LogRecords;
use crate::process::replica::seen::Seen;
use crate::process::replica::shell::{Outcome, Shell, Told};
use crate::process::replica::snapshots::Snapshots;
use crate::store::cluster::{ClusterId, Commit, Membership, NodeId, PeerCounts, ReplicaId, Secret, State, StateFile};
use crate::store::connection::ServiceId;
use crate::store::journal::Reader;
use crate::store::kv::{self, KvTable, LogApplier};
use crate::store::ledger::table::REPLICA_ROW;
use crate::store::ledger::{GateState, repair};

/// What a node is.
pub enum Stage {
    /// No member of any cluster yet.
    Outside(Box<StateFile>),
    /// A member.
    Member(Box<Shell>),
    /// While one becomes the other.
    Between,
}

/// A node.
pub struct Node {
    pub(super) arguments: ReplicaArguments,
    pub(super) peers: Peers,
    pub(super) own: Identity,
    pub(super) greetings: Greetings,
    /// What it does about membership.
    changing: Changing,
    /// How often each peer was refused since it was connected last, for each reason; without a number, those who connected here.
    refused: HashMap<(Option<ReplicaId>, Discriminant<Refusal>), u64>,
    /// When each node was heard last, nanoseconds of the monotonic clock.
    pub(super) heard: BTreeMap<NodeId, u64>,
    /// What of the peers' counters is in the row already.
    pub(super) counted: PeerCounts,
    pub(super) stage: Stage,
    /// What [`Node::observe`] saw last.
    pub(super) observed: Seen,
    /// The journal process' last snapshot, and how often the oldest segment is still to be looked at because of it.
    pub(super) snapshot: (Lsn, u8),
    /// Whether it was said that several have operations of their own.
    has_told_of_books: bool,
}

impl Node {
    /// The node of this instance, as DATA/raft has it; a new one where there is none.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn open(arguments: ReplicaArguments) -> Result<Node, ReplicaError> {
        let replica = arguments.cluster.replica;
        let file = match StateFile::open(&arguments.directory)? {
            Some(file) => file,
            None => StateFile::create(&arguments.directory, State::fresh(new_node()?, replica))?,
        };
        let own = identity(&arguments, file.state());
        let secret = Secret::load(&arguments.cluster.secret)?;
        let changing = Changing::new(configured(&arguments));
        let settings = PeerSettings { own: own.clone(), peers: changing.configured().to_vec() };
        let io = |step| move |source| ReplicaError::Io { step, source };
        let listener =
            TcpListener::from(arguments.listener.try_clone().map_err(io("use the socket that peers connect to"))?);
        let peers = Peers::new(settings, secret, listener).map_err(io("use the socket that peers connect to"))?;
        let stage = Stage::Outside(Box::new(file));
        let mut node = Node {
            arguments,
            peers,
            own,
            greetings: Greetings::default(),
            changing,
            refused: HashMap::new(),
            heard: BTreeMap::new(),
            counted: PeerCounts::default(),
            stage,
            observed: Seen { executed: Lsn(0), on_disk: OnDisk(Lsn(0)), truncated: 0 },
            snapshot: (Lsn(0), 0),
            has_told_of_books: false,
        };
        node.join_if_member()?;
        // A cluster of one waits for nobody.
        node.found_if_due()?;
        Ok(node)
    }

    /// Makes a member of a node whose DATA/raft names its cluster.
    fn join_if_member(&mut self) -> Result<(), ReplicaError> {
        let file = match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Outside(file) if file.state().cluster.is_some() => *file,
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        let state = file.state();
        self.own.cluster = state.cluster;
        if let Some(cluster) = state.cluster {
            self.peers.set_cluster(cluster);
        }
        self.peers.set_members(state.membership.clone());
        let mut shell = Box::new(self.shell(file)?);
        shell.act(&mut self.peers)?;
        self.stage = Stage::Member(shell);
        Ok(())
    }

    fn shell(&self, mut file: StateFile) -> Result<Shell, ReplicaError> {
        let ReplicaArguments { instance, directory, wakeup, journal, workers, .. } = &self.arguments;
        let (table, row) = (instance.table(), instance.replica_row());
        let sequencer = table.sequencer();
        let beat = || row.life.heartbeat_ns.set(crate::ipc::process::monotonic_ns());
        wait_for_journal(sequencer, wakeup, journal, || {
            beat();
            !row.life.is_to_leave()
        })?;
        if file.state().keep.is_some() || file.state().install {
            // The journal process has carried it out, or a start has.
            let state = State { keep: None, install: false, ..file.state().clone() };
            file.save(&state, true)?;
        }
        let settle = || {
            // First, since the ledger's intent says whether a write has happened.
            let writes = instance.kv().map_or(Ok(()), |kv| kv::settle(kv, table, REPLICA_ROW));
            writes.and_then(|()| repair::settle(table, REPLICA_ROW))
        };
        while settle().is_err() {
            // A worker is repairing one of the accounts: a matter of microseconds.
            std::thread::yield_now();
        }
        // A predecessor may have died between saying what may be shown and waking who waits for it, or in a round of reads, which nobody
        // would ask for again.
        workers.iter().for_each(|worker| worker.send());
        let _asked_for_when_this_node_leads = sequencer.want_round();
        let mut segments = Reader::open(directory);
        let (end, executed) = (sequencer.log_end().unwrap_or_default(), table.order().now().lsn);
        let log = load_log(&mut segments, end, file.state().commit, executed)?;
        let settings = CoreSettings::new(file.state().node, random()?);
        let core = Core::new(settings, loaded(table, file.state(), log))?;
        Ok(Shell {
            instance,
            table,
            sequencer,
            core,
            file,
            committed: sequencer.committed().0,
            records: LogRecords::new(table, segments),
            applier: LogApplier::new(table, instance.kv(), beat),
            journal: journal.clone(),
            workers: workers.clone(),
            snapshots: Snapshots::new(directory, self.own.key_window, wakeup.clone()),
            arrived: Vec::new(),
            gate_is_open: sequencer.gate().state == GateState::Open,
            has_changed: true,
            truncation: None,
            refused: None,
            transfer_failed: None,
            told: Told::default(),
            outcome: Outcome::GoOn,
        })
    }

    /// Takes what peers have sent.
    pub fn hear_peers(&mut self, now_ns: u64, ready: &[Ready]) -> Result<(), ReplicaError> {
        let events: Vec<_> = match &self.stage {
            Stage::Member(shell) => self.peers.turn(now_ns, ready, &shell.records).collect(),
            _ => self.peers.turn(now_ns, ready, &NoRecords).collect(),
        };
        for event in events {
            if let (PeerEvent::Message { message, .. }, Stage::Member(_)) = (&event, &self.stage) {
                self.heard.insert(message.from, now_ns);
            }
            self.hear(event)?;
        }
        Ok(())
    }

    fn hear(&mut self, event: PeerEvent) -> Result<(), ReplicaError> {
        match event {
            PeerEvent::Connected(accepted) => {
                let node = accepted.peer.node;
                log::info!("replica {} is connected, node {node}", accepted.peer.replica);
                self.greetings.note(&accepted);
                self.refused.retain(|(replica, _), _| *replica != Some(accepted.peer.replica));
                self.tell_if_member(node, accepted.is_fresh());
                self.tell(Event::Connected(node))?;
                self.found_if_due()
            }
            PeerEvent::Disconnected { node, replica, why } => {
                log::info!("replica {replica}, node {node}, is gone: {why}");
                self.greetings.forget(node);
                if let Stage::Member(shell) = &mut self.stage {
                    shell.snapshots.lost(node);
                }
                self.tell(Event::Unreachable(node))
            }
            PeerEvent::Message { message, records } => {
                if let Some(cluster) = self.own.cluster {
                    // A node that greeted as a fresh one knows its cluster by now.
                    self.greetings.note_member(message.from, cluster);
                }
                match &mut self.stage {
                    Stage::Member(shell) => shell.take_message(message, records, &mut self.peers),
                    _ => Ok(()),
                }
            }
            PeerEvent::Found { from, found } => {
                if is_made_member(&self.own, from, &found) && self.may_be_one_of(&found.members) {
                    self.become_member(found.cluster, found.members, false)?;
                }
                Ok(())
            }
            PeerEvent::Snapshot { from, frame } => {
                if let Stage::Member(shell) = &mut self.stage {
                    shell.take_snapshot_frame(from, frame, &mut self.peers);
                }
                Ok(())
            }
            PeerEvent::Refused { replica, place, why } => {
                self.changing.peer_refused(replica, &why.to_string());
                // Of each reason for itself: one that is told over and over must not hide another.
                let refused = self.refused.entry((replica, discriminant(&why))).or_insert(0);
                *refused += 1;
                if !refused.is_power_of_two() {
                    // A peer that is down is refused once or twice a second, and that is no news.
                    return Ok(());
                }
                let who = replica.map_or_else(|| "a peer".to_owned(), |replica| format!("replica {replica}"));
                log::warn!("{who} at {place} is refused, for the {refused}. time: {why}");
                Ok(())
            }
        }
    }

    /// Tells a fresh node that it is a member, if it is.
    fn tell_if_member(&mut self, node: NodeId, is_fresh: bool) {
        let Stage::Member(shell) = &self.stage else { return };
        let members = shell.core.status().membership;
        if let Some(cluster) = self.own.cluster.filter(|_| is_fresh && members.of_node(node).is_some()) {
            // Dropped only where the connection is gone again; it will be made anew.
            let _dropped = self.peers.send_found(node, &Found { cluster, members });
        }
    }

    /// Founds a cluster, if that is for this node to do.
    fn found_if_due(&mut self) -> Result<(), ReplicaError> {
        let configured = self.arguments.cluster.peers.iter().map(|(replica, _)| *replica);
        let decision = self.greetings.decide(&self.own, configured);
        if let Founding::SeveralHaveBooks(who) = &decision
            && !std::mem::replace(&mut self.has_told_of_books, true)
        {
            let told: Vec<_> = who.iter().map(|(replica, had)| format!("replica {replica} has {had}")).collect();
            log::error!(
                "no cluster is founded: {} operations of their own, and one ledger begins with those of one of them; empty the data \
                 directories of the others, or begin with balances by `vaultctl export` and --opening-balances on all",
                told.join(", ")
            );
        }
        if let Founding::Found(members) = decision {
            let cluster = new_cluster().map_err(|source| ReplicaError::Io { step: "name a new cluster", source })?;
            log::info!("this instance founds cluster {cluster}, of {} members", members.all().count());
            let others: Vec<_> =
                members.all().map(|member| member.node).filter(|node| *node != self.own.node).collect();
            let found = Found { cluster, members: members.clone() };
            self.become_member(cluster, members, true)?;
            for node in others {
                let _dropped = self.peers.send_found(node, &found);
            }
        }
        Ok(())
    }

    /// Whether this node, which is outside, can be made one of these members by another: its journal is to be empty, since the log is that of
    /// the others. Says so where it cannot.
    fn may_be_one_of(&self, members: &Membership) -> bool {
        let had = self.arguments.instance.table().order().now().lsn;
        let may = had == Lsn(0) || members.all().count() == 1;
        if !may {
            log::error!(
                "this instance has {had} operations of its own, and a cluster that others have founded has theirs; empty its data directory, \
                 which it gets from them, or take its balances along into a new cluster by `vaultctl export` and --opening-balances"
            );
        }
        may
    }

    /// Notes durably of which cluster this node is a member, and becomes one.
    fn become_member(&mut self, cluster: ClusterId, members: Membership, founds: bool) -> Result<(), ReplicaError> {
        if let Stage::Outside(file) = &mut self.stage {
            // What this instance had before it had peers is the beginning of the log.
            let lsn = self.arguments.instance.table().order().now().lsn;
            let is_entry = founds && lsn > Lsn(0);
            let (term, index) = if is_entry { (FOUNDED_TERM, FOUNDED.index) } else { (0, 0) };
            let commit = Commit { index, lsn };
            let state = State { cluster: Some(cluster), membership: members, term, commit, ..file.state().clone() };
            file.save(&state, true)?;
        }
        self.join_if_member()
    }

    /// Tells the core of an event, if there is one.
    pub fn tell(&mut self, event: Event) -> Result<(), ReplicaError> {
        match &mut self.stage {
            Stage::Member(shell) => shell.handle(event, &mut self.peers),
            _ => Ok(()),
        }
    }

    /// Does what is to be done about membership in this tick.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn change_members(&mut self, now_ns: u64) -> Result<(), ReplicaError> {
        let shell = match &mut self.stage {
            Stage::Member(shell) => Some(&mut **shell),
            _ => None,
        };
        let (own, greetings, peers) = (&self.own, &self.greetings, &mut self.peers);
        let words = &self.arguments.instance.replica_row().requests;
        self.changing.turn(&mut Around { own, greetings, peers, shell, words }, now_ns)
    }

    /// Hands leadership over, as far as there is any.
    pub fn hand_over(&mut self) -> Result<(), ReplicaError> {
        match &self.stage {
            Stage::Member(_) => self.tell(Event::Leave),
            Stage::Outside(_) | Stage::Between => {
                let row = self.arguments.instance.replica_row();
                row.hand_over_wanted().into_iter().for_each(|number| row.set_handed_over(number));
                Ok(())
            }
        }
    }

    /// What is to become of this process.
    pub fn outcome(&self) -> Outcome {
        match &self.stage {
            Stage::Member(shell) => shell.outcome,
            _ => Outcome::GoOn,
        }
    }

    /// Writes to peers what can be written now.
    pub fn flush(&mut self, now_ns: u64) {
        match &self.stage {
            Stage::Member(shell) => self.peers.flush(now_ns, &shell.records),
            _ => self.peers.flush(now_ns, &NoRecords),
        }
    }
}

/// The log of a node that is no member.
struct NoRecords;

impl crate::process::replica::peers::Records for NoRecords {
    fn read(&self, _: Lsn, _: Lsn, _: u64, _: u64, _: &mut Vec<u8>) -> Option<()> {
        None
    }
}

fn random() -> Result<u64, ReplicaError> {
    getrandom::u64().map_err(|error| ReplicaError::Io { step: "draw a random number", source: error.into() })
}

/// A new node's identity.
fn new_node() -> Result<NodeId, ReplicaError> {
    loop {
        if let Some(number) = NonZeroU64::new(random()?) {
            return Ok(NodeId(number));
        }
    }
}

/// What this instance says of itself.
fn identity(arguments: &ReplicaArguments, state: &State) -> Identity {
    let ReplicaArguments { instance, cluster, settings, directory, .. } = arguments;
    let table = instance.table();
    let own = cluster.peers.iter().find(|(replica, _)| *replica == cluster.replica);
    Identity {
        cluster: state.cluster,
        node: state.node,
        replica: cluster.replica,
        peer_address: own.map(|(_, address)| address.clone()).unwrap_or_default(),
        client_address: instance.control().address(ServiceId::FIRST),
        kv_address: instance.control().kv_address(),
        accounts: table.accounts(),
        opening: table.opening(),
        key_window: settings.key_window.into(),
        operations: table.order().now().lsn,
        openings: directory.openings().checksum(),
        segment_records: directory.records_per_segment(),
        kv_blocks: instance.kv().map_or(0, KvTable::capacity),
    }
}

/// The configured peers.
fn configured(arguments: &ReplicaArguments) -> Vec<ConfiguredPeer> {
    let others = arguments.cluster.peers.iter().filter(|(replica, _)| *replica != arguments.cluster.replica);
    others.map(|(replica, address)| ConfiguredPeer { replica: *replica, place: PeerPlace::of(address) }).collect()
}
