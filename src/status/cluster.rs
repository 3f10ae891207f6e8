//! The cluster that an instance is a member of, as the instance knows it.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::numbers::milliseconds;
use crate::base::limits::READY_LAG_RECORDS;
use crate::base::vocab::{Lsn, ReplicaRole};
use crate::store::cluster::peer_counts::Traffic;
use crate::store::cluster::{ClusterView, MemberView, NodeId, PeerCounts};
use crate::store::instance::Instance;
use crate::store::instance::life::Life;

/// The cluster at one moment; samples and views show it alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The instance's own number, as it is configured.
    pub replica: u8,
    /// The identity of its node; `None` while it is no member of any cluster yet.
    pub node: Option<String>,
    /// `follower`, `candidate`, `primary` or `learner`.
    pub role: &'static str,
    /// The term.
    pub term: u64,
    /// The number of the primary; `None` where none is known.
    pub primary: Option<u8>,
    /// Where clients reach the primary; empty where that is not known.
    pub primary_address: String,
    /// Where clients reach the primary's key-value service; empty where that is not known, or there is none.
    pub primary_kv_address: String,
    /// The last operation that is committed, as this instance knows.
    pub committed_lsn: u64,
    /// The last operation that is in this instance's books. Of a primary they are all that it has executed.
    pub applied_lsn: u64,
    /// Records that are committed and not applied here yet.
    pub apply_lag: u64,
    /// Whether the books are being remade: what is said of operations and balances means nothing then.
    pub remaking: bool,
    /// How often they were remade.
    pub remakes: u64,
    /// The replica process.
    pub process: ReplicaProcess,
    /// Terms that have begun while this instance looked on.
    pub elections: u64,
    /// Times that another member than before was the primary.
    pub primary_changes: u64,
    /// Rounds of reads for which leadership was to be confirmed.
    pub read_rounds: u64,
    /// Snapshots that it has sent to members that were far behind.
    pub snapshots_sent: u64,
    /// Snapshots that took the place of its books, since it was far behind.
    pub snapshots_installed: u64,
    /// The members, by their numbers; this instance, too.
    pub members: Vec<Member>,
    /// What the connections to peers have counted.
    #[serde(serialize_with = "by_name")]
    pub peers: PeerCounts,
}

/// The replica process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplicaProcess {
    /// 0: there is no process now.
    pub pid: u32,
    /// How often a process was started for it.
    pub lives: u32,
    /// How many of these ended without having been asked to.
    pub deaths: u32,
    /// How often no process could be started.
    pub failed_starts: u32,
    /// Whether it was asked to leave.
    pub leaving: bool,
    /// Time since its last heartbeat.
    pub heartbeat_age_ms: u64,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its number.
    pub replica: u8,
    /// The identity of its node.
    pub node: String,
    /// What it is, as far as this instance knows.
    pub role: &'static str,
    /// The last record that it is known to have on its disk; of this instance, the last of its log. Only a primary knows it of others.
    pub match_lsn: Option<u64>,
    /// Records of the primary's log that it is not known to have. Only a primary knows it.
    pub lag: Option<u64>,
    /// Time since it was heard; 0 for this instance, `None`: never, since the replica process began.
    pub heard_ms: Option<u64>,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it; empty where that is not known.
    pub client_address: String,
    /// Where clients reach its key-value service; empty where that is not known, or there is none.
    pub kv_address: String,
}

impl Cluster {
    /// Reads what is known of the cluster, at `now_ns`; `None` where the instance has no peers.
    #[must_use]
    pub fn of(instance: &Instance, now_ns: u64) -> Option<Cluster> {
        let (cluster, replica) = (&instance.control().cluster, instance.replica_row());
        if !cluster.has_peers() {
            return None;
        }
        let table = instance.table();
        // What is applied first: it cannot be more than what is committed by then, unless this is the primary.
        let applied = table.order().now().lsn;
        let committed = table.sequencer().committed().0;
        let number = u8::try_from(cluster.replica.get()).unwrap_or(u8::MAX);
        Some(Cluster {
            remaking: replica.is_remaking(),
            remakes: replica.remakes.get(),
            process: ReplicaProcess::of(&replica.life, now_ns),
            elections: cluster.elections.get(),
            primary_changes: cluster.primary_changes.get(),
            read_rounds: cluster.rounds.get(),
            snapshots_sent: cluster.snapshots_sent.get(),
            snapshots_installed: cluster.snapshots_installed.get(),
            peers: cluster.peers.read(),
            ..Cluster::shown(cluster.view(), number, [committed, applied], now_ns)
        })
    }

    /// What a view says to the member `replica`, at `now_ns`.
    fn shown(view: ClusterView, replica: u8, [committed, applied]: [Lsn; 2], now_ns: u64) -> Cluster {
        let is_primary = view.standing.role == ReplicaRole::Primary;
        let last = view.members.iter().find(|member| member.replica == replica).map(|own| own.match_lsn);
        let member = |member: MemberView| {
            let is_own = member.replica == replica;
            let is_known = is_primary || is_own;
            Member {
                replica: member.replica,
                node: NodeId::new(member.node).map_or_else(String::new, |node| node.to_string()),
                role: member.role.name(),
                match_lsn: is_known.then_some(member.match_lsn.0),
                lag: last.filter(|_| is_primary).map(|last| last.0.saturating_sub(member.match_lsn.0)),
                heard_ms: match member.heard_ns {
                    _ if is_own => Some(0),
                    0 => None,
                    heard_ns => Some(milliseconds(now_ns, heard_ns)),
                },
                peer_address: member.peer_address,
                client_address: member.client_address,
                kv_address: member.kv_address,
            }
        };
        let mut members: Vec<Member> = view.members.into_iter().map(member).collect();
        members.sort_by_key(|member| member.replica);
        Cluster {
            replica,
            node: NodeId::new(view.node).map(|node| node.to_string()),
            role: view.standing.role.name(),
            term: view.term,
            primary: Some(view.standing.primary).filter(|&primary| primary != 0),
            primary_address: view.primary_address,
            primary_kv_address: view.primary_kv_address,
            committed_lsn: committed.0,
            applied_lsn: applied.0,
            apply_lag: committed.0.saturating_sub(applied.0),
            members,
            ..Cluster::default()
        }
    }

    /// Whether it is so far behind what is committed that it had better not be asked.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.apply_lag > READY_LAG_RECORDS
    }
}

impl ReplicaProcess {
    fn of(life: &Life, now_ns: u64) -> ReplicaProcess {
        ReplicaProcess {
            pid: life.pid.get(),
            lives: life.lives.get(),
            deaths: life.deaths.get(),
            failed_starts: life.failed_starts.get(),
            leaving: life.is_to_leave(),
            heartbeat_age_ms: milliseconds(now_ns, life.heartbeat_ns.get()),
        }
    }
}

/// All counts under their names: those of the traffic, and a table for each kind of reason.
fn by_name<S: Serializer>(counts: &PeerCounts, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, count) in Traffic::NAMES.iter().zip(counts.traffic.in_order()) {
        map.serialize_entry(name, &count)?;
    }
    for (name, (reasons, counts)) in counts.tables() {
        let by_reason: BTreeMap<_, _> = reasons.iter().zip(counts).collect();
        map.serialize_entry(name, &by_reason)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cluster::Standing;

    fn view(role: ReplicaRole, primary: u8) -> ClusterView {
        let member = |replica: u8, match_lsn, heard_ns| MemberView {
            replica,
            node: u64::from(replica) << 60,
            role: if replica == primary { ReplicaRole::Primary } else { ReplicaRole::Follower },
            match_lsn: Lsn(match_lsn),
            heard_ns,
            ..MemberView::default()
        };
        ClusterView {
            standing: Standing { role, primary },
            node: 2 << 60,
            term: 7,
            members: vec![member(3, 0, 0), member(2, 100, 5_000_000), member(1, 90, 1_000_000)],
            ..ClusterView::default()
        }
    }

    #[test]
    fn a_primary_knows_how_far_the_others_are() {
        let shown = Cluster::shown(view(ReplicaRole::Primary, 2), 2, [Lsn(95), Lsn(100)], 51_000_000);
        assert_eq!((shown.role, shown.primary, shown.term, shown.apply_lag), ("primary", Some(2), 7, 0));
        assert_eq!(shown.node.as_deref(), Some("2000000000000000"));
        let [one, two, three] = &shown.members[..] else { panic!("{shown:?}") };
        assert_eq!((one.replica, one.match_lsn, one.lag, one.heard_ms), (1, Some(90), Some(10), Some(50)));
        assert_eq!((two.match_lsn, two.lag, two.heard_ms, two.role), (Some(100), Some(0), Some(0), "primary"));
        assert_eq!((three.match_lsn, three.lag, three.heard_ms), (Some(0), Some(100), None));
    }

    #[test]
    fn others_do_not_and_say_so() {
        let shown = Cluster::shown(view(ReplicaRole::Follower, 1), 2, [Lsn(95), Lsn(60)], 51_000_000);
        assert_eq!((shown.role, shown.primary, shown.apply_lag), ("follower", Some(1), 35));
        let known: Vec<_> = shown.members.iter().map(|member| (member.match_lsn, member.lag)).collect();
        assert_eq!(known, [(None, None), (Some(100), None), (None, None)]);
        let outside =
            ClusterView { standing: Standing { role: ReplicaRole::Follower, primary: 0 }, ..Default::default() };
        let shown = Cluster::shown(outside, 2, [Lsn(0); 2], 1);
        assert_eq!((shown.node, shown.primary, shown.members.len()), (None, None, 0));
    }

    #[test]
    fn the_bound_of_being_behind_is_inclusive() {
        let behind = |apply_lag| Cluster { apply_lag, ..Cluster::default() }.is_behind();
        assert_eq!([0, READY_LAG_RECORDS, READY_LAG_RECORDS + 1].map(behind), [false, false, true]);
    }

    #[test]
    fn json_has_a_name_for_each_count() {
        let mut peers = PeerCounts::default();
        (peers.traffic.bytes_in, peers.refused.secret, peers.closed.stalled, peers.dropped.messages) = (8, 1, 2, 3);
        let json = serde_json::to_value(Cluster { peers, ..Cluster::default() }).unwrap();
        let peers = &json["peers"];
        assert_eq!([&peers["bytes_in"], &peers["refused"]["secret"], &peers["closed"]["stalled"]], [8, 1, 2]);
        assert_eq!((&peers["dropped"]["messages"], &json["node"]), (&3.into(), &serde_json::Value::Null));
    }
}
