//! The cluster as text.

use std::fmt;

use crate::status::cluster::{Cluster, Member, ReplicaProcess};
use crate::store::cluster::peer_counts::Traffic;
use crate::tool::vaultctl::table::Table;

/// Writes what is known of it.
pub(super) fn cluster(f: &mut fmt::Formatter<'_>, cluster: &Cluster) -> fmt::Result {
    let Cluster { replica, node, role, term, primary, committed_lsn, applied_lsn, apply_lag, remakes, .. } = cluster;
    let primary = match primary {
        Some(primary) if primary == replica => "the primary is this instance".to_owned(),
        Some(primary) => format!("the primary is replica {primary} at {}", or_unknown(&cluster.primary_address)),
        None => "no primary is known".to_owned(),
    };
    match node {
        Some(node) => writeln!(f, "\ncluster: replica {replica}, node {node}, {role} in term {term}; {primary}")?,
        None => writeln!(f, "\ncluster: replica {replica}, no member of a cluster yet")?,
    }
    if cluster.remaking {
        writeln!(
            f,
            "  the books are being remade from the journal: what is said of operations and balances means nothing"
        )?;
    } else {
        writeln!(
            f,
            "  committed {committed_lsn}, applied {applied_lsn}, {apply_lag} to apply; books remade {remakes} times"
        )?;
    }
    let ReplicaProcess { pid, lives, deaths, leaving, heartbeat_age_ms, .. } = &cluster.process;
    let process = if *pid == 0 { "no process".to_owned() } else { format!("pid {pid}") };
    let leaving = if *leaving { ", asked to leave" } else { "" };
    writeln!(f, "  {process}{leaving}, lives {lives}, deaths {deaths}, heartbeat {heartbeat_age_ms} ms ago")?;
    let Cluster { elections, primary_changes, read_rounds, snapshots_sent, snapshots_installed, .. } = cluster;
    writeln!(
        f,
        "  {elections} elections seen, {primary_changes} changes of the primary, {read_rounds} rounds of reads"
    )?;
    writeln!(f, "  snapshots: {snapshots_sent} sent, {snapshots_installed} installed")?;
    let Traffic { accepted, dialled, connected, bytes_in, bytes_out, .. } = &cluster.peers.traffic;
    writeln!(
        f,
        "  peers: {accepted} accepted, {dialled} dialled, {connected} connected; {bytes_in} bytes in, {bytes_out} out"
    )?;
    let said = ["refused", "closed", "messages dropped", "messages not taken", "turns used up"];
    for (what, (_, (reasons, counts))) in said.into_iter().zip(cluster.peers.tables()) {
        let counted = reasons.iter().zip(counts).filter(|(_, count)| *count > 0);
        let counted: Vec<_> = counted.map(|(reason, count)| format!("{reason} {count}")).collect();
        if !counted.is_empty() {
            writeln!(f, "  {what}: {}", counted.join(", "))?;
        }
    }
    write!(f, "{}", members(&cluster.members))
}

fn members(members: &[Member]) -> Table {
    let or_dash = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mut table =
        Table::new(["member", "<node", "<role", "match", "lag", "heard", "<peers at", "<clients at", "<key-value at"]);
    for Member { replica, node, role, match_lsn, lag, heard_ms, peer_address, client_address, kv_address } in members {
        let heard = heard_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms ago"));
        table.row([
            replica.to_string(),
            node.clone(),
            (*role).to_owned(),
            or_dash(*match_lsn),
            or_dash(*lag),
            heard,
            peer_address.clone(),
            address_or_dash(client_address),
            address_or_dash(kv_address),
        ]);
    }
    table
}

fn address_or_dash(address: &str) -> String {
    if address.is_empty() { "-" } else { address }.to_owned()
}

fn or_unknown(address: &str) -> &str {
    if address.is_empty() { "an unknown address" } else { address }
}
