//! The metrics of the cluster. Where an instance has no peers, they are not there.

use super::exposition::Type::{Counter, Gauge};
use super::exposition::{Exposition, Of, seconds};
use crate::base::vocab::ReplicaRole;
use crate::status::cluster::{Cluster, Member};

const OF_CLUSTER: &[Of<Cluster>] = &[
    ("vault_cluster_term", Gauge, "The term.", |c| c.term),
    ("vault_cluster_primary", Gauge, "The number of the primary; 0: none is known.", |c| {
        c.primary.map_or(0, u64::from)
    }),
    ("vault_cluster_committed_lsn", Gauge, "The last operation that is committed, as is known here.", |c| {
        c.committed_lsn
    }),
    ("vault_cluster_applied_lsn", Gauge, "The last operation in the books.", |c| c.applied_lsn),
    ("vault_cluster_apply_lag_records", Gauge, "Records that are committed and not applied.", |c| c.apply_lag),
    ("vault_cluster_members", Gauge, "Members, this instance included.", |c| c.members.len() as u64),
    ("vault_cluster_elections_total", Counter, "Terms that have begun while this instance looked on.", |c| c.elections),
    ("vault_cluster_primary_changes_total", Counter, "Times that another member became the primary.", |c| {
        c.primary_changes
    }),
    ("vault_cluster_read_rounds_total", Counter, "Rounds of reads for which leadership was to be confirmed.", |c| {
        c.read_rounds
    }),
    ("vault_cluster_snapshots_sent_total", Counter, "Snapshots that members were sent.", |c| c.snapshots_sent),
    ("vault_cluster_snapshots_installed_total", Counter, "Snapshots that took the place of the books here.", |c| {
        c.snapshots_installed
    }),
    ("vault_cluster_remaking", Gauge, "Whether the books are being remade.", |c| c.remaking.into()),
    ("vault_cluster_remakes_total", Counter, "Times that the books were remade.", |c| c.remakes),
    ("vault_cluster_process_up", Gauge, "Whether there is a replica process.", |c| u64::from(c.process.pid != 0)),
    ("vault_cluster_process_starts_total", Counter, "Replica processes started.", |c| c.process.lives.into()),
    (
        "vault_cluster_process_deaths_total",
        Counter,
        "Replica processes that ended without having been asked to.",
        |c| c.process.deaths.into(),
    ),
    ("vault_cluster_process_failed_starts_total", Counter, "Replica processes that could not be started.", |c| {
        c.process.failed_starts.into()
    }),
    ("vault_cluster_peers_accepted_total", Counter, "Connections of peers that were accepted.", |c| {
        c.peers.traffic.accepted
    }),
    ("vault_cluster_peer_accept_failures_total", Counter, "Times that accepting them failed.", |c| {
        c.peers.traffic.accept_failures
    }),
    ("vault_cluster_peers_dialled_total", Counter, "Connections that were begun to peers.", |c| {
        c.peers.traffic.dialled
    }),
    ("vault_cluster_peers_connected_total", Counter, "Times that a peer proved to be one.", |c| {
        c.peers.traffic.connected
    }),
    ("vault_cluster_peer_lookups_total", Counter, "Names of peers that were looked up.", |c| c.peers.traffic.lookups),
    ("vault_cluster_messages_split_total", Counter, "Messages to peers sent as several.", |c| c.peers.traffic.split),
    ("vault_cluster_received_frames_total", Counter, "Frames of peers.", |c| c.peers.traffic.frames_in),
    ("vault_cluster_received_bytes_total", Counter, "Bytes of peers.", |c| c.peers.traffic.bytes_in),
    ("vault_cluster_sent_frames_total", Counter, "Frames to peers.", |c| c.peers.traffic.frames_out),
    ("vault_cluster_sent_bytes_total", Counter, "Bytes to peers.", |c| c.peers.traffic.bytes_out),
];

/// What is known of a member, where it is; in the unit of the name.
type OfMember = (&'static str, &'static str, fn(&Member) -> Option<String>);

const OF_MEMBER: &[OfMember] = &[
    (
        "vault_cluster_member_match_lsn",
        "The last record it is known to have on disk; of others, on a primary only.",
        |m| m.match_lsn.map(|lsn| lsn.to_string()),
    ),
    (
        "vault_cluster_member_lag_records",
        "Records of the primary's log it is not known to have; on a primary only.",
        |m| m.lag.map(|lag| lag.to_string()),
    ),
    ("vault_cluster_member_heard_age_seconds", "Time since the member was heard; not there where it never was.", |m| {
        m.heard_ms.map(|ms| seconds(ms.saturating_mul(1_000_000)))
    }),
];

/// Writes them.
pub(super) fn of_cluster(out: &mut Exposition, cluster: &Cluster) {
    out.metric("vault_cluster_info", Gauge, "The instance in its cluster; always 1.");
    let node = cluster.node.as_deref().unwrap_or_default();
    out.value(&[("replica", &cluster.replica), ("node", &node)], 1);
    out.metric("vault_cluster_role", Gauge, "1 for what the instance is in its cluster.");
    for role in ReplicaRole::ALL.into_iter().filter(|role| *role != ReplicaRole::Alone).map(ReplicaRole::name) {
        out.value(&[("role", &role)], u64::from(role == cluster.role));
    }
    out.of_one(cluster, OF_CLUSTER);
    out.metric("vault_cluster_process_heartbeat_age_seconds", Gauge, "Time since the replica process last came by.");
    out.value(&[], seconds(cluster.process.heartbeat_age_ms.saturating_mul(1_000_000)));
    for (name, help, value) in OF_MEMBER {
        out.metric(name, Gauge, help);
        for member in &cluster.members {
            if let Some(value) = value(member) {
                out.value(&[("member", &member.replica)], value);
            }
        }
    }
    for ((name, reason, help), (_, (reasons, counts))) in OF_PEERS.into_iter().zip(cluster.peers.tables()) {
        out.metric(name, Counter, help);
        for (why, count) in reasons.iter().zip(counts) {
            out.value(&[(reason, why)], count);
        }
    }
}

/// Of the tables of [`PeerCounts`](crate::store::cluster::PeerCounts), in their order: metric, label, help.
const OF_PEERS: [(&str, &str, &str); 5] = [
    ("vault_cluster_peers_refused_total", "reason", "Connections refused, by reason."),
    ("vault_cluster_peers_closed_total", "reason", "Connections of peers that ended, by reason."),
    ("vault_cluster_messages_dropped_total", "reason", "Messages to peers dropped, by reason."),
    ("vault_cluster_messages_untaken_total", "reason", "Messages of peers not taken, by reason."),
    ("vault_cluster_turns_used_up_total", "what", "Turns that ended so that others have theirs, by what was done."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Sample, metrics};
    use crate::store::cluster::PeerCounts;

    #[test]
    fn they_are_there_where_there_are_peers() {
        let with = |cluster| metrics(&Sample { cluster, ..Sample::default() });
        assert!(!with(None).contains("vault_cluster_"));
        let mut peers = PeerCounts::default();
        (peers.refused.slow, peers.traffic.bytes_out, peers.untaken.no_room, peers.turns.writing) = (4, 99, 2, 3);
        let member = |replica, lag, heard_ms| Member { replica, lag, heard_ms, ..Member::default() };
        let members = vec![member(1, Some(0), Some(0)), member(2, Some(12), Some(1500)), member(3, None, None)];
        let text = with(Some(Cluster { replica: 1, role: "primary", term: 5, members, peers, ..Cluster::default() }));
        for line in [
            "vault_cluster_role{role=\"primary\"} 1",
            "vault_cluster_role{role=\"follower\"} 0",
            "vault_cluster_term 5",
            "vault_cluster_member_lag_records{member=\"2\"} 12",
            "vault_cluster_member_heard_age_seconds{member=\"2\"} 1.5",
            "vault_cluster_peers_refused_total{reason=\"slow\"} 4",
            "vault_cluster_sent_bytes_total 99",
            "vault_cluster_messages_untaken_total{reason=\"no_room\"} 2",
            "vault_cluster_turns_used_up_total{what=\"writing\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("member=\"3\""), "what is not known is not shown as zero");
    }
}
